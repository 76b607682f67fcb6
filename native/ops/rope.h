// Rotary position embedding in place, on the first rotaryDim elements of every head; the gradient is the rotation back.
#pragma once
#include "norm.h"

namespace CONTINUO_VARIANT {

static void rope(Floats x, const float* cosines, const float* sines, const int32_t* positions, long t, long rowStride, long numHeads,
                 long headDim, long rotaryDim, bool inverse) {
  const long half = rotaryDim / 2, rows = 32;
  const vf sign = splat(inverse ? -1.0f : 1.0f);
  parallelFor(divideUp(t, rows), [&](long task) {
    for (long r = task * rows; r < minOf(t, (task + 1) * rows); r++) {
      const float* c = cosines + positions[r] * half;
      const float* s = sines + positions[r] * half;
      for (long h = 0; h < numHeads; h++) {
        const size_t at = r * rowStride + h * headDim;
        forVectors(half, [&](long i, int n) {
          const vf cv = loadUpTo(n, c + i), sv = loadUpTo(n, s + i) * sign;
          const vf x1 = loadUpTo(n, x, at + i), x2 = loadUpTo(n, x, at + half + i);
          storeUpTo(n, x, at + i, x1 * cv - x2 * sv);
          storeUpTo(n, x, at + half + i, x2 * cv + x1 * sv);
        });
      }
    }
  });
}

}  // namespace CONTINUO_VARIANT
