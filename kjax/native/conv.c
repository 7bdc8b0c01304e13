/* Convolution's output, and the gradient of its input, which is the same sum with other taps.
 *
 * y[n, p + step * i, :] = sum over taps t of x[n, stride * i + offset(t), :] @ kernel[t]
 *
 * for each phase p of the result, which has taps of its own: a convolution has one phase, its input's gradient one for
 * each place in a cell of strides. A tile of neighbouring pixels times 2 vectors of features stays in registers while
 * it runs through taps and channels; where they are wanted, bias and relu are done before it is stored. */
#include "conv.h"

/* The static sizes, as Python writes them. */
typedef struct {
  Images x, y;
  int64_t swapped; /* the kernel is (tap, feature of y, channel of x) */
  int64_t stride[2], step[2];
  int64_t first[2], span[2]; /* of x, what the first pixels of all phases meet: from where on, how much */
  int64_t size[2], band[2];  /* rows and columns of the largest phase: all, and so many as one task computes */
  int64_t taps, phases;
} Sizes;

/* A phase: where it begins, its size, and so many runs of neighbouring taps; each run is the row and the column where
 * it meets x, then the numbers of its taps in the kernel. */
typedef struct {
  int64_t begin[2], size[2], runs, run;
  int64_t list[];
} Phase;

typedef struct {
  const Sizes *sizes;
  const float *x, *kernel, *bias; /* the bias in whole vectors; NULL for neither bias nor relu */
  float *y, *packed;
} Conv;

/* What the pixels of a row of y have in common. */
typedef struct {
  const float *weights, *bias;
  const int64_t *list;         /* of runs */
  int64_t runs, entry, length; /* their number, the numbers that each has in the list, the floats of x it meets */
  int64_t channels, row, step; /* of x: floats from row to row, from pixel to pixel of y */
  int64_t features, y_step;    /* of y: floats to store, floats from pixel to pixel */
} Strip;

INLINE int64_t entry(const Phase *phase) { return 2 + phase->run; }
INLINE const Phase *next(const Phase *phase) { return (const Phase *)(phase->list + phase->runs * entry(phase)); }
INLINE const Phase *first(const Sizes *sizes) { return (const Phase *)(sizes + 1); }

INLINE int64_t bands(const Sizes *s, int axis) { return (s->size[axis] + s->band[axis] - 1) / s->band[axis]; }
INLINE int64_t met(const Sizes *s, int axis, int64_t from) {
  return (least(s->band[axis], s->size[axis] - from) - 1) * s->stride[axis] + s->span[axis];
}

/* The sums of fewer features than vectors have room for. */
static void keep_some(const float *sums, int64_t height, int64_t width, const Strip *s, float *y) {
  for (int64_t m = 0; m < height; m++) memcpy(y + m * s->y_step, sums + m * width, s->features * 4);
}

/* NaN stays NaN. */
INLINE Vector relu(Vector x) {
  typedef int32_t Mask __attribute__((vector_size(W * 4)));
  return (Vector)((Mask)x & ~(Mask)(x < spread(0)));
}

INLINE void tile(const int height, const int vectors, const Strip *s, const float *x, float *y) {
  Vector sums[HEIGHT][2] = {0};
  const float *w = s->weights;
  const int64_t length = s->length, step = s->step;
  for (int64_t i = 0; i < s->runs; i++) {
    const int64_t *run = s->list + i * s->entry;
    const float *a = x + run[0] * s->row + run[1] * s->channels;
    for (int64_t j = 0; j < length; j++, w += vectors * W) {
      Vector b[2];
      UNROLL for (int v = 0; v < vectors; v++) b[v] = load(w + v * W);
      UNROLL for (int m = 0; m < height; m++) {
        Vector c = spread(a[m * step + j]);
        UNROLL for (int v = 0; v < vectors; v++) sums[m][v] += c * b[v];
      }
    }
  }
  if (s->bias) {
    UNROLL for (int m = 0; m < height; m++)
      UNROLL for (int v = 0; v < vectors; v++) sums[m][v] = relu(sums[m][v] + load(s->bias + v * W));
  }
  if (s->features >= vectors * W) {
    UNROLL for (int m = 0; m < height; m++)
      UNROLL for (int v = 0; v < vectors; v++) store(y + m * s->y_step + v * W, sums[m][v]);
    return;
  }
  float some[HEIGHT * 2 * W];
  UNROLL for (int m = 0; m < height; m++)
    UNROLL for (int v = 0; v < vectors; v++) store(some + (m * vectors + v) * W, sums[m][v]);
  keep_some(some, height, vectors * W, s, y);
}

#define DEFINE(M, V) \
  static void tile_##M##_##V(const Strip *s, const float *x, float *y) { tile(M, V, s, x, y); }
#define NAME(M, V) tile_##M##_##V,
EACH_HEIGHT(DEFINE, 1)
EACH_HEIGHT(DEFINE, 2)
static void (*const tiles[2][HEIGHT])(const Strip *, const float *, float *) = {{EACH_HEIGHT(NAME, 1)},
                                                                               {EACH_HEIGHT(NAME, 2)}};

/* --- The kernel in the order in which tiles read it: (block of 2 vectors, phase, tap, channel, feature) --- */

INLINE int64_t vectors_from(const Sizes *sizes, int64_t feature) { return feature + W < sizes->y.channels ? 2 : 1; }

static void pack_block(const Conv *conv, const float *tap, float *to, int64_t feature) {
  const Sizes *s = conv->sizes;
  int64_t width = vectors_from(s, feature) * W, features = least(width, s->y.channels - feature);
  int64_t across = s->swapped ? s->x.channels : 1, down = s->swapped ? 1 : s->y.channels;
  for (int64_t c = 0; c < s->x.channels; c++, to += width) {
    const float *from = tap + c * down + feature * across;
    for (int64_t k = 0; k < features; k++) to[k] = from[k * across];
    for (int64_t k = features; k < width; k++) to[k] = 0;
  }
}

static int64_t tap_number(const Sizes *sizes, int64_t place) {
  const Phase *phase = first(sizes);
  for (; place >= phase->runs * phase->run; phase = next(phase)) place -= phase->runs * phase->run;
  return phase->list[place / phase->run * entry(phase) + 2 + place % phase->run];
}

static void pack(void *data, int64_t place) {
  const Conv *conv = data;
  const Sizes *s = conv->sizes;
  const float *tap = conv->kernel + tap_number(s, place) * s->x.channels * s->y.channels;
  for (int64_t feature = 0; feature < s->y.channels; feature += 2 * W) {
    float *block = conv->packed + feature * s->taps * s->x.channels;
    pack_block(conv, tap, block + place * s->x.channels * vectors_from(s, feature) * W, feature);
  }
}

/* --- The sums --- */

static void compute_row(const Strip *strip, int64_t vectors, int64_t columns, const float *x, float *y) {
  int64_t n = pieces(columns);
  for (int64_t i = 0; i < n; i++) {
    int64_t begin = cut(columns, n, i), end = cut(columns, n, i + 1);
    tiles[vectors - 1][end - begin - 1](strip, x + begin * strip->step, y + begin * strip->y_step);
  }
}

/* Runs that meet rows outside x, where there are zeros: the first ones and the last ones. */
static void leave_out(Strip *strip, const Sizes *s, int64_t i, int64_t width) {
  int64_t at = i * s->stride[0];
  for (; strip->runs && strip->list[(strip->runs - 1) * strip->entry] + at >= s->x.rows; strip->runs--);
  for (; strip->runs && strip->list[0] + at < 0; strip->runs--) {
    strip->list += strip->entry;
    strip->weights += strip->length * width;
  }
}

static void compute_block(const Conv *conv, int64_t feature, int64_t from, int64_t column, Part x, float *y) {
  const Sizes *s = conv->sizes;
  const float *weights = conv->packed + feature * s->taps * s->x.channels;
  const float *bias = conv->bias ? conv->bias + feature : NULL;
  int64_t vectors = vectors_from(s, feature), c = s->x.channels, k = s->y.channels;
  const Phase *phase = first(s);
  for (int64_t p = 0; p < s->phases; p++, phase = next(phase)) {
    for (int64_t i = from; i < least(from + s->band[0], phase->size[0]); i++) {
      int64_t row = phase->begin[0] + s->step[0] * i;
      Strip strip = {weights, bias, phase->list, phase->runs, entry(phase), phase->run * c, c, x.row,
                     s->stride[1] * c, k - feature, s->step[1] * k};
      leave_out(&strip, s, i, vectors * W);
      float *to = y + (row * s->y.columns + phase->begin[1] + s->step[1] * column) * k + feature;
      compute_row(&strip, vectors, least(s->band[1], phase->size[1] - column),
                  x.at + (i - from) * s->stride[0] * x.row, to);
    }
    weights += phase->runs * phase->run * c * vectors * W;
  }
}

static void compute_band(void *data, int64_t i) {
  const Conv *conv = data;
  const Sizes *s = conv->sizes;
  float room[ROOM] __attribute__((aligned(64)));
  int64_t across = bands(s, 1), image = i / (bands(s, 0) * across);
  int64_t row = i / across % bands(s, 0) * s->band[0], column = i % across * s->band[1];
  Part x = part_of(conv->x + image * s->x.rows * s->x.columns * s->x.channels, &s->x, row * s->stride[0] + s->first[0],
                   met(s, 0, row), column * s->stride[1] + s->first[1], met(s, 1, column), room);
  /* Offsets count from the pixel (0, 0) of x, the part from its first. */
  x.at -= s->first[0] * x.row + s->first[1] * s->x.channels;
  float *y = conv->y + image * s->y.rows * s->y.columns * s->y.channels;
  for (int64_t feature = 0; feature < s->y.channels; feature += 2 * W)
    compute_block(conv, feature, row, column, x, y);
}

static void convolve(const Call *call, Conv *conv) {
  const Sizes *sizes = conv->sizes;
  in_parallel(call, sizes->taps, pack, conv);
  in_parallel(call, sizes->x.images * bands(sizes, 0) * bands(sizes, 1), compute_band, conv);
}

KERNEL(kjax_conv) {
  Conv conv = {(const Sizes *)call->sizes, operand(call, 0), operand(call, 1), NULL, result(call, 0), result(call, 1)};
  convolve(call, &conv);
}

/* (x, kernel, bias) -> (relu(convolution + bias), packed kernel, packed bias) */
KERNEL(kjax_conv_relu) {
  const Sizes *s = (const Sizes *)call->sizes;
  int64_t features = s->y.channels;
  float *bias = result(call, 2);
  memcpy(bias, operand(call, 2), features * 4);
  memset(bias + features, 0, (W - 1 - (features - 1) % W) * 4);
  Conv conv = {s, operand(call, 0), operand(call, 1), bias, result(call, 0), result(call, 1)};
  convolve(call, &conv);
}
