/* Rows of an array, of any dtype: they are copied as bytes. A row that there is not is the nearest. */
#include "kernel.h"

#define PART (64 << 10) /* bytes that one thread copies at a time */
#define END 64          /* bytes at either end of an array in pieces */

typedef struct {
  const char *from;
  const int32_t *rows;
  char *to;
  int64_t count, bytes, last, part;
  const char *head, *tail; /* of an array in pieces */
  int64_t low, high, tail_at;
} Job;

static void copy_row(const Job *job, char *to, int64_t at) {
  if (at >= job->low && at + job->bytes <= job->high) {
    memcpy(to, job->from + at, job->bytes);
    return;
  }
  for (int64_t i = at; i < at + job->bytes; i++)
    *to++ = i < job->low ? job->head[i] : i < job->high ? job->from[i] : job->tail[i - job->tail_at];
}

static void copy_part(void *data, int64_t part) {
  const Job *job = data;
  int64_t end = least(job->count, (part + 1) * job->part);
  for (int64_t i = part * job->part; i < end; i++)
    copy_row(job, job->to + i * job->bytes, least(most(job->rows[i], 0), job->last) * job->bytes);
}

static void copy_rows(const Call *call, Job *job) {
  job->to = (char *)result(call, 0);
  job->count = call->sizes[0];
  job->bytes = call->sizes[1];
  job->last = call->sizes[2] - 1;
  job->part = most(1, PART / job->bytes);
  in_parallel(call, (job->count + job->part - 1) / job->part, copy_part, job);
}

/* (array, rows) -> (taken); sizes: rows taken, bytes of a row, rows there are. */
KERNEL(kjax_take_rows) {
  Job job = {.from = (const char *)operand(call, 0), .rows = (const int32_t *)operand(call, 1), .high = INT64_MAX};
  copy_rows(call, &job);
}

/* (body, head, tail, offset, rows) -> (taken): of an array whose bytes from an offset on, all but END, are the body, and
 * whose first and last END bytes are the head and the tail; sizes as above. */
KERNEL(kjax_take_hosted_rows) {
  int64_t offset = *(const int32_t *)operand(call, 3), tail_at = call->sizes[1] * call->sizes[2] - END;
  Job job = {.from = (const char *)operand(call, 0) - offset,
             .rows = (const int32_t *)operand(call, 4),
             .head = (const char *)operand(call, 1),
             .tail = (const char *)operand(call, 2),
             .low = offset,
             .high = tail_at + offset,
             .tail_at = tail_at};
  copy_rows(call, &job);
}
