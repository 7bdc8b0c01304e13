/* A matrix of rows and channels, passed over once, on all cores: what sums over rows and what normalises share.
 *
 * A few rows make a line, so long that whole vectors fill it whatever the number of channels. A lane is a place in a
 * line, and belongs to the channel lane % channels. Lines come in chunks that fit in the nearest cache, chunks in
 * tasks; which is fixed by the shape alone. Rows that fill no line are the rest, and stay to the caller. */
#ifndef KJAX_COLUMNS_H
#define KJAX_COLUMNS_H

#include "kernel.h"

#define LANES 2048  /* the most of a line; kjax/nn/kernels/norm.py knows it too */
#define PARTS 8192  /* the most lanes of all tasks */
#define GRAIN 16384 /* the least cells of a task: 5 µs */
#define CHUNK 4096  /* cells of a chunk */
#define BLOCK 4     /* vectors side by side, so that sums do not wait for each other */

typedef struct {
  int64_t rows, channels, width, lines, tasks, chunk;
} Columns;

/* A part of a line, BLOCK vectors or fewer from `lane` on, in the lines `from` to `to`; the task began at `first`. */
typedef struct {
  int64_t first, from, to, lane;
} Span;

INLINE Columns columns_of(int64_t rows, int64_t channels) {
  int64_t width = channels;
  while (width % W) width += channels;
  width *= (BLOCK * W + width - 1) / width;
  int64_t lines = rows * channels / width;
  int64_t tasks = most(1, least(lines * width / GRAIN, least(16, PARTS / width)));
  return (Columns){rows, channels, width, lines, tasks, most(8, CHUNK / width)};
}

INLINE int64_t first_line(const Columns *of, int64_t task) { return of->lines * task / of->tasks; }

/* Where the rest begins, and where it ends: in cells of the matrix. */
INLINE int64_t rest_from(const Columns *of) { return of->lines * of->width; }
INLINE int64_t rest_to(const Columns *of) { return of->rows * of->channels; }

INLINE void to_lanes(float *lanes, const float *channels, const Columns *of) {
  for (int64_t i = 0; i < of->width; i += of->channels) memcpy(lanes + i, channels, of->channels * sizeof(float));
}

/* Calls block(job, task, span, vectors) for all parts of a task; `vectors` is a constant wherever it is inlined. */
INLINE void each_block(const Columns *of, const void *job, int64_t task,
                       void (*block)(const void *job, int64_t task, Span span, int vectors)) {
  int64_t first = first_line(of, task), last = first_line(of, task + 1);
  for (int64_t from = first; from < last; from += of->chunk)
    for (int64_t lane = 0; lane < of->width; lane += BLOCK * W) {
      Span span = {first, from, least(from + of->chunk, last), lane};
      int64_t vectors = (of->width - lane) / W;
      if (vectors >= 4) block(job, task, span, 4);
      else if (vectors == 3) block(job, task, span, 3);
      else if (vectors == 2) block(job, task, span, 2);
      else block(job, task, span, 1);
    }
}

/* The sum of one array of parts over all lanes of a channel in all tasks. */
INLINE double folded(const Columns *of, const float *parts, int64_t channel) {
  double sum = 0;
  if (of->lines == 0) return sum;
  for (int64_t i = channel; i < of->tasks * of->width; i += of->channels) sum += parts[i];
  return sum;
}

#endif
