/* JAX's random numbers: Threefry-2x32 with 20 rounds, of consecutive counters. (Salmon et al., "Parallel random numbers:
 * as easy as 1, 2, 3", 2011.) */
#include "kernel.h"

#define PART (1 << 14) /* words that one thread makes at a time */

typedef struct {
  uint32_t a, b;
} Pair;

INLINE uint32_t turned(uint32_t x, int by) { return x << by | x >> (32 - by); }

INLINE Pair rounds(Pair x, int r0, int r1, int r2, int r3) {
  const int by[4] = {r0, r1, r2, r3};
  UNROLL for (int i = 0; i < 4; i++) {
    x.a += x.b;
    x.b = turned(x.b, by[i]) ^ x.a;
  }
  return x;
}

INLINE Pair with_key(Pair x, uint32_t a, uint32_t b, uint32_t round) { return (Pair){x.a + a, x.b + b + round}; }

INLINE Pair threefry(const uint32_t *key, uint32_t a, uint32_t b) {
  uint32_t k0 = key[0], k1 = key[1], k2 = k0 ^ k1 ^ 0x1BD11BDA;
  Pair x = with_key((Pair){a, b}, k0, k1, 0);
  x = with_key(rounds(x, 13, 15, 26, 6), k1, k2, 1);
  x = with_key(rounds(x, 17, 29, 16, 24), k2, k0, 2);
  x = with_key(rounds(x, 13, 15, 26, 6), k0, k1, 3);
  x = with_key(rounds(x, 17, 29, 16, 24), k1, k2, 4);
  return with_key(rounds(x, 13, 15, 26, 6), k2, k0, 5);
}

typedef struct {
  uint32_t key[2];
  uint32_t *to;
  int64_t count;
} Job;

static void words_part(void *data, int64_t part) {
  const Job *job = data;
  const uint32_t key[2] = {job->key[0], job->key[1]};
  int64_t end = least(job->count, (part + 1) * PART);
  for (int64_t i = part * PART; i < end; i++) {
    Pair x = threefry(key, (uint32_t)(i >> 32), (uint32_t)i);
    job->to[i] = x.a ^ x.b;
  }
}

/* (key) -> (words); sizes: how many. */
KERNEL(kjax_random_words) {
  const uint32_t *key = (const uint32_t *)operand(call, 0);
  Job job = {{key[0], key[1]}, (uint32_t *)result(call, 0), call->sizes[0]};
  in_parallel(call, (job.count + PART - 1) / PART, words_part, &job);
}

/* (key) -> (keys); sizes: how many. */
KERNEL(kjax_split_key) {
  Pair *to = (Pair *)result(call, 0);
  for (int64_t i = 0; i < call->sizes[0]; i++)
    to[i] = threefry((const uint32_t *)operand(call, 0), (uint32_t)(i >> 32), (uint32_t)i);
}

/* (key, data) -> (key). */
KERNEL(kjax_fold_in) {
  const uint32_t *data = (const uint32_t *)operand(call, 1);
  *(Pair *)result(call, 0) = threefry((const uint32_t *)operand(call, 0), 0, *data);
}
