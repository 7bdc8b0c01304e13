/* The time loop of an LSTM and its reverse; kjax/nn/kernels/lstm.py says what they compute. */
#include "recurrent.h"

enum { INPUT, FORGET, CANDIDATE, OUTPUT, GATES };

typedef struct {
  Loop loop;
  const float *kernel, *real, *first_h, *first_c;
  float *packed;
} Shared;

static Loop loop_of(const int64_t *sizes) { return (Loop){sizes[0], sizes[1], sizes[2], (int)sizes[3]}; }

INLINE float *panel_of(const Shared *shared, int64_t block) {
  return shared->packed + block * shared->loop.units * GATES * W;
}

/* --- Forward --- */

typedef struct {
  Shared shared;
  const float *plus;
  float *hs, *cs, *gates, *last_h, *last_c;
} Forward;

/* The columns of a block of units, gate by gate. */
static void pack_forward(void *data, int64_t block) {
  const Shared *shared = &((Forward *)data)->shared;
  int64_t units = shared->loop.units, n = units - block * W;
  float *to = panel_of(shared, block);
  for (int64_t k = 0; k < units; k++)
    for (int64_t g = 0; g < GATES; g++, to += W)
      store(to, fetch(shared->kernel + (k * GATES + g) * units + block * W, n));
}

/* One row of a tile: the gates and states that its sums lead to, from a first place in plus and in the states. */
INLINE void forward_row(const Forward *f, const Vector *sums, int64_t at, int64_t gate_at, const float *h,
                        const float *c, int real, int64_t n) {
  int64_t units = f->shared.loop.units;
  Vector before = fetch(c, n), gates[GATES];
  UNROLL for (int g = 0; g < GATES; g++) {
    gates[g] = g == CANDIDATE ? tanh_of(sums[g]) : sigmoid_of(sums[g]);
    put(f->gates + gate_at + g * units, gates[g], n);
  }
  Vector memory = gates[FORGET] * before + gates[INPUT] * gates[CANDIDATE];
  put(f->hs + at, real ? gates[OUTPUT] * tanh_of(memory) : fetch(h, n), n);
  put(f->cs + at, real ? memory : before, n);
}

INLINE void forward_tile(const Forward *f, int64_t t, int64_t row, const float *h, const float *c, int64_t block,
                         int rows) {
  const Shared *shared = &f->shared;
  int64_t units = shared->loop.units, n = units - block * W, first = t * shared->loop.batch + row;
  int64_t at = first * units + block * W, gate_at = first * GATES * units + block * W;
  Vector sums[ROWS][GATES];
  UNROLL for (int r = 0; r < rows; r++)
    UNROLL for (int g = 0; g < GATES; g++) sums[r][g] = fetch(f->plus + gate_at + (r * GATES + g) * units, n);
  add_products(sums, h, units, 0, panel_of(shared, block), units, rows, GATES);
  for (int r = 0; r < rows; r++) {
    int64_t own = r * units + block * W;
    forward_row(f, sums[r], at + r * units, gate_at + r * GATES * units, h + own, c + own,
                shared->real[first + r] != 0, n);
  }
}

static void forward_step(const Forward *f, int64_t t, int64_t row, int64_t rows, const float *h, const float *c) {
#define TILE(count) forward_tile(f, t, row + r, h + r * units, c + r * units, block, count)
  int64_t units = f->shared.loop.units;
  for (int64_t block = 0; block < blocks_of(&f->shared.loop); block++)
    for (int64_t r = 0; r < rows; r += ROWS) EACH_COUNT(rows - r, TILE)
#undef TILE
}

static void forward_rows(void *data, int64_t chunk) {
  const Forward *f = data;
  const Loop *loop = &f->shared.loop;
  int64_t row = chunk * CHUNK, rows = least(CHUNK, loop->batch - row), at = row * loop->units;
  const float *h = f->shared.first_h + at, *c = f->shared.first_c + at;
  for (int64_t i = 0; i < loop->steps; i++) {
    int64_t t = step_at(loop, i), next = t * loop->batch * loop->units + at;
    forward_step(f, t, row, rows, h, c);
    h = f->hs + next, c = f->cs + next;
  }
  memcpy(f->last_h + at, h, rows * loop->units * 4);
  memcpy(f->last_c + at, c, rows * loop->units * 4);
}

KERNEL(kjax_lstm) {
  Forward f = {{loop_of(call->sizes), operand(call, 1), operand(call, 4), operand(call, 2), operand(call, 3),
                result(call, 5)},
               operand(call, 0), result(call, 0), result(call, 1), result(call, 2), result(call, 3), result(call, 4)};
  in_parallel(call, blocks_of(&f.shared.loop), pack_forward, &f);
  in_parallel(call, chunks_of(&f.shared.loop), forward_rows, &f);
}

/* --- Reverse --- */

typedef struct {
  Shared shared;
  const float *gates, *cs, *g_hs, *g_h, *g_c;
  float *g_plus, *along_h, *along_c; /* the last two: the gradients of the states, from step to step */
} Reverse;

/* The rows of a block of units, as columns, gate by gate. */
static void pack_reverse(void *data, int64_t block) {
  const Shared *shared = &((Reverse *)data)->shared;
  int64_t units = shared->loop.units, n = least(W, units - block * W);
  float *to = panel_of(shared, block);
  memset(to, 0, units * GATES * W * 4);
  for (int64_t j = 0; j < n; j++)
    for (int64_t g = 0; g < GATES; g++)
      for (int64_t k = 0; k < units; k++)
        to[(k * GATES + g) * W + j] = shared->kernel[((block * W + j) * GATES + g) * units + k];
}

/* The gradients of the sums of one row at one step, and what passes by them to the step before. */
INLINE void gates_row(const Reverse *v, int64_t t, int64_t row, const float *c, int64_t j) {
  int64_t units = v->shared.loop.units, n = units - j, first = t * v->shared.loop.batch + row;
  int64_t at = first * units + j, gate_at = first * GATES * units + j, own = row * units + j;
  const float *gates = v->gates + gate_at;
  float *g_plus = v->g_plus + gate_at;
  Vector i = fetch(gates, n), f = fetch(gates + units, n), new = fetch(gates + 2 * units, n),
         o = fetch(gates + 3 * units, n), curve = tanh_of(fetch(v->cs + at, n));
  Vector g_h = fetch(v->along_h + own, n), g_c = fetch(v->along_c + own, n);
  if (v->g_hs) g_h += fetch(v->g_hs + at, n);
  if (v->shared.real[first] == 0) {
    for (int g = 0; g < GATES; g++) put(g_plus + g * units, spread(0), n);
    put(v->along_h + own, g_h, n);
    return;
  }
  g_c += g_h * o * (1.0f - curve * curve);
  put(g_plus, g_c * new * i * (1.0f - i), n);
  put(g_plus + units, g_c * fetch(c + j, n) * f * (1.0f - f), n);
  put(g_plus + 2 * units, g_c * i * (1.0f - new * new), n);
  put(g_plus + 3 * units, g_h * curve * o * (1.0f - o), n);
  put(v->along_c + own, g_c * f, n);
  put(v->along_h + own, spread(0), n);
}

INLINE void reverse_tile(const Reverse *v, int64_t t, int64_t row, int64_t block, int rows) {
  const Shared *shared = &v->shared;
  int64_t units = shared->loop.units, n = units - block * W;
  float *along = v->along_h + row * units + block * W;
  Vector sums[ROWS][GATES];
  UNROLL for (int r = 0; r < rows; r++)
    UNROLL for (int g = 0; g < GATES; g++) sums[r][g] = g ? spread(0) : fetch(along + r * units, n);
  add_products(sums, v->g_plus + (t * shared->loop.batch + row) * GATES * units, GATES * units, units,
               panel_of(shared, block), units, rows, GATES);
  UNROLL for (int r = 0; r < rows; r++)
    put(along + r * units, (sums[r][0] + sums[r][1]) + (sums[r][2] + sums[r][3]), n);
}

static void reverse_step(const Reverse *v, int64_t t, int64_t row, int64_t rows, const float *c) {
#define TILE(count) reverse_tile(v, t, row + r, block, count)
  int64_t units = v->shared.loop.units;
  for (int64_t r = 0; r < rows; r++)
    for (int64_t j = 0; j < units; j += W) gates_row(v, t, row + r, c + r * units, j);
  for (int64_t block = 0; block < blocks_of(&v->shared.loop); block++)
    for (int64_t r = 0; r < rows; r += ROWS) EACH_COUNT(rows - r, TILE)
#undef TILE
}

static void reverse_rows(void *data, int64_t chunk) {
  const Reverse *v = data;
  const Loop *loop = &v->shared.loop;
  int64_t row = chunk * CHUNK, rows = least(CHUNK, loop->batch - row), at = row * loop->units;
  memcpy(v->along_h + at, v->g_h + at, rows * loop->units * 4);
  memcpy(v->along_c + at, v->g_c + at, rows * loop->units * 4);
  for (int64_t i = loop->steps - 1; i >= 0; i--) {
    const float *c = i ? v->cs + step_at(loop, i - 1) * loop->batch * loop->units : v->shared.first_c;
    reverse_step(v, step_at(loop, i), row, rows, c + at);
  }
}

KERNEL(kjax_lstm_reverse) {
  Reverse v = {{loop_of(call->sizes), operand(call, 0), operand(call, 1), NULL, operand(call, 4), result(call, 3)},
               operand(call, 2), operand(call, 3), call->sizes[4] ? operand(call, 5) : NULL, operand(call, 6),
               operand(call, 7), result(call, 0), result(call, 1), result(call, 2)};
  in_parallel(call, blocks_of(&v.shared.loop), pack_reverse, &v);
  in_parallel(call, chunks_of(&v.shared.loop), reverse_rows, &v);
}
