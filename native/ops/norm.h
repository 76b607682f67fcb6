// RMSNorm. Memory-bound: a row is read twice while it is in L1.
#pragma once
#include "../simd.h"

namespace CONTINUO_VARIANT {

/// Rows a task: fixed, because the sums of dWeight are grouped by it.
constexpr long kNormRows = 32;

/// Calls body(i, n) for vectors at i of a row of d elements; n < W for the last, partial one.
template <class Body>
INLINE void forVectors(long d, const Body& body) {
  long i = 0;
  for (; i + W <= d; i += W) body(i, W);
  if (i < d) body(i, (int)(d - i));
}

static void rmsNormForward(Floats out, float* rstd, Floats x, Floats weight, long t, long d, float eps) {
  parallelFor(divideUp(t, kNormRows), [&](long task) {
    for (long r = task * kNormRows; r < minOf(t, (task + 1) * kNormRows); r++) {
      const size_t row = r * d;
      vf squares = splat(0);
      forVectors(d, [&](long i, int n) {
        const vf v = loadUpTo(n, x, row + i);
        squares = fma(v, v, squares);
      });
      const float scale = 1.0f / __builtin_sqrtf(sum(squares) / d + eps);
      rstd[r] = scale;
      const vf s = splat(scale);
      forVectors(d, [&](long i, int n) { storeUpTo(n, out, row + i, loadUpTo(n, x, row + i) * s * loadUpTo(n, weight, i)); });
    }
  });
}

static void rmsNormBackward(Floats dx, float* dWeight, Floats dOut, Floats x, Floats weight, const float* rstd, Floats dResidual, long t,
                            long d) {
  const long numTasks = divideUp(t, kNormRows);
  float* partial = scratch<float>(kShared0, numTasks * d);
  parallelFor(numTasks, [&](long task) {
    float* dW = partial + task * d;
    std::memset(dW, 0, d * sizeof(float));
    for (long r = task * kNormRows; r < minOf(t, (task + 1) * kNormRows); r++) {
      const size_t row = r * d;
      vf dot = splat(0);
      forVectors(d, [&](long i, int n) {
        dot = fma(loadUpTo(n, dOut, row + i) * loadUpTo(n, weight, i), loadUpTo(n, x, row + i), dot);
      });
      const vf s = splat(rstd[r]), c = splat(sum(dot) * rstd[r] * rstd[r] / d);
      forVectors(d, [&](long i, int n) {
        const vf g = loadUpTo(n, dOut, row + i), v = loadUpTo(n, x, row + i);
        storeUpTo(n, dW + i, fma(g * s, v, loadUpTo(n, dW + i)));
        vf grad = s * (g * loadUpTo(n, weight, i) - v * c);
        if (dResidual.p) grad += loadUpTo(n, dResidual, row + i);
        storeUpTo(n, dx, row + i, grad);
      });
    }
  });
  parallelFor(divideUp(d, 64), [&](long task) {
    const long from = task * 64, width = minOf<long>(64, d - from);
    forVectors(width, [&](long i, int n) {
      vf total = splat(0);
      for (long b = 0; b < numTasks; b++) total += loadUpTo(n, partial + b * d + from + i);
      storeUpTo(n, dWeight + from + i, loadUpTo(n, dWeight + from + i) + total);
    });
  });
}

}  // namespace CONTINUO_VARIANT
