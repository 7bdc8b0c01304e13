/* Attention and its gradient: softmax(scale q k^T) v for each head, with the weights, which the gradient reads.
 *
 * q is (batch, steps, heads, size), k (batch, seen, groups, size), v (batch, seen, groups, wide), the weights (batch,
 * heads, steps, seen). A step sees the band of keys from `first_seen` on to before `last_seen`; what lies outside is
 * not computed, save for what a vector or a tile holds beside it. A task is one group of heads of one entry of the
 * batch. It keeps the transposed keys (or values) and the rows of weights at work in the nearest caches. */
#include "curves.h"
#include "transpose.h"

#if REGISTERS == 16
#define ROWS 6
#else
#define ROWS 8
#endif
#define WIDTH 2
#define LONGEST (1 << 15) /* floats of a group's keys or values */
#define HELD (1 << 14)    /* floats of the rows of weights that are at work */

typedef struct {
  int64_t batch, steps, seen, heads, groups, size, wide, causal, window; /* as in `sizes`; window 0: none */
} Sizes;

typedef struct {
  const Sizes *n;
  const float *q, *k, *v, *g, *scale;
  float *y, *weights, *q_grad, *k_grad, *v_grad;
  int64_t padded, block; /* a row of weights, filled up to whole vectors; how many rows are at work */
} Job;

/* --- Tiles of products: c[m, n] (+)= sum over i of a[m, i] b[i, n], n along whole vectors --- */

typedef struct {
  const float *a, *b;
  float *c;
  int64_t row, step, b_row, c_row, depth; /* a's strides along m and i, b's along i, c's along m */
  int more;
} Tile;

INLINE void multiply(const int rows, const int width, const Tile *t) {
  Vector sums[ROWS][WIDTH];
  UNROLL for (int i = 0; i < rows; i++)
    UNROLL for (int j = 0; j < width; j++) sums[i][j] = t->more ? load(t->c + i * t->c_row + j * W) : spread(0);
  const float *a = t->a, *b = t->b;
  for (int64_t depth = t->depth; depth; depth--, a += t->step, b += t->b_row) {
    Vector line[WIDTH];
    UNROLL for (int j = 0; j < width; j++) line[j] = load(b + j * W);
    UNROLL for (int i = 0; i < rows; i++) {
      Vector x = spread(a[i * t->row]);
      UNROLL for (int j = 0; j < width; j++) sums[i][j] += x * line[j];
    }
  }
  UNROLL for (int i = 0; i < rows; i++)
    UNROLL for (int j = 0; j < width; j++) store(t->c + i * t->c_row + j * W, sums[i][j]);
}

#define CASE(rows) \
  case rows: return width == 1 ? multiply(rows, 1, &t) : multiply(rows, 2, &t);

static void multiply_rows(int64_t rows, int64_t width, Tile t) {
  switch (rows) {
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#if ROWS > 6
    CASE(7) CASE(8)
#endif
  }
}

/* At most ROWS rows, of as many columns as there are. */
static void multiply_line(int64_t rows, int64_t columns, Tile t) {
  for (int64_t j = 0; j < columns; j += WIDTH * W, t.b += WIDTH * W, t.c += WIDTH * W)
    multiply_rows(rows, least(WIDTH, (columns - j) / W), t);
}

/* --- What is seen --- */

INLINE int64_t first_seen(const Sizes *n, int64_t step) {
  return n->window ? least(n->seen, most(0, step - n->window + 1)) : 0;
}

INLINE int64_t last_seen(const Sizes *n, int64_t step) {
  int64_t ahead = n->causal ? 1 : n->window;
  return ahead ? least(n->seen, step + ahead) : n->seen;
}

/* What some rows see, in whole vectors. */
typedef struct {
  int64_t first, columns;
} Span;

INLINE Span span_of(const Job *job, int64_t step, int64_t rows) {
  int64_t first = first_seen(job->n, step) / W * W, last = last_seen(job->n, step + rows - 1);
  return (Span){first, most(0, (last - first + W - 1) / W * W)};
}

INLINE Bits between(int64_t at, int64_t first, int64_t last) {
  Bits places;
  UNROLL for (int i = 0; i < W; i++) places[i] = i;
  Vector here = __builtin_convertvector(places, Vector) + spread((float)at);
  return (Bits)(here >= spread((float)first)) & (Bits)(here < spread((float)last));
}

INLINE float largest(Vector x) {
  float found = x[0];
  UNROLL for (int i = 1; i < W; i++) found = x[i] > found ? x[i] : found;
  return found;
}

/* Scores to weights, in place; zeros outside of what is seen. */
static void soften(const Job *job, float *row, int64_t step, Span span) {
  const int64_t first = first_seen(job->n, step), last = last_seen(job->n, step);
  Vector top = spread(-__builtin_inff()), sum = spread(0);
  for (int64_t j = span.first; j < span.first + span.columns; j += W) {
    Vector x = choose(between(j, first, last), load(row + j), spread(-__builtin_inff()));
    top = choose((Bits)(x > top), x, top);
  }
  const Vector most_of_all = spread(largest(top));
  for (int64_t j = span.first; j < span.first + span.columns; j += W) {
    Vector x = choose(between(j, first, last), exp_of(load(row + j) - most_of_all), spread(0));
    store(row + j, x);
    sum += x;
  }
  const Vector share = spread(first < last ? 1.0f / across(sum) : 0);
  for (int64_t j = span.first; j < span.first + span.columns; j += W) store(row + j, load(row + j) * share);
}

/* --- Keys or values of one group, (seen, size), transposed and filled up with zeros --- */

static void turn(const float *from, int64_t row, int64_t seen, int64_t size, float factor, float *to, int64_t padded) {
  for (int64_t i = 0; i < size; i += W) {
    int64_t j = 0;
    for (; j + W <= seen; j += W) transpose(from + j * row + i, row, to + i * padded + j, padded);
    for (; j < padded; j++)
      for (int64_t part = 0; part < W; part++) to[(i + part) * padded + j] = j < seen ? from[j * row + i + part] : 0;
  }
  for (int64_t i = 0; i < size * padded; i += W) store(to + i, load(to + i) * spread(factor));
}

/* --- Forward --- */

static void see(const Job *job, int64_t entry, int64_t head, const float *keys, const float *values) {
  const Sizes *n = job->n;
  float rows[HELD] __attribute__((aligned(64)));
  const int64_t q_row = n->heads * n->size, y_row = n->heads * n->wide, padded = job->padded;
  const float *q = job->q + entry * n->steps * q_row + head * n->size;
  float *y = job->y + entry * n->steps * y_row + head * n->wide;
  float *weights = job->weights + (entry * n->heads + head) * n->steps * n->seen;
  for (int64_t step = 0; step < n->steps; step += ROWS) {
    const int64_t count = least(ROWS, n->steps - step);
    const Span span = span_of(job, step, count);
    multiply_line(count, span.columns, (Tile){q + step * q_row, keys + span.first, rows + span.first, q_row, 1, padded,
                                              padded, n->size, 0});
    for (int64_t i = 0; i < count; i++) {
      float *row = rows + i * padded, *out = weights + (step + i) * n->seen;
      const int64_t end = least(n->seen, span.first + span.columns);
      soften(job, row, step + i, span);
      memset(out, 0, (size_t)span.first * 4);
      memcpy(out + span.first, row + span.first, (size_t)most(0, end - span.first) * 4);
      memset(out + most(end, span.first), 0, (size_t)(n->seen - most(end, span.first)) * 4);
    }
    const int64_t depth = most(0, least(n->seen, span.first + span.columns) - span.first), v_row = n->groups * n->wide;
    multiply_line(count, n->wide, (Tile){rows + span.first, values + span.first * v_row, y + step * y_row, padded, 1,
                                         v_row, y_row, depth, 0});
  }
}

/* A task: the entry, the heads of one group, where its keys and values begin and how far apart they lie. */
typedef struct {
  int64_t entry, first, last, keys, values, k_row, v_row;
} Group;

static Group group_of(const Sizes *n, int64_t task) {
  const int64_t entry = task / n->groups, group = task % n->groups, several = n->heads / n->groups;
  const int64_t k_row = n->groups * n->size, v_row = n->groups * n->wide;
  return (Group){entry, group * several, (group + 1) * several, entry * n->seen * k_row + group * n->size,
                 entry * n->seen * v_row + group * n->wide, k_row, v_row};
}

static void see_group(void *data, int64_t task) {
  const Job *job = data;
  const Sizes *n = job->n;
  float keys[LONGEST] __attribute__((aligned(64)));
  const Group at = group_of(n, task);
  turn(job->k + at.keys, at.k_row, n->seen, n->size, *job->scale, keys, job->padded);
  for (int64_t head = at.first; head < at.last; head++) see(job, at.entry, head, keys, job->v + at.values);
}

static Job job_of(const Call *call) {
  const Sizes *n = (const Sizes *)call->sizes;
  const int64_t padded = (n->seen + W - 1) / W * W;
  return (Job){.n = n, .padded = padded, .block = most(ROWS, HELD / padded / ROWS * ROWS)};
}

/* (q, k, v, scale) -> (y, weights) */
KERNEL(kjax_attention) {
  Job job = job_of(call);
  job.q = operand(call, 0), job.k = operand(call, 1), job.v = operand(call, 2), job.scale = operand(call, 3);
  job.y = result(call, 0), job.weights = result(call, 1);
  in_parallel(call, job.n->batch * job.n->groups, see_group, &job);
}

/* --- Gradient --- */

/* The gradient of a row of scores, in place of that of its weights. */
static void harden(const Job *job, const float *weights, float *row, Span span) {
  Vector sum = spread(0);
  for (int64_t j = span.first; j < span.first + span.columns; j += W) sum += load(weights + j) * load(row + j);
  const Vector mean = spread(across(sum)), scale = spread(*job->scale);
  for (int64_t j = span.first; j < span.first + span.columns; j += W)
    store(row + j, load(weights + j) * (load(row + j) - mean) * scale);
}

/* One head of one entry: where its rows lie, and the group's it shares. */
typedef struct {
  const float *q, *g, *weights, *k, *values;
  float *q_grad, *k_grad, *v_grad;
} Head;

static Head head_of(const Job *job, const Group *group, int64_t head, const float *values) {
  const Sizes *n = job->n;
  const int64_t first = group->entry * n->steps * n->heads + head, q = first * n->size;
  return (Head){job->q + q,
                job->g + first * n->wide,
                job->weights + (group->entry * n->heads + head) * n->steps * n->seen,
                job->k + group->keys,
                values,
                job->q_grad + q,
                job->k_grad + group->keys,
                job->v_grad + group->values};
}

/* The gradient of some queries; leaves the rows of weights and the gradient of their scores for the keys. */
static void pull_rows(const Job *job, const Head *at, int64_t step, int64_t count, float *weights, float *rows) {
  const Sizes *n = job->n;
  const int64_t padded = job->padded, g_row = n->heads * n->wide, q_row = n->heads * n->size;
  const int64_t k_row = n->groups * n->size;
  const Span span = span_of(job, step, count);
  memset(rows, 0, (size_t)(count * padded) * 4);
  for (int64_t i = 0; i < count; i++) {
    memcpy(weights + i * padded, at->weights + (step + i) * n->seen, (size_t)n->seen * 4);
    for (int64_t j = n->seen; j < padded; j++) weights[i * padded + j] = 0;
  }
  multiply_line(count, span.columns, (Tile){at->g + step * g_row, at->values + span.first, rows + span.first, g_row, 1,
                                            padded, padded, n->wide, 0});
  for (int64_t i = 0; i < count; i++) harden(job, weights + i * padded, rows + i * padded, span);
  const int64_t depth = most(0, least(n->seen, span.first + span.columns) - span.first);
  multiply_line(count, n->size, (Tile){rows + span.first, at->k + span.first * k_row, at->q_grad + step * q_row, padded,
                                       1, k_row, q_row, depth, 0});
}

/* What some rows add to the gradients of keys and values. */
static void pull_seen(const Job *job, const Head *at, int64_t step, int64_t count, const float *weights,
                      const float *rows) {
  const Sizes *n = job->n;
  const int64_t padded = job->padded, g_row = n->heads * n->wide, q_row = n->heads * n->size;
  const int64_t k_row = n->groups * n->size, v_row = n->groups * n->wide;
  const Span span = span_of(job, step, count);
  for (int64_t j = span.first; j < least(n->seen, span.first + span.columns); j += ROWS) {
    const int64_t keys = least(ROWS, n->seen - j), before = n->causal ? most(0, least(count, j - step)) : 0;
    const Tile k = {rows + before * padded + j, at->q + (step + before) * q_row, at->k_grad + j * k_row, 1, padded, q_row,
                    k_row, count - before, 1};
    const Tile v = {weights + before * padded + j, at->g + (step + before) * g_row, at->v_grad + j * v_row, 1, padded,
                    g_row, v_row, count - before, 1};
    multiply_line(keys, n->size, k);
    multiply_line(keys, n->wide, v);
  }
}

static void pull_head(const Job *job, Head at) {
  float weights[HELD] __attribute__((aligned(64))), rows[HELD] __attribute__((aligned(64)));
  for (int64_t first = 0; first < job->n->steps; first += job->block) {
    const int64_t count = least(job->block, job->n->steps - first);
    for (int64_t i = 0; i < count; i += ROWS)
      pull_rows(job, &at, first + i, least(ROWS, count - i), weights + i * job->padded, rows + i * job->padded);
    pull_seen(job, &at, first, count, weights, rows);
  }
}

static void clear(float *to, int64_t row, int64_t rows, int64_t size) {
  for (int64_t i = 0; i < rows; i++) memset(to + i * row, 0, (size_t)size * 4);
}

static void pull_group(void *data, int64_t task) {
  const Job *job = data;
  const Sizes *n = job->n;
  float values[LONGEST] __attribute__((aligned(64)));
  const Group at = group_of(n, task);
  turn(job->v + at.values, at.v_row, n->seen, n->wide, 1, values, job->padded);
  clear(job->k_grad + at.keys, at.k_row, n->seen, n->size);
  clear(job->v_grad + at.values, at.v_row, n->seen, n->wide);
  for (int64_t head = at.first; head < at.last; head++) pull_head(job, head_of(job, &at, head, values));
}

/* (g, q, k, v, weights, scale) -> (gradient of q, of k, of v) */
KERNEL(kjax_attention_grad) {
  Job job = job_of(call);
  job.g = operand(call, 0), job.q = operand(call, 1), job.k = operand(call, 2), job.v = operand(call, 3);
  job.weights = operand(call, 4), job.scale = operand(call, 5);
  job.q_grad = result(call, 0), job.k_grad = result(call, 1), job.v_grad = result(call, 2);
  in_parallel(call, job.n->batch * job.n->groups, pull_group, &job);
}
