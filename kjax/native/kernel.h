/* What all kernels share: vectors, work split among XLA's threads, and the entry that XLA calls. */
#ifndef KJAX_KERNEL_H
#define KJAX_KERNEL_H

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "xla.h"

/* W floats make a vector; REGISTERS of them fit in a core. */
#if defined(__AVX512F__)
#define W 16
#define REGISTERS 32
#elif defined(__AVX2__)
#define W 8
#define REGISTERS 16
#else
#define W 4
#define REGISTERS 32
#endif
typedef float Vector __attribute__((vector_size(W * 4)));
typedef float Loose __attribute__((vector_size(W * 4), aligned(4), may_alias));

/* Before a loop of a constant length, so that what it indexes can stay in registers. */
#define UNROLL _Pragma("clang loop unroll(full)")
#define INLINE static inline __attribute__((always_inline))

INLINE Vector load(const float *from) { return *(const Loose *)from; }
INLINE void store(float *to, Vector value) { *(Loose *)to = value; }
INLINE Vector spread(float value) { return value - (Vector){0}; }

/* The sum of all lanes, in halves. */
INLINE float across(Vector value) {
  float lanes[W];
  store(lanes, value);
  for (int half = W / 2; half; half /= 2)
    for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
  return lanes[0];
}

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* One call: its operands and results as floats, and its static sizes. */
typedef struct {
  const XlaCall *xla;
  const int64_t *sizes; /* the attribute "sizes" */
} Call;

INLINE float *operand(const Call *call, int i) { return call->xla->operands.items[i]->data; }
INLINE float *result(const Call *call, int i) { return call->xla->results.items[i]->data; }

/* Runs task(data, i) for i in 0 … count - 1, on as many of XLA's threads as are free. What a task computes must not
 * depend on which thread runs it, nor on how many there are: then results never do. */
void in_parallel(const Call *call, int64_t count, void (*task)(void *data, int64_t i), void *data);

void *enter(XlaCall *xla, void (*kernel)(const Call *));

/* Exports a kernel under its name. */
#define KERNEL(name)                                                                                   \
  static void name##_kernel(const Call *call);                                                         \
  __attribute__((visibility("default"))) void *name(XlaCall *xla) { return enter(xla, name##_kernel); } \
  static void name##_kernel(const Call *call)

#endif
