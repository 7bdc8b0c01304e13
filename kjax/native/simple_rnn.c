/* The time loop of a simple recurrent layer and its reverse; kjax/nn/kernels/simple_rnn.py says what they compute. */
#include "recurrent.h"

enum { TALL = SUMS }; /* rows of a tile: its sums fill the registers */

static Loop loop_of(const int64_t *sizes, const float *kernel, const float *real, float *packed) {
  return (Loop){sizes[0], sizes[1], sizes[2], (int)sizes[3], 1, kernel, real, packed};
}

/* --- Forward --- */

typedef struct {
  Loop loop;
  const float *plus, *first;
  float *hs, *last;
} Forward;

INLINE void forward_tile(const Forward *f, const Turn *turn, const float *h, int64_t block, int64_t row, int rows) {
  const Loop *loop = &f->loop;
  int64_t units = loop->units, n = units - block * W, first = turn->t * loop->batch + row, at = first * units + block * W;
  Vector sums[SUMS];
  UNROLL for (int r = 0; r < rows; r++) sums[r] = fetch(f->plus + at + r * units, n);
  add_products(sums, loop, h + row * units, units, panel_of(loop, block), 1, rows, 1);
  for (int r = 0; r < rows; r++) {
    Vector old = fetch(h + (row + r) * units + block * W, n);
    put(f->hs + at + r * units, loop->real[first + r] != 0 ? tanh_of(sums[r]) : old, n);
  }
}

static void forward_step(const Forward *f, const Turn *turn) {
#define TILE(count) forward_tile(f, turn, h, block, row, count);
  const float *h = past_of(&f->loop, turn, f->hs, f->first);
  EACH_TILE(&f->loop, turn, TALL, TILE)
#undef TILE
}

static void forward_rows(void *data, int64_t chunk) {
  const Forward *f = data;
  for (int64_t i = 0; i < f->loop.steps; i++) {
    Turn turn = turn_at(&f->loop, chunk, i);
    forward_step(f, &turn);
  }
  copy_last(&f->loop, chunk, f->last, f->hs, f->first);
}

KERNEL(kjax_simple_rnn) {
  Forward f = {loop_of(call->sizes, operand(call, 1), operand(call, 3), result(call, 2)), operand(call, 0),
               operand(call, 2), result(call, 0), result(call, 1)};
  run_loop(call, &f.loop, pack_columns, forward_rows);
}

/* --- Reverse --- */

typedef struct {
  Loop loop;
  const float *hs, *g_hs, *g_h;
  float *g_plus, *along; /* along: the gradient of the state, from step to step */
} Reverse;

/* The gradient of the sums of one row at one step, and what passes by them to the step before. */
INLINE void sums_row(const Reverse *v, int64_t t, int64_t row, int64_t j) {
  int64_t units = v->loop.units, n = units - j, first = t * v->loop.batch + row, at = first * units + j;
  float *along = v->along + row * units + j;
  Vector h = fetch(v->hs + at, n), g = fetch(along, n);
  if (v->g_hs) g += fetch(v->g_hs + at, n);
  int real = v->loop.real[first] != 0;
  put(v->g_plus + at, real ? g * (1.0f - h * h) : spread(0), n);
  put(along, real ? spread(0) : g, n);
}

static void reverse_step(const Reverse *v, const Turn *turn) {
  const Loop *loop = &v->loop;
  int64_t units = loop->units;
  const float *g_sums = v->g_plus + turn->t * states_of(loop);
  for (int64_t row = turn->row; row < turn->row + turn->rows; row++)
    for (int64_t j = 0; j < units; j += W) sums_row(v, turn->t, row, j);
  pass_back(loop, turn, v->along, g_sums, 1, 1);
}

static void reverse_rows(void *data, int64_t chunk) {
  const Reverse *v = data;
  copy_rows(&v->loop, chunk, v->along, v->g_h);
  for (int64_t i = v->loop.steps - 1; i >= 0; i--) {
    Turn turn = turn_at(&v->loop, chunk, i);
    reverse_step(v, &turn);
  }
}

KERNEL(kjax_simple_rnn_reverse) {
  Reverse v = {loop_of(call->sizes, operand(call, 0), operand(call, 1), result(call, 2)), operand(call, 2),
               call->sizes[4] ? operand(call, 4) : NULL, operand(call, 5), result(call, 0), result(call, 1)};
  run_loop(call, &v.loop, pack_rows, reverse_rows);
}
