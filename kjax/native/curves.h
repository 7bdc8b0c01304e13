/* exp, the logistic function and tanh of vectors, to within 2 units in the last place; NaN stays NaN. */
#ifndef KJAX_CURVES_H
#define KJAX_CURVES_H

#include "kernel.h"

typedef uint32_t Bits __attribute__((vector_size(W * 4)));

INLINE Vector choose(Bits where, Vector yes, Vector no) {
  return (Vector)((where & (Bits)yes) | (~where & (Bits)no));
}

INLINE Vector exp_of(Vector x) {
  x = choose((Bits)(x > spread(89)), spread(89), x); /* 2^128 times something: infinity */
  x = choose((Bits)(x < spread(-87)), spread(-87), x);
  /* 2^n e^r: adding 1.5 * 2^23 rounds to an integer, which then stands in the lowest bits. */
  Vector sum = x * 1.44269504f + 12582912.0f, n = sum - 12582912.0f;
  Vector r = x - n * 0.693145752f - n * 1.42860677e-6f;
  Vector p = ((0.00139337332f * r + 0.00836323538f) * r + 0.0416664642f) * r + 0.166665766f;
  p = (p * r + 0.5f) * (r * r) + r;
  return (p + 1.0f) * (Vector)(((Bits)sum << 23) + (127u << 23));
}

INLINE Vector sigmoid_of(Vector x) { return 1.0f / (1.0f + exp_of(-x)); }

INLINE Vector tanh_of(Vector x) {
  Bits sign = (Bits)x & 0x80000000u;
  Vector size = (Vector)((Bits)x ^ sign), z = x * x;
  Vector far = 1.0f - 2.0f / (exp_of(size + size) + 1.0f);
  Vector p = ((-0.00610434766f * z + 0.0210031135f) * z - 0.0538523428f) * z + 0.133327806f;
  Vector near = (p * z - 0.333333291f) * z * x + x;
  return choose((Bits)(size < spread(0.625f)), near, (Vector)((Bits)far | sign));
}

#endif
