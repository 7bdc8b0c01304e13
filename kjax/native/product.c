/* Products of matrices that lie in any order: c[m, n] = sum over k of a[m, k] * b[k, n], for each entry of a batch.
 *
 * `sizes` holds seven axes, four of the batch and then m, n and k, each as its size and its strides in a, b and c. In c
 * n has stride 1. A task makes some rows of one panel, COLUMNS wide: it packs b's part of DEPTH steps along k, so that
 * it lies in the nearest cache as it is read, and goes over the rows in tiles whose sums stay in registers. */
#include "transpose.h"

#if REGISTERS == 16
#define ROWS 6
#else
#define ROWS 14
#endif
#define WIDTH 2
#define COLUMNS (WIDTH * W)
#define DEPTH 256
#define TASKS 32
#define AHEAD 32 /* how many steps ahead memory is asked for what lies in strides, which no processor foresees */
#define BATCH 4
#define FEW (1 << 14) /* multiplications that are done before another thread has woken up */

typedef struct {
  int64_t size, a, b, c;
} Axis;

typedef struct {
  const float *a, *b;
  float *c;
} Matrices;

typedef struct {
  Matrices all;
  const Axis *batch, *m, *n, *k;
  int64_t panels, blocks; /* of one entry of the batch */
  int whole;              /* a task makes all of them */
} Product;

/* --- Packing --- */

static void pack_rest(const float *b, const Axis *n, const Axis *k, int64_t k0, int64_t depth, int64_t n0,
                      int64_t columns, int64_t width, float *to) {
  for (int64_t i = k0; i < depth; i++)
    for (int64_t j = n0; j < width; j++) to[i * width + j] = j < columns ? b[i * k->b + j * n->b] : 0;
}

static void pack(const float *b, const Axis *n, const Axis *k, int64_t depth, int64_t columns, int64_t width,
                 float *to) {
  int64_t k0 = 0, n0 = columns / W * W;
  if (n->b == 1)
    for (; k0 < depth; k0++)
      for (int64_t j = 0; j < n0; j += W) __builtin_prefetch(b + (k0 + AHEAD) * k->b + j), store(to + k0 * width + j, load(b + k0 * k->b + j));
  else if (k->b == 1)
    for (; k0 + W <= depth; k0 += W)
      for (int64_t j = 0; j < n0; j += W) transpose(b + k0 + j * n->b, n->b, to + k0 * width + j, width);
  pack_rest(b, n, k, 0, k0, n0, columns, width, to);
  pack_rest(b, n, k, k0, depth, 0, columns, width, to);
}

/* --- Multiplying --- */

typedef struct {
  const float *a, *panel;
  float *c;
  int64_t row, step, depth, c_row; /* strides of a along m and k; how many k there are; c's stride along m */
  int64_t columns;
  int more; /* whether the sums are added to what c holds */
} Tile;

INLINE void multiply(const int rows, const int width, const Tile *t) {
  Vector sums[ROWS][WIDTH];
  UNROLL for (int i = 0; i < rows; i++)
    UNROLL for (int j = 0; j < width; j++) sums[i][j] = spread(0);
  const float *a = t->a, *panel = t->panel;
  const int64_t row = t->row, step = t->step;
  UNROLL for (int i = 0; i < rows; i++)
    UNROLL for (int j = 0; j < width; j++) {
      __builtin_prefetch(t->c + i * t->c_row + j * W, 1);
      __builtin_prefetch(a + (rows + i) * row + j * W);
    }
  for (int64_t k = t->depth; k; k--, a += step, panel += width * W) {
    Vector b[WIDTH];
    __builtin_prefetch(a + AHEAD * step);
    __builtin_prefetch(a + AHEAD * step + rows - 1);
    UNROLL for (int j = 0; j < width; j++) b[j] = load(panel + j * W);
    UNROLL for (int i = 0; i < rows; i++) {
      Vector x = spread(a[i * row]);
      UNROLL for (int j = 0; j < width; j++) sums[i][j] += x * b[j];
    }
  }
  UNROLL for (int i = 0; i < rows; i++)
    UNROLL for (int j = 0; j < width; j++) {
      float *c = t->c + i * t->c_row + j * W;
      store(c, t->more ? load(c) + sums[i][j] : sums[i][j]);
    }
}

#define CASE(rows) \
  case rows: return width == 1 ? multiply(rows, 1, tile) : multiply(rows, 2, tile);

static void multiply_rows(int64_t rows, int64_t width, const Tile *tile) {
  switch (rows) {
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#if ROWS > 6
    CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13) CASE(14)
#endif
  }
}

/* A tile at the right edge of c, whose last columns are none of its own, by way of a copy. */
static void multiply_edge(int64_t rows, int64_t width, const Tile *tile) {
  float copy[ROWS * COLUMNS];
  Tile other = *tile;
  other.c = copy;
  other.c_row = width * W;
  for (int64_t i = 0; i < rows && tile->more; i++)
    for (int64_t j = 0; j < width * W; j++) copy[i * width * W + j] = j < tile->columns ? tile->c[i * tile->c_row + j] : 0;
  multiply_rows(rows, width, &other);
  for (int64_t i = 0; i < rows; i++) memcpy(tile->c + i * tile->c_row, copy + i * width * W, tile->columns * 4);
}

/* --- Splitting --- */

static void make_panel(const Product *p, Matrices at, int64_t panel, int64_t block) {
  float packed[DEPTH * COLUMNS] __attribute__((aligned(64)));
  const int64_t first = block * p->m->size / p->blocks, rows = (block + 1) * p->m->size / p->blocks - first;
  const int64_t tiles = (rows + ROWS - 1) / ROWS, parts = (p->k->size + DEPTH - 1) / DEPTH;
  const int64_t columns = least(COLUMNS, p->n->size - panel * COLUMNS), width = (columns + W - 1) / W;
  for (int64_t part = 0; part < parts; part++) {
    const int64_t k = part * p->k->size / parts, depth = (part + 1) * p->k->size / parts - k;
    pack(at.b + panel * COLUMNS * p->n->b + k * p->k->b, p->n, p->k, depth, columns, width * W, packed);
    for (int64_t i = 0; i < tiles; i++) {
      const int64_t m = first + i * rows / tiles, height = first + (i + 1) * rows / tiles - m;
      Tile tile = {at.a + m * p->m->a + k * p->k->a, packed,  at.c + m * p->m->c + panel * COLUMNS,
                   p->m->a,  p->k->a, depth, p->m->c, columns, part > 0};
      (columns < width * W ? multiply_edge : multiply_rows)(height, width, &tile);
    }
  }
}

static Matrices entry_of(const Product *p, int64_t entry) {
  Matrices at = p->all;
  for (int axis = BATCH - 1; axis >= 0; axis--) {
    const Axis *batch = p->batch + axis;
    const int64_t i = entry % batch->size;
    entry /= batch->size;
    at = (Matrices){at.a + i * batch->a, at.b + i * batch->b, at.c + i * batch->c};
  }
  return at;
}

static void make_part(void *data, int64_t i) {
  const Product *p = data;
  const int64_t parts = p->panels * p->blocks, tasks = p->whole ? 1 : parts;
  const Matrices at = entry_of(p, i / tasks);
  if (!p->whole) return make_panel(p, at, i % tasks / p->blocks, i % tasks % p->blocks);
  for (int64_t part = 0; part < parts; part++) make_panel(p, at, part / p->blocks, part % p->blocks);
}

/* --- A single row, for which packing would take as long as multiplying --- */

INLINE void row_part(const int width, const float *a, const float *b, float *c, const Axis *k) {
  Vector sums[4];
  UNROLL for (int j = 0; j < width; j++) sums[j] = spread(0);
  for (int64_t i = 0; i < k->size; i++)
    UNROLL for (int j = 0; j < width; j++) sums[j] += spread(a[i * k->a]) * load(b + i * k->b + j * W);
  UNROLL for (int j = 0; j < width; j++) store(c + j * W, sums[j]);
}

static void row_rest(int64_t columns, const float *a, const float *b, float *c, const Axis *k) {
  float sums[W] = {0};
  for (int64_t i = 0; i < k->size; i++)
    for (int64_t j = 0; j < columns; j++) sums[j] += a[i * k->a] * b[i * k->b + j];
  memcpy(c, sums, columns * 4);
}

static void make_row(Matrices all, const Axis *n, const Axis *k) {
  int64_t j = 0;
  for (; j + 4 * W <= n->size; j += 4 * W) row_part(4, all.a, all.b + j, all.c + j, k);
  for (; j + W <= n->size; j += W) row_part(1, all.a, all.b + j, all.c + j, k);
  if (j < n->size) row_rest(n->size - j, all.a, all.b + j, all.c + j, k);
}

KERNEL(kjax_product) {
  const Axis *axes = (const Axis *)call->sizes, *m = axes + BATCH, *n = m + 1, *k = n + 1;
  int64_t entries = 1;
  for (int i = 0; i < BATCH; i++) entries *= axes[i].size;
  const Matrices all = {operand(call, 0), operand(call, 1), result(call, 0)};
  if (entries * m->size == 1 && n->b == 1 && n->size * k->size <= FEW) return make_row(all, n, k);
  const int64_t panels = (n->size + COLUMNS - 1) / COLUMNS, wanted = (TASKS - 1) / (entries * panels) + 1;
  const int64_t blocks = most(1, least(wanted, m->size / (4 * ROWS)));
  Product product = {all, axes, m, n, k, panels, blocks, entries >= TASKS};
  in_parallel(call, product.whole ? entries : entries * panels * blocks, make_part, &product);
}
