/* What loops over time share. A task takes some rows of the batch through all time steps: rows know nothing of each
 * other, so threads never wait for one another. At each step it goes over tiles of some rows times W units, whose sums
 * for all gates stay in registers. */
#ifndef KJAX_RECURRENT_H
#define KJAX_RECURRENT_H

#include "curves.h"

/* The rows of a tile of three or four gates; with fewer gates there is room for more. */
#if REGISTERS == 32
#define ROWS 4
#else
#define ROWS 2
#endif
#define SUMS (ROWS * 4)

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

/* The first member of what the tasks of a kernel share. The kernel is (units, gates, units); packed is room for it in
 * panels of W units, each (units, gates, W), or (gates, units, W) of the transpose. A row is real where a step changes
 * its states. */
typedef struct {
  int64_t steps, batch, units;
  int backwards, gates;
  const float *kernel, *real;
  float *packed;
} Loop;

/* The time step that is number i of the loop. */
INLINE int64_t step_at(const Loop *loop, int64_t i) { return loop->backwards ? loop->steps - 1 - i : i; }
INLINE int64_t blocks_of(const Loop *loop) { return (loop->units + W - 1) / W; }
/* The rows of a task: with 8 of them, 16 rows of an LSTM of 128 units take half the time on two cores, and 20 of them
 * 0.73 of it; but 64 take 1.1 times theirs. */
INLINE int64_t chunk_of(const Loop *loop) { return loop->batch < 32 ? 8 : 16; }
INLINE int64_t chunks_of(const Loop *loop) { return (loop->batch + chunk_of(loop) - 1) / chunk_of(loop); }
INLINE int64_t states_of(const Loop *loop) { return loop->batch * loop->units; }
INLINE float *panel_of(const Loop *loop, int64_t block) { return loop->packed + block * loop->units * loop->gates * W; }

/* What a task does with its rows: from `row` on, at the time step t, which follows `past`, or the first states if that
 * is below zero. */
typedef struct {
  int64_t row, rows, t, past;
} Turn;

/* The rows of a chunk, before the step that is number i of the loop. */
INLINE Turn turn_at(const Loop *loop, int64_t chunk, int64_t i) {
  int64_t row = chunk * chunk_of(loop);
  return (Turn){row, least(chunk_of(loop), loop->batch - row), step_at(loop, i), i ? step_at(loop, i - 1) : -1};
}

/* The states before a turn, of all rows. */
INLINE const float *past_of(const Loop *loop, const Turn *turn, const float *states, const float *first) {
  return turn->past < 0 ? first : states + turn->past * states_of(loop);
}

/* Copies the states of a chunk's rows. */
INLINE void copy_rows(const Loop *loop, int64_t chunk, float *to, const float *from) {
  Turn turn = turn_at(loop, chunk, 0);
  memcpy(to + turn.row * loop->units, from + turn.row * loop->units, turn.rows * loop->units * 4);
}

/* Copies the states of a chunk's rows after the last step. */
INLINE void copy_last(const Loop *loop, int64_t chunk, float *last, const float *states, const float *first) {
  Turn end = {0, 0, 0, loop->steps ? step_at(loop, loop->steps - 1) : -1};
  copy_rows(loop, chunk, last, past_of(loop, &end, states, first));
}

/* The columns of a block of units, gate by gate. */
static inline void pack_columns(void *data, int64_t block) {
  const Loop *loop = data;
  int64_t units = loop->units, n = units - block * W;
  float *to = panel_of(loop, block);
  for (int64_t k = 0; k < units * loop->gates; k++, to += W) store(to, fetch(loop->kernel + k * units + block * W, n));
}

/* The rows of a block of units, as columns: (gates, units, W). */
static inline void pack_rows(void *data, int64_t block) {
  const Loop *loop = data;
  int64_t units = loop->units, gates = loop->gates, n = least(W, units - block * W);
  float *to = panel_of(loop, block);
  memset(to, 0, units * gates * W * 4);
  for (int64_t j = 0; j < n; j++)
    for (int64_t g = 0; g < gates; g++)
      for (int64_t k = 0; k < units; k++)
        to[(g * units + k) * W + j] = loop->kernel[((block * W + j) * gates + g) * units + k];
}

/* Runs a loop: its kernel in panels first, then all chunks. */
INLINE void run_loop(const Call *call, const Loop *loop, void (*pack)(void *, int64_t), void (*rows)(void *, int64_t)) {
  in_parallel(call, blocks_of(loop), pack, (void *)loop);
  in_parallel(call, chunks_of(loop), rows, (void *)loop);
}

/* sums[r * gates + g] += left[row r] @ panel[·][g] for some of `all` gates, whose panel begins at the first of them.
 * The loop adds up in a copy, for an array that is indexed elsewhere would not stay in registers. */
INLINE void add_products(Vector sums[SUMS], const Loop *loop, const float *left, int64_t row, const float *panel,
                         int all, int rows, int gates) {
  Vector total[SUMS];
  UNROLL for (int i = 0; i < rows * gates; i++) total[i] = sums[i];
  for (int64_t k = 0; k < loop->units; k++, panel += all * W, left++) {
    UNROLL for (int r = 0; r < rows; r++)
      UNROLL for (int g = 0; g < gates; g++) total[r * gates + g] += left[r * row] * load(panel + g * W);
  }
  UNROLL for (int i = 0; i < rows * gates; i++) sums[i] = total[i];
}

/* A tile of what all gates pass back is HEIGHT rows times at most BLOCKS of the state, whose sums stay in registers.
 * AVX2 multiplies as much as AVX-512 with twice the loads: with a block at a time it waits for them, and the reverse of
 * an LSTM of 128 units takes 1.3 times as long. With AVX-512 one or two blocks take the same. */
#if W == 16
#define BLOCKS 1
#else
#define BLOCKS 2
#endif
#if REGISTERS == 32
#define HEIGHT 8
#define EACH_HEIGHT(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8)
#else
#define HEIGHT 6
#define EACH_HEIGHT(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6)
#endif

/* What the first gates' sums at a step pass back to some blocks of the state before them, added to its gradient:
 * `along` and g_sums begin at the tile's first row. */
INLINE void back_tile(const Loop *loop, float *along, const float *g_sums, int64_t block, int all, int gates, int rows,
                      int blocks) {
  int64_t units = loop->units, row = all * units, next = units * all * W;
  Vector sums[HEIGHT][BLOCKS];
  UNROLL for (int r = 0; r < rows; r++)
    UNROLL for (int b = 0; b < blocks; b++) sums[r][b] = spread(0);
  const float *panel = panel_of(loop, block);
  for (int64_t k = 0; k < gates * units; k++, panel += W) {
    UNROLL for (int r = 0; r < rows; r++)
      UNROLL for (int b = 0; b < blocks; b++) sums[r][b] += spread(g_sums[r * row + k]) * load(panel + b * next);
  }
  UNROLL for (int r = 0; r < rows; r++)
    UNROLL for (int b = 0; b < blocks; b++) {
      float *to = along + r * units + (block + b) * W;
      int64_t n = units - (block + b) * W;
      put(to, fetch(to, n) + sums[r][b], n);
    }
}

/* The same of some rows and all blocks. */
INLINE void back_rows(const Loop *loop, float *along, const float *g_sums, int all, int gates, int rows) {
  int64_t block = 0;
  for (; block + BLOCKS <= blocks_of(loop); block += BLOCKS)
    back_tile(loop, along, g_sums, block, all, gates, rows, BLOCKS);
  if (block < blocks_of(loop)) back_tile(loop, along, g_sums, block, all, gates, rows, 1);
}

/* The same of all rows of a turn; `along` and g_sums begin at the batch's first row. */
static inline void pass_back(const Loop *loop, const Turn *turn, float *along, const float *g_sums, int all,
                             int gates) {
#define CASE(count) \
  case count: back_rows(loop, along + row * loop->units, g_sums + row * all * loop->units, all, gates, count); break;
  int64_t tiles = (turn->rows + HEIGHT - 1) / HEIGHT, row = turn->row, end;
  for (int64_t i = 1; i <= tiles; i++, row = end) {
    end = turn->row + i * turn->rows / tiles;
    switch (end - row) { EACH_HEIGHT(CASE) }
  }
#undef CASE
}

/* Calls TILE(block, row, count) for all blocks of units and all rows of a turn, `tall` of them at a time, a constant
 * for the compiler; fewer at the end. */
#define EACH_TILE(loop, turn, tall, TILE)                                              \
  for (int64_t block = 0, row; block < blocks_of(loop); block++) {                      \
    int64_t end = (turn)->row + (turn)->rows;                                          \
    for (row = (turn)->row; (tall) > ROWS && row + (tall) <= end; row += (tall)) TILE(tall) \
    for (; row < end; row += ROWS) EACH_COUNT(end - row, TILE)                         \
  }

#if ROWS == 4
#define EACH_COUNT(rows, TILE) \
  switch (rows) {              \
    case 1: TILE(1) break;    \
    case 2: TILE(2) break;    \
    case 3: TILE(3) break;    \
    default: TILE(4)          \
  }
#else
#define EACH_COUNT(rows, TILE) \
  switch (rows) {              \
    case 1: TILE(1) break;    \
    default: TILE(2)          \
  }
#endif

#endif
