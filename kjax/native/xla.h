/* The part of XLA's foreign function interface that a kernel for CPU needs: how it is called, what it is given, and
 * how it shares its work among XLA's threads. Structures begin with their size, so that later versions can append. */
#ifndef KJAX_XLA_H
#define KJAX_XLA_H

#include <stddef.h>
#include <stdint.h>

typedef struct XlaExtension {
  size_t size;
  int kind; /* 1: the call asks for metadata */
  struct XlaExtension *next;
} XlaExtension;

typedef struct {
  size_t size;
  XlaExtension *extension;
  int major, minor;
} XlaVersion;

typedef struct {
  size_t size;
  XlaVersion version;
} XlaMetadata;

typedef struct {
  XlaExtension base;
  XlaMetadata *metadata;
} XlaMetadataExtension;

typedef struct {
  size_t size;
  XlaExtension *extension;
  int dtype;
  void *data;
  int64_t rank;
  int64_t *dims;
} XlaBuffer;

typedef struct {
  size_t size;
  XlaExtension *extension;
  int64_t count;
  int *kinds;
  XlaBuffer **items;
} XlaBuffers;

typedef struct {
  const char *text;
  size_t length;
} XlaText;

typedef struct {
  int dtype;
  size_t count;
  void *data;
} XlaArray;

typedef struct {
  size_t size;
  XlaExtension *extension;
  int64_t count;
  int *kinds;
  XlaText **names;
  XlaArray **items;
} XlaAttributes;

typedef struct {
  size_t size;
  XlaExtension *extension;
  void *context;
  void (*task)(void *);
  void *data;
} XlaSchedule;

typedef struct {
  size_t size;
  XlaExtension *extension;
  void *context;
  int64_t *threads;
} XlaThreads;

typedef struct {
  size_t size;
  XlaExtension *extension;
  const char *message;
  int code; /* 3: a wrong argument */
} XlaErrorArguments;

typedef struct {
  size_t size;
  XlaExtension *extension;
  void *error;
} XlaErrorHandle;

typedef struct {
  size_t size;
  XlaExtension *extension;
  XlaVersion version;
  const void *internal;
  void *(*error_create)(XlaErrorArguments *);
  void *error_message;
  void (*error_destroy)(XlaErrorHandle *);
  void *others[6];
  void *memory_allocate, *memory_free;
  void *(*schedule)(XlaSchedule *);
  void *(*threads)(XlaThreads *);
} XlaApi;

typedef struct {
  size_t size;
  XlaExtension *extension;
  const XlaApi *api;
  void *context;
  int stage;
  XlaBuffers operands, results;
  XlaAttributes attributes;
} XlaCall;

#endif
