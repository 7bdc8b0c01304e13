/* A square of floats, transposed. */
#ifndef KJAX_TRANSPOSE_H
#define KJAX_TRANSPOSE_H

#include "kernel.h"

#if W == 16
#define LOW(x, y) __builtin_shufflevector(x, y, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH(x, y) __builtin_shufflevector(x, y, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#elif W == 8
#define LOW(x, y) __builtin_shufflevector(x, y, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH(x, y) __builtin_shufflevector(x, y, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#define LOW(x, y) __builtin_shufflevector(x, y, 0, 4, 1, 5)
#define HIGH(x, y) __builtin_shufflevector(x, y, 2, 6, 3, 7)
#endif

/* W rows of W floats, transposed: the halves are interleaved as often as it takes for W rows to become columns. */
INLINE void transpose(const float *from, int64_t row, float *to, int64_t width) {
  Vector lines[W], next[W];
  UNROLL for (int i = 0; i < W; i++) __builtin_prefetch(from + (i + W) * row), lines[i] = load(from + i * row);
  UNROLL for (int stage = 1; stage < W; stage *= 2) {
    UNROLL for (int i = 0; i < W / 2; i++) {
      next[2 * i] = LOW(lines[i], lines[i + W / 2]);
      next[2 * i + 1] = HIGH(lines[i], lines[i + W / 2]);
    }
    UNROLL for (int i = 0; i < W; i++) lines[i] = next[i];
  }
  UNROLL for (int i = 0; i < W; i++) store(to + i * width, lines[i]);
}

#endif
