/* The sum of each channel over all rows: the gradient of a bias. */
#include "columns.h"

typedef struct {
  Columns of;
  const float *x;
  float parts[PARTS]; /* by task and lane */
} Job;

INLINE void join_sum(const void *data, int64_t task, Span span, int vectors) {
  Job *job = (Job *)data;
  int64_t width = job->of.width;
  const float *x = job->x + span.lane;
  float *part = job->parts + task * width + span.lane;
  Vector sum[BLOCK];
  for (int v = 0; v < vectors; v++) sum[v] = spread(0);
  for (int64_t i = span.from; i < span.to; i++)
    for (int v = 0; v < vectors; v++) sum[v] += load(x + i * width + v * W);
  for (int v = 0; v < vectors; v++) store(part + v * W, span.from > span.first ? sum[v] + load(part + v * W) : sum[v]);
}

static void sum_task(void *data, int64_t task) { each_block(&((Job *)data)->of, data, task, join_sum); }

/* (x) -> (sums); sizes: rows, channels. */
KERNEL(kjax_column_sum) {
  Job job;
  job.of = columns_of(call->sizes[0], call->sizes[1]);
  job.x = operand(call, 0);
  in_parallel(call, job.of.tasks, sum_task, &job);
  for (int64_t c = 0; c < job.of.channels; c++) {
    double sum = folded(&job.of, job.parts, c);
    for (int64_t i = rest_from(&job.of) + c; i < rest_to(&job.of); i += job.of.channels) sum += job.x[i];
    result(call, 0)[c] = (float)sum;
  }
}
