/* What loops over time share. A task takes CHUNK rows of the batch through all time steps: rows know nothing of each
 * other, so threads never wait for one another. At each step it goes over tiles of ROWS rows times W units, whose sums
 * for GATES gates stay in registers. */
#ifndef KJAX_RECURRENT_H
#define KJAX_RECURRENT_H

#include "curves.h"

#define CHUNK 16
#if REGISTERS == 32
#define ROWS 4
#else
#define ROWS 2
#endif

/* The first n of W floats, for the units at the end. */
INLINE Vector fetch(const float *from, int64_t n) {
  if (n >= W) return load(from);
  Vector value = {0};
  memcpy(&value, from, n * 4);
  return value;
}

INLINE void put(float *to, Vector value, int64_t n) {
  if (n >= W)
    store(to, value);
  else
    memcpy(to, &value, n * 4);
}

/* The time step that is number i of the loop, the one it follows, and whether there is one. */
typedef struct {
  int64_t steps, batch, units;
  int backwards;
} Loop;

INLINE int64_t step_at(const Loop *loop, int64_t i) { return loop->backwards ? loop->steps - 1 - i : i; }
INLINE int64_t blocks_of(const Loop *loop) { return (loop->units + W - 1) / W; }
INLINE int64_t chunks_of(const Loop *loop) { return (loop->batch + CHUNK - 1) / CHUNK; }

/* sums[row][gate] += left[row][gate] @ panel[·][gate], a panel being (units, gates, W); the gates of a left row lie
 * `gate` floats apart, 0 where all have one. The loop adds up in a copy, for an array that is indexed elsewhere would
 * not stay in registers. */
INLINE void add_products(Vector sums[ROWS][4], const float *left, int64_t row, int64_t gate, const float *panel,
                         int64_t units, int rows, int gates) {
  Vector total[ROWS][4];
  UNROLL for (int r = 0; r < rows; r++)
    UNROLL for (int g = 0; g < gates; g++) total[r][g] = sums[r][g];
  for (int64_t k = 0; k < units; k++, panel += gates * W, left++) {
    UNROLL for (int r = 0; r < rows; r++)
      UNROLL for (int g = 0; g < gates; g++) total[r][g] += left[r * row + g * gate] * load(panel + g * W);
  }
  UNROLL for (int r = 0; r < rows; r++)
    UNROLL for (int g = 0; g < gates; g++) sums[r][g] = total[r][g];
}

/* Calls TILE(rows) with as many rows as are left, a constant for the compiler. */
#if ROWS == 4
#define EACH_COUNT(rows, TILE) \
  switch (rows) {              \
    case 1: TILE(1); break;    \
    case 2: TILE(2); break;    \
    case 3: TILE(3); break;    \
    default: TILE(4);          \
  }
#else
#define EACH_COUNT(rows, TILE) \
  switch (rows) {              \
    case 1: TILE(1); break;    \
    default: TILE(2);          \
  }
#endif

#endif
