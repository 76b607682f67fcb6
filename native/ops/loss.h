// Cross entropy over rows of logits: three passes over a row, which stays in L2 (a vocabulary of 50 000 is 200 KB).
#pragma once
#include "norm.h"

namespace CONTINUO_VARIANT {

static void crossEntropyRow(float* loss, Floats dLogits, size_t at, const float* z, long target, float weight, long v) {
  if (target < 0) {
    *loss = 0;
    if (dLogits.p) forVectors(v, [&](long i, int n) { storeUpTo(n, dLogits, at + i, splat(0)); });
    return;
  }
  vf top = splat(-__builtin_inff());
  long i = 0;
  for (; i + W <= v; i += W) top = maximum(load(z + i), top);
  float max = largest(top);
  for (; i < v; i++) max = maxOf(z[i], max);

  const vf shift = splat(max);
  vf sums = splat(0), rest = splat(0);
  for (i = 0; i + W <= v; i += W) sums += exponentialAtMost88(load(z + i) - shift);
  if (i < v) rest = exponential(loadPart(z + i, (int)(v - i)) - shift);
  float total = sum(sums);
  for (int j = 0; j < v - i; j++) total += rest[j];
  const float norm = max + __builtin_logf(total);
  // Before dLogits is written: it may be the logits array itself.
  *loss = norm - z[target];

  if (!dLogits.p) return;
  const vf scale = splat(weight / total);
  const vf atTarget = (exponential(splat(z[target]) - shift) * splat(1 / total) - splat(1)) * splat(weight);
  forVectors(v, [&](long c, int n) { storeUpTo(n, dLogits, at + c, exponential(loadUpTo(n, z + c) - shift) * scale); });
  storePart(dLogits, at + target, atTarget, 1);
}

static void crossEntropy(float* losses, Floats dLogits, const float* logits, const int32_t* targets, const float* weights, long t, long v) {
  const long rows = maxOf<long>(1, 32768 / maxOf<long>(1, v));
  parallelFor(divideUp(t, rows), [&](long task) {
    for (long r = task * rows; r < minOf(t, (task + 1) * rows); r++)
      crossEntropyRow(losses + r, dLogits, r * v, logits + r * v, targets[r], weights[r], v);
  });
}

}  // namespace CONTINUO_VARIANT
