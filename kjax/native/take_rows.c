/* Rows of an array, of any dtype: they are copied as bytes. */
#include "kernel.h"

#define PART (64 << 10) /* bytes that one thread copies at a time */

typedef struct {
  const char *from;
  const int32_t *rows;
  char *to;
  int64_t count, bytes, last, part;
} Job;

static void copy_part(void *data, int64_t part) {
  const Job *job = data;
  int64_t bytes = job->bytes, end = least(job->count, (part + 1) * job->part);
  for (int64_t i = part * job->part; i < end; i++) {
    int64_t row = least(most(job->rows[i], 0), job->last);
    memcpy(job->to + i * bytes, job->from + row * bytes, bytes);
  }
}

/* (array, rows) -> (taken); sizes: rows taken, bytes of a row, rows there are. A row that there is not is the nearest. */
KERNEL(kjax_take_rows) {
  int64_t count = call->sizes[0], bytes = call->sizes[1], part = most(1, PART / bytes);
  Job job = {(const char *)operand(call, 0), (const int32_t *)operand(call, 1), (char *)result(call, 0),
             count, bytes, call->sizes[2] - 1, part};
  in_parallel(call, (count + part - 1) / part, copy_part, &job);
}
