// Cross entropy over rows of logits: three passes over a row, which stays in L2 (a vocabulary of 50 000 is 200 KB). A soft cap is
// applied to the logits in place first, since all passes need it.
#pragma once
#include "norm.h"

namespace CONTINUO_VARIANT {

static void crossEntropyRow(float* loss, Floats dLogits, size_t at, float* z, long target, float weight, long v, float softcap) {
  if (target < 0) {
    *loss = 0;
    if (dLogits.p) forVectors(v, [&](long i, int n) { storeUpTo(n, dLogits, at + i, splat(0)); });
    return;
  }
  const vf cap = splat(softcap), perCap = splat(softcap > 0 ? 1 / softcap : 0);
  if (softcap > 0) forVectors(v, [&](long i, int n) { storeUpTo(n, z + i, cap * hyperbolicTangent(loadUpTo(n, z + i) * perCap)); });
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
  // The cap's slope, 1 - tanh^2; 1 without a cap.
  const auto slope = [&](vf capped) { return (splat(1) - capped * perCap) * (splat(1) + capped * perCap); };
  const vf zTarget = splat(z[target]);
  const vf atTarget = (exponential(zTarget - shift) * splat(1 / total) - splat(1)) * splat(weight) * slope(zTarget);
  if (softcap > 0)
    forVectors(v, [&](long c, int n) {
      const vf capped = loadUpTo(n, z + c);
      storeUpTo(n, dLogits, at + c, exponential(capped - shift) * scale * slope(capped));
    });
  else
    forVectors(v, [&](long c, int n) { storeUpTo(n, dLogits, at + c, exponential(loadUpTo(n, z + c) - shift) * scale); });
  storePart(dLogits, at + target, atTarget, 1);
}

static void crossEntropy(float* losses, Floats dLogits, float* logits, const int32_t* targets, const float* weights, long t, long v,
                         float softcap) {
  const long rows = maxOf<long>(1, 32768 / maxOf<long>(1, v));
  parallelFor(divideUp(t, rows), [&](long task) {
    for (long r = task * rows; r < minOf(t, (task + 1) * rows); r++)
      crossEntropyRow(losses + r, dLogits, r * v, logits + r * v, targets[r], weights[r], v, softcap);
  });
}

}  // namespace CONTINUO_VARIANT
