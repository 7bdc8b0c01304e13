/* The gradient of a convolution's kernel.
 *
 * kernel[t, c, :] = sum over images n and pixels p of x[n, stride * p + dilation * t - before, c] * g[n, p, :]
 *
 * A tile of taps and channels times 2 vectors of features stays in registers while it runs through a band of pixels
 * that fits in the cache. Each group of images has sums of its own, which are added up at the end. */
#include "conv.h"

#define G_ROOM 16384

typedef struct {
  Images x, g;
  int64_t taps[2], stride[2], dilation[2], before[2];
  int64_t groups, band; /* of images; of rows of g */
} Sizes;

typedef struct {
  const Sizes *sizes;
  const float *x, *g;
  float *kernel, *sums;
} Grad;

typedef struct {
  int64_t rows, columns;        /* of g */
  int64_t x_row, x_step; /* of x: floats by which it moves on as g does by a row or a pixel */
} Band;

INLINE void tile(const int height, const int vectors, const Band *band, const float *x, const float *g, float *to) {
  Vector sums[HEIGHT][2] = {0};
  for (int64_t i = 0; i < band->rows; i++) {
    const float *a = x + i * band->x_row;
    for (int64_t j = 0; j < band->columns; j++, a += band->x_step, g += vectors * W) {
      Vector b[2];
      UNROLL for (int v = 0; v < vectors; v++) b[v] = load(g + v * W);
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
INLINE int64_t depth(const Sizes *sizes) { return sizes->taps[0] * sizes->taps[1] * sizes->x.channels; }

INLINE float *sums_of(const Grad *grad, int64_t group, int64_t block) {
  const Sizes *s = grad->sizes;
  return grad->sums + depth(s) * ((group * (2 * (blocks(s) - 1) + vectors_of(s, blocks(s) - 1)) + 2 * block) * W);
}

/* The features of a block of so many pixels, side by side, with zeros behind the last. */
static void pack(const float *g, int64_t step, int64_t features, int64_t pixels, int64_t width, float *to) {
  for (int64_t i = 0, n = least(width, features); i < pixels; i++, to += width, g += step) {
    for (int64_t k = 0; k < n; k++) to[k] = g[k];
    for (int64_t k = n; k < width; k++) to[k] = 0;
  }
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
    add_taps(s, &band, vectors, x.at + (begin * stride + ahead) * x.row, g + begin * band.columns * width,
             sums + tap * s->taps[1] * s->x.channels * width);
  }
}

static void add_image(const Grad *grad, int64_t image, int64_t block, float *sums) {
  const Sizes *s = grad->sizes;
  float room[ROOM] __attribute__((aligned(64))), features[G_ROOM] __attribute__((aligned(64)));
  int64_t vectors = vectors_of(s, block), k = s->g.channels, columns = s->g.columns;
  const float *x = grad->x + image * s->x.rows * s->x.columns * s->x.channels;
  const float *g = grad->g + image * s->g.rows * columns * k + block * 2 * W;
  for (int64_t from = 0; from < s->g.rows; from += s->band) {
    int64_t rows = least(s->band, s->g.rows - from);
    Part part = part_of(x, &s->x, from * s->stride[0] - s->before[0],
                        (rows - 1) * s->stride[0] + (s->taps[0] - 1) * s->dilation[0] + 1, -s->before[1],
                        (columns - 1) * s->stride[1] + (s->taps[1] - 1) * s->dilation[1] + 1, room);
    const float *pixels = g + from * columns * k;
    if (k != vectors * W) {
      pack(pixels, k, k - block * 2 * W, rows * columns, vectors * W, features);
      pixels = features;
    }
    Band band = {rows, columns, s->stride[0] * part.row, s->stride[1] * s->x.channels};
    add_band(s, band, from, vectors, part, pixels, sums);
  }
}

static void add_group(void *data, int64_t i) {
  const Grad *grad = data;
  const Sizes *s = grad->sizes;
  int64_t group = i / blocks(s), block = i % blocks(s);
  float *sums = sums_of(grad, group, block);
  memset(sums, 0, depth(s) * vectors_of(s, block) * W * 4);
  int64_t end = cut(s->x.images, s->groups, group + 1);
  for (int64_t image = cut(s->x.images, s->groups, group); image < end; image++) add_image(grad, image, block, sums);
}

static void add_up(void *data, int64_t tap) {
  const Grad *grad = data;
  const Sizes *s = grad->sizes;
  int64_t features = s->g.channels, from = tap * s->x.channels, to = from + s->x.channels;
  for (int64_t block = 0; block < blocks(s); block++) {
    int64_t width = vectors_of(s, block) * W, n = least(width, features - block * 2 * W);
    for (int64_t row = from; row < to; row++) {
      float total[2 * W] = {0};
      for (int64_t group = 0; group < s->groups; group++) {
        const float *sums = sums_of(grad, group, block) + row * width;
        for (int64_t k = 0; k < width; k++) total[k] += sums[k];
      }
      memcpy(grad->kernel + row * features + block * 2 * W, total, n * 4);
    }
  }
}

KERNEL(kjax_conv_kernel_grad) {
  const Sizes *sizes = (const Sizes *)call->sizes;
  Grad grad = {sizes, operand(call, 0), operand(call, 1), result(call, 0), result(call, 1)};
  in_parallel(call, sizes->groups * blocks(sizes), add_group, &grad);
  in_parallel(call, sizes->taps[0] * sizes->taps[1], add_up, &grad);
}
