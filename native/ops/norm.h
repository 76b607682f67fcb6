// RMSNorm and LayerNorm. Memory-bound: a row is read two or three times while it is in L1.
#pragma once
#include "../simd.h"

namespace CONTINUO_VARIANT {

/// Rows a task: fixed, because sums over rows are grouped by it.
constexpr long kSumRows = 32;

/// Calls body(i, n) for vectors at i of a row of d elements; n < W for the last, partial one.
template <class Body>
INLINE void forVectors(long d, const Body& body) {
  long i = 0;
  for (; i + W <= d; i += W) body(i, W);
  if (i < d) body(i, (int)(d - i));
}

/// sums[i] += the blocks' partial[block * stride + i], added in order.
static void addBlocks(float* sums, const float* partial, size_t stride, long numBlocks, long n) {
  parallelFor(divideUp(n, 64), [&](long task) {
    const long from = task * 64, width = minOf<long>(64, n - from);
    forVectors(width, [&](long i, int lanes) {
      vf total = splat(0);
      for (long b = 0; b < numBlocks; b++) total += loadUpTo(lanes, partial + b * stride + from + i);
      storeUpTo(lanes, sums + from + i, loadUpTo(lanes, sums + from + i) + total);
    });
  });
}

static void rmsNormForward(Floats out, float* rstd, Floats x, Floats weight, const NormShape& shape, float eps, float weightOffset) {
  const long rows = shape.rows, groups = shape.groups, size = shape.size;
  const vf offset = splat(weightOffset);
  parallelFor(divideUp(rows, kSumRows), [&](long task) {
    for (long r = task * kSumRows; r < minOf(rows, (task + 1) * kSumRows); r++)
      for (long group = 0; group < groups; group++) {
        const size_t xAt = r * shape.xStride + group * size, outAt = r * shape.outStride + group * size;
        vf squares = splat(0);
        forVectors(size, [&](long i, int n) {
          const vf v = loadUpTo(n, x, xAt + i);
          squares = fma(v, v, squares);
        });
        const float scale = 1.0f / __builtin_sqrtf(sum(squares) / size + eps);
        rstd[r * groups + group] = scale;
        const vf s = splat(scale);
        forVectors(size, [&](long i, int n) { storeUpTo(n, out, outAt + i, loadUpTo(n, x, xAt + i) * s * (loadUpTo(n, weight, i) + offset)); });
      }
  });
}

static void rmsNormBackward(Floats dx, float* dWeight, Floats dOut, Floats x, Floats weight, const float* rstd, Floats dResidual,
                            const NormShape& shape, float weightOffset) {
  const long rows = shape.rows, groups = shape.groups, size = shape.size, numTasks = divideUp(rows, kSumRows);
  const vf offset = splat(weightOffset);
  float* partial = scratch<float>(kShared0, numTasks * size);
  parallelFor(numTasks, [&](long task) {
    float* dW = partial + task * size;
    std::memset(dW, 0, size * sizeof(float));
    for (long r = task * kSumRows; r < minOf(rows, (task + 1) * kSumRows); r++)
      for (long group = 0; group < groups; group++) {
        const size_t xAt = r * shape.xStride + group * size, outAt = r * shape.outStride + group * size;
        vf dot = splat(0);
        forVectors(size, [&](long i, int n) {
          dot = fma(loadUpTo(n, dOut, outAt + i) * (loadUpTo(n, weight, i) + offset), loadUpTo(n, x, xAt + i), dot);
        });
        const float scale = rstd[r * groups + group];
        const vf s = splat(scale), c = splat(sum(dot) * scale * scale / size);
        forVectors(size, [&](long i, int n) {
          const vf g = loadUpTo(n, dOut, outAt + i), v = loadUpTo(n, x, xAt + i);
          storeUpTo(n, dW + i, fma(g * s, v, loadUpTo(n, dW + i)));
          vf grad = s * (g * (loadUpTo(n, weight, i) + offset) - v * c);
          if (dResidual.p) grad += loadUpTo(n, dResidual, xAt + i);
          storeUpTo(n, dx, xAt + i, grad);
        });
      }
  });
  addBlocks(dWeight, partial, size, numTasks, size);
}

static void layerNormForward(Floats out, float* mean, float* rstd, Floats x, Floats weight, Floats bias, long t, long d, float eps) {
  parallelFor(divideUp(t, kSumRows), [&](long task) {
    for (long r = task * kSumRows; r < minOf(t, (task + 1) * kSumRows); r++) {
      const size_t row = r * d;
      vf total = splat(0), squares = splat(0);
      forVectors(d, [&](long i, int n) { total += loadUpTo(n, x, row + i); });
      mean[r] = sum(total) / d;
      const vf center = splat(mean[r]);
      forVectors(d, [&](long i, int n) {
        const vf v = loadUpTo(n, x, row + i) - center;
        // The lanes behind the end hold minus the mean.
        squares += n >= W ? v * v : (lanes() < n ? v * v : splat(0));
      });
      rstd[r] = 1.0f / __builtin_sqrtf(sum(squares) / d + eps);
      const vf s = splat(rstd[r]);
      forVectors(d, [&](long i, int n) {
        storeUpTo(n, out, row + i, fma((loadUpTo(n, x, row + i) - center) * s, loadUpTo(n, weight, i), loadUpTo(n, bias, i)));
      });
    }
  });
}

static void layerNormBackward(Floats dx, float* dWeight, float* dBias, Floats dOut, Floats x, Floats weight, const float* mean,
                              const float* rstd, Floats dResidual, long t, long d) {
  const long numTasks = divideUp(t, kSumRows);
  float* partial = scratch<float>(kShared0, numTasks * 2 * d);
  parallelFor(numTasks, [&](long task) {
    float *dW = partial + task * 2 * d, *dB = dW + d;
    std::memset(dW, 0, 2 * d * sizeof(float));
    for (long r = task * kSumRows; r < minOf(t, (task + 1) * kSumRows); r++) {
      const size_t row = r * d;
      const vf center = splat(mean[r]), s = splat(rstd[r]);
      // Gradient of the normalised row, its sum and its product with that row: both are taken out of the result.
      vf total = splat(0), dot = splat(0);
      forVectors(d, [&](long i, int n) {
        const vf g = loadUpTo(n, dOut, row + i) * loadUpTo(n, weight, i);
        total += g;
        dot = fma(g, (loadUpTo(n, x, row + i) - center) * s, dot);
      });
      const vf average = splat(sum(total) / d), share = splat(sum(dot) / d);
      forVectors(d, [&](long i, int n) {
        const vf g = loadUpTo(n, dOut, row + i), normed = (loadUpTo(n, x, row + i) - center) * s;
        storeUpTo(n, dW + i, fma(g, normed, loadUpTo(n, dW + i)));
        storeUpTo(n, dB + i, loadUpTo(n, dB + i) + g);
        vf grad = s * (g * loadUpTo(n, weight, i) - average - normed * share);
        if (dResidual.p) grad += loadUpTo(n, dResidual, row + i);
        storeUpTo(n, dx, row + i, grad);
      });
    }
  });
  addBlocks(dWeight, partial, 2 * d, numTasks, d);
  addBlocks(dBias, partial + d, 2 * d, numTasks, d);
}

}  // namespace CONTINUO_VARIANT
