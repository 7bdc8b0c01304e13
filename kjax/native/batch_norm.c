/* Batch norm: in each channel the mean and the variance, and what they make of the matrix; and its gradient.
 *
 * A mean is kept as two numbers, one near it and the rest, for near 10,000 one float32 would be off by 0.0005. */
#include "columns.h"

typedef struct {
  Columns of;
  const float *x, *g;
  float *out;
  float near[LANES], rest[LANES], factor[LANES], slope[LANES], offset[LANES]; /* by lane */
  float first[PARTS], second[PARTS];                                         /* sums by task and lane */
} Job;

INLINE void load_all(Vector *to, const float *from, int vectors) {
  for (int v = 0; v < vectors; v++) to[v] = load(from + v * W);
}

INLINE void store_all(float *to, const Vector *from, int vectors) {
  for (int v = 0; v < vectors; v++) store(to + v * W, from[v]);
}

/* --- The mean and the squares about it: those of a chunk, which is read twice but from memory once, are joined to
 * those of the chunks before it (Chan, Golub and LeVeque, 1979). --- */

INLINE void chunk_moments(const Job *job, Span span, int vectors, Vector *mean, Vector *squares) {
  const float *x = job->x + span.lane;
  int64_t width = job->of.width;
  Vector near[BLOCK], count = spread(1.0f / (float)(span.to - span.from));
  load_all(near, job->near + span.lane, vectors);
  for (int v = 0; v < vectors; v++) mean[v] = squares[v] = spread(0);
  for (int64_t i = span.from; i < span.to; i++)
    for (int v = 0; v < vectors; v++) mean[v] += load(x + i * width + v * W) - near[v];
  for (int v = 0; v < vectors; v++) mean[v] *= count;
  for (int64_t i = span.from; i < span.to; i++)
    for (int v = 0; v < vectors; v++) {
      Vector away = load(x + i * width + v * W) - near[v] - mean[v];
      squares[v] += away * away;
    }
}

INLINE void join_moments(const void *data, int64_t task, Span span, int vectors) {
  Job *job = (Job *)data;
  float *means = job->first + task * job->of.width + span.lane, *all = job->second + task * job->of.width + span.lane;
  Vector mean[BLOCK], squares[BLOCK];
  chunk_moments(job, span, vectors, mean, squares);
  float before = (float)(span.from - span.first), now = (float)(span.to - span.from), share = now / (before + now);
  for (int v = 0; v < vectors && before > 0; v++) {
    Vector old = load(means + v * W), moved = mean[v] - old;
    squares[v] += load(all + v * W) + moved * moved * spread(before * share);
    mean[v] = old + moved * spread(share);
  }
  store_all(means, mean, vectors);
  store_all(all, squares, vectors);
}

static void moments_task(void *data, int64_t task) { each_block(&((Job *)data)->of, data, task, join_moments); }

/* The sum, over all lanes of a channel in all tasks, of `lines * (value - about)^power`, and likewise over the rest. */
static double total(const Job *job, int64_t channel, int power, double about) {
  double sum = 0;
  for (int64_t task = 0; task < job->of.tasks && job->of.lines > 0; task++) {
    double part = 0;
    for (int64_t lane = channel; lane < job->of.width; lane += job->of.channels) {
      double away = job->first[task * job->of.width + lane] - about;
      part += power == 1 ? away : away * away;
    }
    sum += part * (double)(first_line(&job->of, task + 1) - first_line(&job->of, task));
  }
  for (int64_t i = rest_from(&job->of) + channel; i < rest_to(&job->of); i += job->of.channels) {
    double away = (double)job->x[i] - job->near[channel] - about;
    sum += power == 1 ? away : away * away;
  }
  return sum;
}

/* --- Elementwise: out = slope g + factor (x - mean) + offset --- */

INLINE void rescale(const void *data, int64_t task, Span span, int vectors, int graded) {
  const Job *job = data;
  (void)task;
  Vector near[BLOCK], rest[BLOCK], factor[BLOCK], offset[BLOCK], slope[BLOCK];
  load_all(near, job->near + span.lane, vectors);
  load_all(rest, job->rest + span.lane, vectors);
  load_all(factor, job->factor + span.lane, vectors);
  load_all(offset, job->offset + span.lane, vectors);
  if (graded) load_all(slope, job->slope + span.lane, vectors);
  for (int64_t i = span.from; i < span.to; i++)
    for (int v = 0; v < vectors; v++) {
      int64_t at = i * job->of.width + span.lane + v * W;
      Vector out = (load(job->x + at) - near[v] - rest[v]) * factor[v] + offset[v];
      store(job->out + at, graded ? out + load(job->g + at) * slope[v] : out);
    }
}

INLINE void normalise(const void *data, int64_t task, Span span, int vectors) { rescale(data, task, span, vectors, 0); }
INLINE void regrade(const void *data, int64_t task, Span span, int vectors) { rescale(data, task, span, vectors, 1); }

static void normalise_task(void *data, int64_t task) { each_block(&((Job *)data)->of, data, task, normalise); }
static void regrade_task(void *data, int64_t task) { each_block(&((Job *)data)->of, data, task, regrade); }

static void rescale_rest(Job *job) {
  int64_t from = rest_from(&job->of);
  for (int64_t i = from; i < rest_to(&job->of); i++) {
    int64_t lane = i - from;
    float out = (job->x[i] - job->near[lane] - job->rest[lane]) * job->factor[lane] + job->offset[lane];
    job->out[i] = job->g ? out + job->g[i] * job->slope[lane] : out;
  }
}

/* (x, scale, offset, epsilon) -> (y, near, rest, variance); sizes: rows, channels. */
KERNEL(kjax_batch_norm) {
  int64_t rows = call->sizes[0], channels = call->sizes[1];
  float *near = result(call, 1), *rest = result(call, 2), *variance = result(call, 3);
  const float *scale = operand(call, 1), epsilon = *operand(call, 3);
  Job job;
  job.of = columns_of(rows, channels);
  job.x = operand(call, 0), job.g = NULL, job.out = result(call, 0);
  memcpy(near, job.x, channels * sizeof(float));
  to_lanes(job.near, near, &job.of);
  in_parallel(call, job.of.tasks, moments_task, &job);
  float factor[LANES];
  for (int64_t c = 0; c < channels; c++) {
    double mean = total(&job, c, 1, 0) / (double)rows;
    double squares = total(&job, c, 2, mean) + folded(&job.of, job.second, c);
    rest[c] = (float)mean;
    variance[c] = (float)(squares / (double)rows);
    factor[c] = scale[c] / __builtin_sqrtf(variance[c] + epsilon);
  }
  to_lanes(job.rest, rest, &job.of);
  to_lanes(job.factor, factor, &job.of);
  to_lanes(job.offset, operand(call, 2), &job.of);
  in_parallel(call, job.of.tasks, normalise_task, &job);
  rescale_rest(&job);
}

/* --- The gradient: the sums of g and of g (x - mean), each chunk's by itself before it joins the others --- */

INLINE void join_sums(const void *data, int64_t task, Span span, int vectors) {
  Job *job = (Job *)data;
  float *plain = job->first + task * job->of.width + span.lane, *product = job->second + task * job->of.width + span.lane;
  Vector near[BLOCK], rest[BLOCK], sum[BLOCK], along[BLOCK];
  load_all(near, job->near + span.lane, vectors);
  load_all(rest, job->rest + span.lane, vectors);
  for (int v = 0; v < vectors; v++) sum[v] = along[v] = spread(0);
  for (int64_t i = span.from; i < span.to; i++)
    for (int v = 0; v < vectors; v++) {
      int64_t at = i * job->of.width + span.lane + v * W;
      Vector g = load(job->g + at);
      sum[v] += g;
      along[v] += g * (load(job->x + at) - near[v] - rest[v]);
    }
  for (int v = 0; v < vectors && span.from > span.first; v++) {
    sum[v] += load(plain + v * W);
    along[v] += load(product + v * W);
  }
  store_all(plain, sum, vectors);
  store_all(product, along, vectors);
}

static void sums_task(void *data, int64_t task) { each_block(&((Job *)data)->of, data, task, join_sums); }

/* (g, x, near, rest, factor, scale) -> (gradient of x, of scale, of offset); sizes: rows, channels. */
KERNEL(kjax_batch_norm_grad) {
  int64_t rows = call->sizes[0], channels = call->sizes[1];
  const float *near = operand(call, 2), *rest = operand(call, 3), *factor = operand(call, 4), *scale = operand(call, 5);
  float *along = result(call, 1), *plain = result(call, 2);
  Job job;
  job.of = columns_of(rows, channels);
  job.g = operand(call, 0), job.x = operand(call, 1), job.out = result(call, 0);
  to_lanes(job.near, near, &job.of);
  to_lanes(job.rest, rest, &job.of);
  in_parallel(call, job.of.tasks, sums_task, &job);
  float slope[LANES], bend[LANES], shift[LANES];
  for (int64_t c = 0; c < channels; c++) {
    double sum = folded(&job.of, job.first, c), product = folded(&job.of, job.second, c);
    for (int64_t i = rest_from(&job.of) + c; i < rest_to(&job.of); i += channels) {
      sum += job.g[i];
      product += (double)job.g[i] * ((double)job.x[i] - near[c] - rest[c]);
    }
    slope[c] = scale[c] * factor[c];
    plain[c] = (float)sum;
    along[c] = (float)(product * factor[c]);
    shift[c] = -slope[c] * (float)(sum / (double)rows);
    bend[c] = -slope[c] * factor[c] * (float)(product * factor[c] / (double)rows);
  }
  to_lanes(job.slope, slope, &job.of);
  to_lanes(job.factor, bend, &job.of);
  to_lanes(job.offset, shift, &job.of);
  in_parallel(call, job.of.tasks, regrade_task, &job);
  rescale_rest(&job);
}
