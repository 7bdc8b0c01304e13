/* What convolution's kernels share: the rows of an image that a task needs, and tiles of registers. */
#ifndef KJAX_CONV_H
#define KJAX_CONV_H

#include "kernel.h"

/* Floats that a task may keep on its stack. */
#define ROOM 40960

/* A tile is HEIGHT times at most 2 vectors of sums; EACH_HEIGHT(DO, V) is a list of DO(1, V) … DO(HEIGHT, V). */
#if REGISTERS == 32
#define HEIGHT 14
#define EACH_HEIGHT(DO, V)                                                                                  \
  DO(1, V) DO(2, V) DO(3, V) DO(4, V) DO(5, V) DO(6, V) DO(7, V) DO(8, V) DO(9, V) DO(10, V) DO(11, V) DO(12, V) \
  DO(13, V) DO(14, V)
#else
#define HEIGHT 6
#define EACH_HEIGHT(DO, V) DO(1, V) DO(2, V) DO(3, V) DO(4, V) DO(5, V) DO(6, V)
#endif

/* Images of rows x columns x channels, and the part of one that a task reads: from a row and column on, both of which
 * may lie outside, where there are zeros. */
typedef struct {
  int64_t images, rows, columns, channels;
} Images;

typedef struct {
  const float *at;
  int64_t row; /* floats from one row to the next */
} Part;

INLINE void copy_row(float *to, const float *row, const Images *x, int64_t column, int64_t columns) {
  int64_t before = least(most(-column, 0), columns), end = most(least(x->columns - column, columns), before);
  memset(to, 0, before * x->channels * 4);
  memcpy(to + before * x->channels, row + (column + before) * x->channels, (end - before) * x->channels * 4);
  memset(to + end * x->channels, 0, (columns - end) * x->channels * 4);
}

/* The part itself where all of it lies inside the image, else a copy of it in `room`. */
static inline Part part_of(const float *image, const Images *x, int64_t row, int64_t rows, int64_t column,
                           int64_t columns, float *room) {
  if (row >= 0 && row + rows <= x->rows && column >= 0 && column + columns <= x->columns)
    return (Part){image + (row * x->columns + column) * x->channels, x->columns * x->channels};
  int64_t length = columns * x->channels;
  for (int64_t i = 0; i < rows; i++) {
    if (row + i < 0 || row + i >= x->rows)
      memset(room + i * length, 0, length * 4);
    else
      copy_row(room + i * length, image + (row + i) * x->columns * x->channels, x, column, columns);
  }
  return (Part){room, length};
}

/* The i-th of n pieces, as even as can be, of a whole: where it begins. */
INLINE int64_t cut(int64_t whole, int64_t n, int64_t i) { return whole / n * i + least(i, whole % n); }
INLINE int64_t pieces(int64_t whole) { return (whole + HEIGHT - 1) / HEIGHT; }

#endif
