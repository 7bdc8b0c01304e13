/* Layer norm: in each row the mean and the variance, and what they make of the row; and its gradient.
 *
 * A mean is kept as two numbers, the row's first and the rest, as in batch_norm.c. */
#include "columns.h"

typedef struct {
  int64_t rows, channels, tasks;
  const float *x, *g, *scale, *offset;
  float *out, *near, *rest, *variance;
  const float *factor;
  float epsilon;
  float along[PARTS], plain[PARTS]; /* sums by task and channel */
} Job;

typedef struct {
  float shift, bend; /* for the gradient: the means of scale g, and of scale g times the normalised x */
} Pull;

INLINE Job job_of(const Call *call, const float *x) {
  Job job;
  job.rows = call->sizes[0], job.channels = call->sizes[1], job.x = x;
  job.tasks = most(1, least(job.rows * job.channels / GRAIN, least(16, PARTS / job.channels)));
  job.tasks = least(job.tasks, job.rows);
  return job;
}

INLINE int64_t first_row(const Job *job, int64_t task) { return job->rows * task / job->tasks; }

INLINE Vector sum_of(const Vector *parts) { return (parts[0] + parts[1]) + (parts[2] + parts[3]); }

INLINE float sum_away(const float *x, int64_t channels, float near) {
  Vector parts[BLOCK] = {0};
  float tail = 0;
  int64_t j = 0;
  for (; j + BLOCK * W <= channels; j += BLOCK * W)
    for (int v = 0; v < BLOCK; v++) parts[v] += load(x + j + v * W) - spread(near);
  for (; j + W <= channels; j += W) parts[0] += load(x + j) - spread(near);
  for (; j < channels; j++) tail += x[j] - near;
  return across(sum_of(parts)) + tail;
}

INLINE float sum_squares(const float *x, int64_t channels, float near, float rest) {
  Vector parts[BLOCK] = {0};
  float tail = 0;
  int64_t j = 0;
  for (; j + BLOCK * W <= channels; j += BLOCK * W)
    for (int v = 0; v < BLOCK; v++) {
      Vector away = load(x + j + v * W) - spread(near) - spread(rest);
      parts[v] += away * away;
    }
  for (; j + W <= channels; j += W) {
    Vector away = load(x + j) - spread(near) - spread(rest);
    parts[0] += away * away;
  }
  for (; j < channels; j++) {
    float away = x[j] - near - rest;
    tail += away * away;
  }
  return across(sum_of(parts)) + tail;
}

INLINE void normalise_row(Job *job, int64_t row) {
  int64_t channels = job->channels, j = 0;
  const float *x = job->x + row * channels;
  float *out = job->out + row * channels, near = x[0];
  float rest = sum_away(x, channels, near) / (float)channels;
  float variance = sum_squares(x, channels, near, rest) / (float)channels;
  float factor = 1 / __builtin_sqrtf(variance + job->epsilon);
  job->near[row] = near, job->rest[row] = rest, job->variance[row] = variance;
  for (; j + W <= channels; j += W) {
    Vector flat = (load(x + j) - spread(near) - spread(rest)) * spread(factor);
    store(out + j, flat * load(job->scale + j) + load(job->offset + j));
  }
  for (; j < channels; j++) out[j] = (x[j] - near - rest) * factor * job->scale[j] + job->offset[j];
}

static void normalise_task(void *data, int64_t task) {
  Job *job = data;
  for (int64_t row = first_row(job, task); row < first_row(job, task + 1); row++) normalise_row(job, row);
}

/* (x, scale, offset, epsilon) -> (y, near, rest, variance); sizes: rows, channels. */
KERNEL(kjax_layer_norm) {
  Job job = job_of(call, operand(call, 0));
  job.scale = operand(call, 1), job.offset = operand(call, 2), job.epsilon = *operand(call, 3);
  job.out = result(call, 0), job.near = result(call, 1), job.rest = result(call, 2), job.variance = result(call, 3);
  in_parallel(call, job.tasks, normalise_task, &job);
}

/* --- The gradient: the sums over a row, and what it adds to those over the channels --- */

INLINE Pull sum_row(const Job *job, int64_t row, float *along, float *plain) {
  int64_t channels = job->channels, j = 0;
  const float *x = job->x + row * channels, *g = job->g + row * channels;
  float near = job->near[row], rest = job->rest[row], factor = job->factor[row];
  Vector shift = spread(0), bend = spread(0);
  for (; j + W <= channels; j += W) {
    Vector slope = load(g + j), flat = (load(x + j) - spread(near) - spread(rest)) * spread(factor);
    Vector moved = slope * flat, scale = load(job->scale + j);
    store(plain + j, load(plain + j) + slope);
    store(along + j, load(along + j) + moved);
    shift += slope * scale;
    bend += moved * scale;
  }
  Pull pull = {across(shift), across(bend)};
  for (; j < channels; j++) {
    float moved = g[j] * ((x[j] - near - rest) * factor);
    plain[j] += g[j], along[j] += moved;
    pull.shift += g[j] * job->scale[j], pull.bend += moved * job->scale[j];
  }
  return (Pull){pull.shift / (float)channels, pull.bend / (float)channels};
}

INLINE void pull_row(const Job *job, int64_t row, Pull pull) {
  int64_t channels = job->channels, j = 0;
  const float *x = job->x + row * channels, *g = job->g + row * channels;
  float *out = job->out + row * channels, near = job->near[row], rest = job->rest[row], factor = job->factor[row];
  for (; j + W <= channels; j += W) {
    Vector flat = (load(x + j) - spread(near) - spread(rest)) * spread(factor);
    Vector slope = load(g + j) * load(job->scale + j) - spread(pull.shift);
    store(out + j, spread(factor) * (slope - flat * spread(pull.bend)));
  }
  for (; j < channels; j++) {
    float flat = (x[j] - near - rest) * factor;
    out[j] = factor * (g[j] * job->scale[j] - pull.shift - flat * pull.bend);
  }
}

static void pull_task(void *data, int64_t task) {
  Job *job = data;
  int64_t channels = job->channels, last = first_row(job, task + 1);
  float along[LANES], plain[LANES], *all_along = job->along + task * channels, *all_plain = job->plain + task * channels;
  for (int64_t j = 0; j < channels; j++) all_along[j] = all_plain[j] = 0;
  for (int64_t from = first_row(job, task); from < last; from += 64) {
    for (int64_t j = 0; j < channels; j++) along[j] = plain[j] = 0;
    for (int64_t row = from; row < least(from + 64, last); row++) pull_row(job, row, sum_row(job, row, along, plain));
    for (int64_t j = 0; j < channels; j++) all_along[j] += along[j], all_plain[j] += plain[j];
  }
}

/* (g, x, near, rest, factor, scale) -> (gradient of x, of scale, of offset); sizes: rows, channels. */
KERNEL(kjax_layer_norm_grad) {
  Job job = job_of(call, operand(call, 1));
  job.g = operand(call, 0), job.near = operand(call, 2), job.rest = operand(call, 3), job.factor = operand(call, 4);
  job.scale = operand(call, 5), job.out = result(call, 0);
  in_parallel(call, job.tasks, pull_task, &job);
  float *along = result(call, 1), *plain = result(call, 2);
  for (int64_t j = 0; j < job.channels; j++) {
    double total = 0, moved = 0;
    for (int64_t task = 0; task < job.tasks; task++) {
      total += job.plain[task * job.channels + j];
      moved += job.along[task * job.channels + j];
    }
    plain[j] = (float)total, along[j] = (float)moved;
  }
}
