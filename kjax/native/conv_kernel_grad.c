/* The gradient of a convolution's kernel.
 *
 * kernel[t, c, :] = sum over images n and pixels p of x[n, stride * p + dilation * t - before, c] * g[n, p, :]
 *
 * A tile of taps and channels times 2 vectors of features stays in registers while it runs through a band of pixels
 * that fits in the cache. Each group of images has sums of its own, which are added up at the end. With the output y of
 * a relu behind the convolution, g counts only where y is positive, and the sum of that g over pixels, the gradient of
 * the bias, is one more row behind the kernel's. */
#include "conv.h"

#define G_ROOM 16384

typedef struct {
  Images x, g;
  int64_t taps[2], stride[2], dilation[2], before[2];
  int64_t groups, band[2]; /* of images; of rows and columns of g */
} Sizes;

typedef struct {
  const Sizes *sizes;
  const float *x, *g, *y; /* y is NULL where no relu comes after the convolution */
  float *kernel, *bias, *sums;
} Grad;

typedef struct {
  int64_t rows, columns; /* of g */
  int64_t g_row;         /* floats of g from row to row, */
  int64_t x_row, x_step; /* and of x, as g moves on by a row or a pixel */
} Band;

INLINE void tile(const int height, const int vectors, const Band *band, const float *x, const float *g, float *to) {
  Vector sums[HEIGHT][2] = {0};
  for (int64_t i = 0; i < band->rows; i++) {
    const float *a = x + i * band->x_row, *pixel = g + i * band->g_row;
    for (int64_t j = 0; j < band->columns; j++, a += band->x_step, pixel += vectors * W) {
      Vector b[2];
      UNROLL for (int v = 0; v < vectors; v++) b[v] = load(pixel + v * W);
      UNROLL for (int m = 0; m < height; m++) {
        Vector c = spread(a[m]);
        UNROLL for (int v = 0; v < vectors; v++) sums[m][v] += c * b[v];
      }
    }
  }
  UNROLL for (int m = 0; m < height; m++)
    UNROLL for (int v = 0; v < vectors; v++) {
      float *sum = to + (m * vectors + v) * W;
      store(sum, load(sum) + sums[m][v]);
    }
}

#define DEFINE(M, V) \
  static void tile_##M##_##V(const Band *band, const float *x, const float *g, float *to) { tile(M, V, band, x, g, to); }
#define NAME(M, V) tile_##M##_##V,
EACH_HEIGHT(DEFINE, 1)
EACH_HEIGHT(DEFINE, 2)
static void (*const tiles[2][HEIGHT])(const Band *, const float *, const float *, float *) = {{EACH_HEIGHT(NAME, 1)},
                                                                                             {EACH_HEIGHT(NAME, 2)}};

INLINE int64_t blocks(const Sizes *sizes) { return (sizes->g.channels + 2 * W - 1) / (2 * W); }
INLINE int64_t vectors_of(const Sizes *sizes, int64_t block) {
  return block * 2 * W + W < sizes->g.channels ? 2 : 1;
}
/* How much of an axis of x so many pixels of g meet. */
INLINE int64_t met(const Sizes *s, int axis, int64_t pixels) {
  return (pixels - 1) * s->stride[axis] + (s->taps[axis] - 1) * s->dilation[axis] + 1;
}
INLINE int64_t depth(const Sizes *sizes) { return sizes->taps[0] * sizes->taps[1] * sizes->x.channels; }

INLINE int64_t rows_of(const Grad *grad) { return depth(grad->sizes) + (grad->y != NULL); }

INLINE float *sums_of(const Grad *grad, int64_t group, int64_t block) {
  const Sizes *s = grad->sizes;
  return grad->sums + rows_of(grad) * ((group * (2 * (blocks(s) - 1) + vectors_of(s, blocks(s) - 1)) + 2 * block) * W);
}

/* The features of a block of so many pixels, side by side, with zeros behind the last. */
static void pack_row(const float *g, int64_t step, int64_t features, int64_t pixels, int64_t width, float *to) {
  for (int64_t i = 0, n = least(width, features); i < pixels; i++, to += width, g += step) {
    for (int64_t k = 0; k < n; k++) to[k] = g[k];
    for (int64_t k = n; k < width; k++) to[k] = 0;
  }
}

/* The same where y is positive, and zeros elsewhere; features fill whole vectors. */
INLINE void mask_row(const int vectors, const float *g, const float *y, int64_t step, int64_t pixels, float *to,
                     float *sums) {
  typedef int32_t Mask __attribute__((vector_size(W * 4)));
  Vector total[2] = {0};
  for (int64_t i = 0; i < pixels; i++, to += vectors * W, g += step, y += step)
    UNROLL for (int v = 0; v < vectors; v++) {
      Vector kept = (Vector)((Mask)load(g + v * W) & (Mask)(load(y + v * W) > spread(0)));
      store(to + v * W, kept);
      total[v] += kept;
    }
  UNROLL for (int v = 0; v < vectors; v++) store(sums + v * W, load(sums + v * W) + total[v]);
}

/* Neighbouring taps of a row are, with their channels, neighbours in memory, if nothing lies between them. */
static void add_taps(const Sizes *s, const Band *band, int64_t vectors, const float *x, const float *g, float *sums) {
  int64_t c = s->x.channels, run = s->dilation[1] == 1 ? s->taps[1] : 1, n = pieces(run * c);
  for (int64_t column = 0; column < s->taps[1]; column += run, sums += run * c * vectors * W)
    for (int64_t i = 0; i < n; i++) {
      int64_t begin = cut(run * c, n, i), end = cut(run * c, n, i + 1);
      const float *a = x + column * s->dilation[1] * c + begin;
      tiles[vectors - 1][end - begin - 1](band, a, g, sums + begin * vectors * W);
    }
}

INLINE int64_t above(int64_t a, int64_t b) { return a <= 0 ? 0 : (a + b - 1) / b; } /* the least i >= 0: i * b >= a */

/* Each row of taps meets x in other rows: those of g whose row lies outside x are left out. */
static void add_band(const Sizes *s, Band band, int64_t from, int64_t vectors, Part x, const float *g, float *sums) {
  int64_t rows = band.rows, width = vectors * W, stride = s->stride[0];
  for (int64_t tap = 0; tap < s->taps[0]; tap++) {
    int64_t ahead = tap * s->dilation[0], at = from * stride - s->before[0] + ahead;
    int64_t begin = least(above(-at, stride), rows), end = least(above(s->x.rows - at, stride), rows);
    band.rows = end - begin;
    add_taps(s, &band, vectors, x.at + (begin * stride + ahead) * x.row, g + begin * band.g_row,
             sums + tap * s->taps[1] * s->x.channels * width);
  }
}

static void add_part(const Grad *grad, int64_t image, int64_t block, int64_t row, int64_t column, float *sums) {
  const Sizes *s = grad->sizes;
  float room[ROOM] __attribute__((aligned(64))), packed[G_ROOM] __attribute__((aligned(64)));
  int64_t vectors = vectors_of(s, block), width = vectors * W, k = s->g.channels;
  int64_t rows = least(s->band[0], s->g.rows - row), columns = least(s->band[1], s->g.columns - column);
  Part x = part_of(grad->x + image * s->x.rows * s->x.columns * s->x.channels, &s->x,
                   row * s->stride[0] - s->before[0], met(s, 0, rows), column * s->stride[1] - s->before[1],
                   met(s, 1, columns), room);
  Band band = {rows, columns, s->g.columns * k, s->stride[0] * x.row, s->stride[1] * s->x.channels};
  int64_t at = ((image * s->g.rows + row) * s->g.columns + column) * k + block * 2 * W;
  const float *g = grad->g + at;
  if (k != width || grad->y) {
    for (int64_t i = 0; i < rows; i++, at += band.g_row) {
      float *to = packed + i * columns * width, *last = sums + depth(s) * width;
      if (!grad->y) pack_row(grad->g + at, k, k - block * 2 * W, columns, width, to);
      else if (vectors == 2) mask_row(2, grad->g + at, grad->y + at, k, columns, to, last);
      else mask_row(1, grad->g + at, grad->y + at, k, columns, to, last);
    }
    band.g_row = columns * width;
    g = packed;
  }
  add_band(s, band, row, vectors, x, g, sums);
}

static void add_image(const Grad *grad, int64_t image, int64_t block, float *sums) {
  const Sizes *s = grad->sizes;
  for (int64_t row = 0; row < s->g.rows; row += s->band[0])
    for (int64_t column = 0; column < s->g.columns; column += s->band[1])
      add_part(grad, image, block, row, column, sums);
}

static void add_group(void *data, int64_t i) {
  const Grad *grad = data;
  const Sizes *s = grad->sizes;
  int64_t group = i / blocks(s), block = i % blocks(s);
  float *sums = sums_of(grad, group, block);
  memset(sums, 0, rows_of(grad) * vectors_of(s, block) * W * 4);
  int64_t end = cut(s->x.images, s->groups, group + 1);
  for (int64_t image = cut(s->x.images, s->groups, group); image < end; image++) add_image(grad, image, block, sums);
}

/* A row of the result. */
static void add_up(void *data, int64_t row) {
  const Grad *grad = data;
  const Sizes *s = grad->sizes;
  int64_t features = s->g.channels;
  float *to = row < depth(s) ? grad->kernel + row * features : grad->bias;
  for (int64_t block = 0; block < blocks(s); block++) {
    int64_t width = vectors_of(s, block) * W, n = least(width, features - block * 2 * W);
    float total[2 * W] = {0};
    for (int64_t group = 0; group < s->groups; group++) {
      const float *sums = sums_of(grad, group, block) + row * width;
      for (int64_t k = 0; k < width; k++) total[k] += sums[k];
    }
    memcpy(to + block * 2 * W, total, n * 4);
  }
}

static void add_tap(void *data, int64_t tap) {
  int64_t channels = ((const Grad *)data)->sizes->x.channels;
  for (int64_t c = 0; c < channels; c++) add_up(data, tap * channels + c);
}

static void compute(const Call *call, Grad *grad) {
  const Sizes *sizes = grad->sizes;
  in_parallel(call, sizes->groups * blocks(sizes), add_group, grad);
  in_parallel(call, sizes->taps[0] * sizes->taps[1], add_tap, grad);
}

KERNEL(kjax_conv_kernel_grad) {
  Grad grad = {(const Sizes *)call->sizes, operand(call, 0), operand(call, 1), NULL, result(call, 0), NULL,
               result(call, 1)};
  compute(call, &grad);
}

/* (x, g, y) -> (gradient of the kernel, of the bias, sums) */
KERNEL(kjax_conv_relu_grad) {
  Grad grad = {(const Sizes *)call->sizes, operand(call, 0), operand(call, 1), operand(call, 2), result(call, 0),
               result(call, 1), result(call, 2)};
  compute(call, &grad);
  add_up(&grad, depth(grad.sizes));
}
