/* The time loops of a gated recurrent unit and their reverses; kjax/nn/kernels/gru.py says what they compute. */
#include "recurrent.h"

enum { UPDATE, RESET, CANDIDATE, GATES };

static Loop loop_of(const int64_t *sizes, const float *kernel, const float *real, float *packed) {
  return (Loop){sizes[0], sizes[1], sizes[2], (int)sizes[3], GATES, kernel, real, packed};
}

/* --- Forward --- */

typedef struct {
  Loop loop;
  const float *plus, *bias, *first; /* no bias: the state is reset before its product */
  float *hs, *gates, *inner, *last;
} Forward;

/* What one row of a block is about at a time step: where its numbers are. */
typedef struct {
  int64_t n, at, gate_at;
  const float *h;
  int real;
} Place;

INLINE Place place_of(const Loop *loop, int64_t t, int64_t row, int64_t j, const float *h) {
  int64_t first = t * loop->batch + row;
  return (Place){loop->units - j, first * loop->units + j, first * GATES * loop->units + j, h + row * loop->units + j,
                 loop->real[first] != 0};
}

/* Both gates, from their sums. */
INLINE void set_gates(const Forward *f, const Place *p, Vector z, Vector r) {
  put(f->gates + p->gate_at, sigmoid_of(z), p->n);
  put(f->gates + p->gate_at + f->loop.units, sigmoid_of(r), p->n);
}

/* The candidate, from its sum, and the state. */
INLINE void set_state(const Forward *f, const Place *p, Vector sum) {
  Vector new = tanh_of(sum), z = fetch(f->gates + p->gate_at, p->n), h = fetch(p->h, p->n);
  put(f->gates + p->gate_at + CANDIDATE * f->loop.units, new, p->n);
  put(f->hs + p->at, p->real ? z * h + (1.0f - z) * new : h, p->n);
}

INLINE void after_row(const Forward *f, const Place *p, const Vector *sums) {
  int64_t units = f->loop.units;
  const float *plus = f->plus + p->gate_at;
  set_gates(f, p, fetch(plus, p->n) + sums[UPDATE], fetch(plus + units, p->n) + sums[RESET]);
  put(f->inner + p->at, sums[CANDIDATE], p->n);
  Vector r = fetch(f->gates + p->gate_at + units, p->n);
  set_state(f, p, fetch(plus + CANDIDATE * units, p->n) + r * sums[CANDIDATE]);
}

INLINE void after_tile(const Forward *f, const Turn *turn, const float *h, int64_t block, int64_t row, int rows) {
  const Loop *loop = &f->loop;
  int64_t units = loop->units, j = block * W;
  Vector sums[SUMS];
  UNROLL for (int r = 0; r < rows; r++)
    UNROLL for (int g = 0; g < GATES; g++) sums[r * GATES + g] = fetch(f->bias + g * units + j, units - j);
  add_products(sums, loop, h + row * units, units, panel_of(loop, block), GATES, rows, GATES);
  for (int r = 0; r < rows; r++) {
    Place place = place_of(loop, turn->t, row + r, j, h);
    after_row(f, &place, sums + r * GATES);
  }
}

/* Both gates, and the state after its reset. */
INLINE void reset_tile(const Forward *f, const Turn *turn, const float *h, int64_t block, int64_t row, int rows) {
  const Loop *loop = &f->loop;
  int64_t units = loop->units, j = block * W;
  const float *plus = f->plus + (turn->t * loop->batch + row) * GATES * units + j;
  Vector sums[SUMS];
  UNROLL for (int r = 0; r < rows; r++)
    UNROLL for (int g = 0; g < 2; g++) sums[r * 2 + g] = fetch(plus + (r * GATES + g) * units, units - j);
  add_products(sums, loop, h + row * units, units, panel_of(loop, block), GATES, rows, 2);
  for (int r = 0; r < rows; r++) {
    Place p = place_of(loop, turn->t, row + r, j, h);
    set_gates(f, &p, sums[r * 2], sums[r * 2 + 1]);
    put(f->inner + p.at, fetch(f->gates + p.gate_at + units, p.n) * fetch(p.h, p.n), p.n);
  }
}

/* The candidate and the state, once a row's states are reset. */
INLINE void state_tile(const Forward *f, const Turn *turn, const float *h, int64_t block, int64_t row, int rows) {
  const Loop *loop = &f->loop;
  int64_t units = loop->units, j = block * W, first = turn->t * loop->batch + row;
  const float *plus = f->plus + (first * GATES + CANDIDATE) * units + j;
  Vector sums[SUMS];
  UNROLL for (int r = 0; r < rows; r++) sums[r] = fetch(plus + r * GATES * units, units - j);
  add_products(sums, loop, f->inner + first * units, units, panel_of(loop, block) + CANDIDATE * W, GATES, rows, 1);
  for (int r = 0; r < rows; r++) {
    Place place = place_of(loop, turn->t, row + r, j, h);
    set_state(f, &place, sums[r]);
  }
}

static void forward_step(const Forward *f, const Turn *turn) {
#define AFTER(count) after_tile(f, turn, h, block, row, count);
#define FIRST(count) reset_tile(f, turn, h, block, row, count);
#define THEN(count) state_tile(f, turn, h, block, row, count);
  const Loop *loop = &f->loop;
  const float *h = past_of(loop, turn, f->hs, f->first);
  if (f->bias) {
    EACH_TILE(loop, turn, ROWS, AFTER)
  } else {
    EACH_TILE(loop, turn, 2 * ROWS, FIRST)
    EACH_TILE(loop, turn, 4 * ROWS, THEN)
  }
}

static void forward_rows(void *data, int64_t chunk) {
  const Forward *f = data;
  for (int64_t i = 0; i < f->loop.steps; i++) {
    Turn turn = turn_at(&f->loop, chunk, i);
    forward_step(f, &turn);
  }
  copy_last(&f->loop, chunk, f->last, f->hs, f->first);
}

/* The operands from the bias on, which one of both loops has. */
static void forward(const Call *call, int i, const float *bias) {
  Forward f = {loop_of(call->sizes, operand(call, 1), operand(call, i + 1), result(call, 4)), operand(call, 0), bias,
               operand(call, i), result(call, 0), result(call, 1), result(call, 2), result(call, 3)};
  run_loop(call, &f.loop, pack_columns, forward_rows);
}

KERNEL(kjax_gru) { forward(call, 3, operand(call, 2)); }
KERNEL(kjax_gru_reset_before) { forward(call, 2, NULL); }

/* --- Reverse --- */

typedef struct {
  Loop loop;
  const float *hs, *gates, *inner, *first, *g_hs, *g_h;
  float *g_plus, *g_sums, *along; /* along: the gradient of the state, from step to step; g_sums only of `after` */
} Reverse;

/* The gradient of the new state of one row; false, and nothing of its sums, where the step is not real. */
INLINE int pull_state(const Reverse *v, const Place *p, float *along, Vector *g) {
  int64_t units = v->loop.units;
  *g = fetch(along, p->n);
  if (v->g_hs) *g += fetch(v->g_hs + p->at, p->n);
  if (p->real) return 1;
  for (int i = 0; i < GATES; i++) {
    put(v->g_plus + p->gate_at + i * units, spread(0), p->n);
    if (v->g_sums) put(v->g_sums + p->gate_at + i * units, spread(0), p->n);
  }
  put(along, *g, p->n);
  return 0;
}

/* The gradients of one row at one step but for what the reset gate takes part in, and what passes by them. */
INLINE void gates_row(const Reverse *v, const Place *p, float *along) {
  int64_t units = v->loop.units, n = p->n;
  const float *gates = v->gates + p->gate_at;
  float *g_plus = v->g_plus + p->gate_at;
  Vector z = fetch(gates, n), r = fetch(gates + units, n), new = fetch(gates + 2 * units, n), g;
  if (!pull_state(v, p, along, &g)) return;
  Vector g_z = g * (fetch(p->h, n) - new) * z * (1.0f - z), g_new = g * (1.0f - z) * (1.0f - new * new);
  put(along, g * z, n);
  put(g_plus, g_z, n);
  put(g_plus + 2 * units, g_new, n);
  if (!v->g_sums) return;
  float *g_sums = v->g_sums + p->gate_at;
  Vector g_r = g_new * fetch(v->inner + p->at, n) * r * (1.0f - r);
  put(g_plus + units, g_r, n);
  put(g_sums, g_z, n);
  put(g_sums + units, g_r, n);
  put(g_sums + 2 * units, g_new * r, n);
}

/* What the candidate passes to the reset gate and, by way of the reset state, to the state. */
INLINE void reset_back_tile(const Reverse *v, const Turn *turn, const float *h, int64_t block, int64_t row, int rows) {
  const Loop *loop = &v->loop;
  int64_t units = loop->units, j = block * W;
  const float *g_new = v->g_plus + (turn->t * loop->batch + row) * GATES * units + CANDIDATE * units;
  Vector sums[SUMS] = {0};
  add_products(sums, loop, g_new, GATES * units, panel_of(loop, block) + CANDIDATE * units * W, 1, rows, 1);
  for (int i = 0; i < rows; i++) {
    Place p = place_of(loop, turn->t, row + i, j, h);
    float *along = v->along + (row + i) * units + j;
    Vector r = fetch(v->gates + p.gate_at + units, p.n);
    put(v->g_plus + p.gate_at + units, sums[i] * fetch(p.h, p.n) * r * (1.0f - r), p.n);
    put(along, fetch(along, p.n) + sums[i] * r, p.n);
  }
}

static void reverse_step(const Reverse *v, const Turn *turn) {
#define CANDIDATES(count) reset_back_tile(v, turn, h, block, row, count);
  const Loop *loop = &v->loop;
  int64_t units = loop->units, first = turn->t * GATES * states_of(loop);
  const float *h = past_of(loop, turn, v->hs, v->first);
  for (int64_t row = turn->row; row < turn->row + turn->rows; row++)
    for (int64_t j = 0; j < units; j += W) {
      Place place = place_of(loop, turn->t, row, j, h);
      gates_row(v, &place, v->along + row * units + j);
    }
  if (v->g_sums) {
    pass_back(loop, turn, v->along, v->g_sums + first, GATES, GATES);
  } else {
    EACH_TILE(loop, turn, 4 * ROWS, CANDIDATES)
    pass_back(loop, turn, v->along, v->g_plus + first, GATES, CANDIDATE);
  }
}

static void reverse_rows(void *data, int64_t chunk) {
  const Reverse *v = data;
  copy_rows(&v->loop, chunk, v->along, v->g_h);
  for (int64_t i = v->loop.steps - 1; i >= 0; i--) {
    Turn turn = turn_at(&v->loop, chunk, i);
    reverse_step(v, &turn);
  }
}

/* The operands from `real` on, and the results behind the gradient of plus. */
static void reverse(const Call *call, int i, float *g_sums, int to) {
  const float *g_hs = call->sizes[4] ? operand(call, i + 5) : NULL;
  Reverse v = {loop_of(call->sizes, operand(call, 0), operand(call, i), result(call, to + 1)),
               operand(call, i + 1), operand(call, i + 2), operand(call, i + 3), operand(call, i + 4), g_hs,
               operand(call, i + 6), result(call, 0), g_sums, result(call, to)};
  run_loop(call, &v.loop, pack_rows, reverse_rows);
}

KERNEL(kjax_gru_reverse) { reverse(call, 2, result(call, 1), 2); }
KERNEL(kjax_gru_reset_before_reverse) { reverse(call, 1, NULL, 1); }
