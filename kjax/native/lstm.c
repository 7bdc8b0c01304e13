/* The time loop of an LSTM and its reverse; kjax/nn/kernels/lstm.py says what they compute. */
#include "recurrent.h"

enum { INPUT, FORGET, CANDIDATE, OUTPUT, GATES };

static Loop loop_of(const int64_t *sizes, const float *kernel, const float *real, float *packed) {
  return (Loop){sizes[0], sizes[1], sizes[2], (int)sizes[3], GATES, kernel, real, packed};
}

/* --- Forward --- */

typedef struct {
  Loop loop;
  const float *plus, *first_h, *first_c;
  float *hs, *cs, *gates, *last_h, *last_c;
} Forward;

/* One row of a tile: the gates and states that its sums lead to, from a first place in plus and in the states. It is no
 * part of a tile's code, for the compiler fuses a sum of two products either way, in each height of tile its own. */
static __attribute__((noinline)) void forward_row(const Forward *f, const Vector *sums, int64_t at, int64_t gate_at,
                                                  const float *h, const float *c, int real, int64_t n) {
  int64_t units = f->loop.units;
  Vector before = fetch(c, n), gates[GATES];
  UNROLL for (int g = 0; g < GATES; g++) {
    gates[g] = g == CANDIDATE ? tanh_of(sums[g]) : sigmoid_of(sums[g]);
    put(f->gates + gate_at + g * units, gates[g], n);
  }
  Vector memory = gates[FORGET] * before + gates[INPUT] * gates[CANDIDATE];
  put(f->hs + at, real ? gates[OUTPUT] * tanh_of(memory) : fetch(h, n), n);
  put(f->cs + at, real ? memory : before, n);
}

INLINE void forward_tile(const Forward *f, const Turn *turn, const float *h, const float *c, int64_t block, int64_t row,
                         int rows) {
  const Loop *loop = &f->loop;
  int64_t units = loop->units, n = units - block * W, first = turn->t * loop->batch + row;
  int64_t at = first * units + block * W, gate_at = first * GATES * units + block * W;
  Vector sums[SUMS];
  UNROLL for (int r = 0; r < rows; r++)
    UNROLL for (int g = 0; g < GATES; g++) sums[r * GATES + g] = fetch(f->plus + gate_at + (r * GATES + g) * units, n);
  add_products(sums, loop, h + row * units, units, panel_of(loop, block), GATES, rows, GATES);
  for (int r = 0; r < rows; r++) {
    int64_t own = (row + r) * units + block * W;
    forward_row(f, sums + r * GATES, at + r * units, gate_at + r * GATES * units, h + own, c + own,
                loop->real[first + r] != 0, n);
  }
}

static void forward_step(const Forward *f, const Turn *turn) {
#define TILE(count) forward_tile(f, turn, h, c, block, row, count);
  const float *h = past_of(&f->loop, turn, f->hs, f->first_h), *c = past_of(&f->loop, turn, f->cs, f->first_c);
  EACH_TILE(&f->loop, turn, ROWS, TILE)
#undef TILE
}

static void forward_rows(void *data, int64_t chunk) {
  const Forward *f = data;
  for (int64_t i = 0; i < f->loop.steps; i++) {
    Turn turn = turn_at(&f->loop, chunk, i);
    forward_step(f, &turn);
  }
  copy_last(&f->loop, chunk, f->last_h, f->hs, f->first_h);
  copy_last(&f->loop, chunk, f->last_c, f->cs, f->first_c);
}

KERNEL(kjax_lstm) {
  Forward f = {loop_of(call->sizes, operand(call, 1), operand(call, 4), result(call, 5)),
               operand(call, 0), operand(call, 2), operand(call, 3), result(call, 0), result(call, 1),
               result(call, 2), result(call, 3), result(call, 4)};
  run_loop(call, &f.loop, pack_columns, forward_rows);
}

/* --- Reverse --- */

typedef struct {
  Loop loop;
  const float *cs, *gates, *first_c, *g_hs, *g_h, *g_c;
  float *g_plus, *along_h, *along_c; /* the last two: the gradients of the states, from step to step */
} Reverse;

/* The gradients of the sums of one row at one step, and what passes by them to the step before. */
INLINE void gates_row(const Reverse *v, int64_t t, int64_t row, const float *c, int64_t j) {
  int64_t units = v->loop.units, n = units - j, first = t * v->loop.batch + row;
  int64_t at = first * units + j, gate_at = first * GATES * units + j, own = row * units + j;
  const float *gates = v->gates + gate_at;
  float *g_plus = v->g_plus + gate_at;
  Vector i = fetch(gates, n), f = fetch(gates + units, n), new = fetch(gates + 2 * units, n),
         o = fetch(gates + 3 * units, n), curve = tanh_of(fetch(v->cs + at, n));
  Vector g_h = fetch(v->along_h + own, n), g_c = fetch(v->along_c + own, n);
  if (v->g_hs) g_h += fetch(v->g_hs + at, n);
  if (v->loop.real[first] == 0) {
    for (int g = 0; g < GATES; g++) put(g_plus + g * units, spread(0), n);
    put(v->along_h + own, g_h, n);
    return;
  }
  g_c += g_h * o * (1.0f - curve * curve);
  put(g_plus, g_c * new * i * (1.0f - i), n);
  put(g_plus + units, g_c * fetch(c + own, n) * f * (1.0f - f), n);
  put(g_plus + 2 * units, g_c * i * (1.0f - new * new), n);
  put(g_plus + 3 * units, g_h * curve * o * (1.0f - o), n);
  put(v->along_c + own, g_c * f, n);
  put(v->along_h + own, spread(0), n);
}

static void reverse_step(const Reverse *v, const Turn *turn) {
  const Loop *loop = &v->loop;
  int64_t units = loop->units;
  const float *c = past_of(loop, turn, v->cs, v->first_c), *g_sums = v->g_plus + turn->t * GATES * states_of(loop);
  for (int64_t row = turn->row; row < turn->row + turn->rows; row++)
    for (int64_t j = 0; j < units; j += W) gates_row(v, turn->t, row, c, j);
  pass_back(loop, turn, v->along_h, g_sums, GATES, GATES);
}

static void reverse_rows(void *data, int64_t chunk) {
  const Reverse *v = data;
  copy_rows(&v->loop, chunk, v->along_h, v->g_h);
  copy_rows(&v->loop, chunk, v->along_c, v->g_c);
  for (int64_t i = v->loop.steps - 1; i >= 0; i--) {
    Turn turn = turn_at(&v->loop, chunk, i);
    reverse_step(v, &turn);
  }
}

KERNEL(kjax_lstm_reverse) {
  Reverse v = {loop_of(call->sizes, operand(call, 0), operand(call, 1), result(call, 3)),
               operand(call, 3), operand(call, 4), operand(call, 6), call->sizes[4] ? operand(call, 7) : NULL,
               operand(call, 8), operand(call, 9), result(call, 0), result(call, 1), result(call, 2)};
  run_loop(call, &v.loop, pack_rows, reverse_rows);
}
