// Mixture of experts: each token's choice of experts, its gradient, and the weighted way back from experts' rows to tokens' rows. A "slot"
// is a row of what the experts compute, T*k of them sorted by expert. Few experts and few choices, so the choice itself is scalar.
#pragma once
#include "norm.h"

namespace CONTINUO_VARIANT {

constexpr long kRouteRows = 32;

/// The largest of p after the one before in the order (p falling, index rising); with NaN about, some index below numExperts.
INLINE long nextExpert(const float* p, long numExperts, long j, long before) {
  long best = -1;
  for (long e = 0; e < numExperts; e++) {
    const bool left = before < 0 || p[e] < p[before] || (p[e] == p[before] && e > before);
    if (left && (best < 0 || p[e] > p[best])) best = e;
  }
  return best < 0 ? j : best;
}

static void routeForward(float* probs, float* weights, int32_t* experts, float* lse, const float* logits, long t, long numExperts, long k,
                         bool normalise) {
  parallelFor(divideUp(t, kRouteRows), [&](long task) {
    for (long r = task * kRouteRows; r < minOf(t, (task + 1) * kRouteRows); r++) {
      const float* z = logits + r * numExperts;
      float* p = probs + r * numExperts;
      float max = z[0];
      for (long e = 1; e < numExperts; e++) max = maxOf(max, z[e]);
      vf sums = splat(0);
      forVectors(numExperts, [&](long i, int n) {
        const vf power = exponential(loadUpTo(n, z + i) - splat(max));
        storeUpTo(n, p + i, power);
        // The lanes behind the end hold e^-max.
        sums += n >= W ? power : (lanes() < n ? power : splat(0));
      });
      const float total = sum(sums);
      forVectors(numExperts, [&](long i, int n) { storeUpTo(n, p + i, loadUpTo(n, p + i) / splat(total)); });
      lse[r] = max + __builtin_logf(total);
      float chosen = 0;
      for (long j = 0, before = -1; j < k; j++) {
        before = nextExpert(p, numExperts, j, before);
        experts[r * k + j] = (int32_t)before;
        weights[r * k + j] = p[before];
        chosen += p[before];
      }
      if (normalise)
        for (long j = 0; j < k; j++) weights[r * k + j] /= chosen;
    }
  });
}

static void routeBackward(float* dLogits, const float* dWeights, const float* probs, const float* weights, const int32_t* experts,
                          const float* lse, const float* live, const float* dProbs, float dSquaredLse, long t, long numExperts, long k,
                          bool normalise) {
  parallelFor(divideUp(t, kRouteRows), [&](long task) {
    for (long r = task * kRouteRows; r < minOf(t, (task + 1) * kRouteRows); r++) {
      const float *p = probs + r * numExperts, *w = weights + r * k, *dw = dWeights + r * k;
      const int32_t* e = experts + r * k;
      float* d = dLogits + r * numExperts;
      // The weights' gradient is `slope * (dw - shift)` to the chosen probabilities.
      float chosen = 0, shift = 0;
      for (long j = 0; j < k; j++) chosen += p[e[j]];
      for (long j = 0; normalise && j < k; j++) shift += dw[j] * w[j];
      const float slope = normalise ? 1 / chosen : 1;
      float dot = 0;
      for (long j = 0; j < k; j++) dot += slope * (dw[j] - shift) * p[e[j]];
      vf balance = splat(0);
      // Behind the end both factors are 0.
      forVectors(numExperts, [&](long i, int n) { balance = fma(loadUpTo(n, dProbs + i), loadUpTo(n, p + i), balance); });
      const vf share = splat(live[r]), all = splat(live[r] * (2 * dSquaredLse * lse[r] - sum(balance)) - dot);
      forVectors(numExperts, [&](long i, int n) {
        storeUpTo(n, d + i, loadUpTo(n, p + i) * fma(share, loadUpTo(n, dProbs + i), all));
      });
      for (long j = 0; j < k; j++) d[e[j]] += p[e[j]] * slope * (dw[j] - shift);
    }
  });
}

static void combineRows(Floats out, Floats rows, const int32_t* slots, const float* weights, Floats addend, long t, long k, long d) {
  parallelFor(divideUp(t, kRouteRows), [&](long task) {
    for (long r = task * kRouteRows; r < minOf(t, (task + 1) * kRouteRows); r++)
      forVectors(d, [&](long i, int n) {
        vf total = splat(0);
        for (long j = r * k; j < (r + 1) * k; j++)
          total = fma(splat(weights ? weights[j] : 1), loadUpTo(n, rows, (size_t)slots[j] * d + i), total);
        if (addend.p) total += loadUpTo(n, addend, r * d + i);
        storeUpTo(n, out, r * d + i, total);
      });
  });
}

static void weighRows(float* dWeights, Floats x, Floats dx, const float* weights, const int32_t* slots, long numSlots, long f) {
  parallelFor(divideUp(numSlots, kRouteRows), [&](long task) {
    for (long j = task * kRouteRows; j < minOf(numSlots, (task + 1) * kRouteRows); j++) {
      const size_t at = (size_t)slots[j] * f;
      const vf weight = splat(weights[j]);
      vf dot = splat(0);
      forVectors(f, [&](long i, int n) {
        const vf a = loadUpTo(n, x, at + i), b = loadUpTo(n, dx, at + i);
        dot = fma(a, b, dot);
        storeUpTo(n, x, at + i, a * weight);
        storeUpTo(n, dx, at + i, b * weight);
      });
      dWeights[j] = sum(dot);
    }
  });
}

}  // namespace CONTINUO_VARIANT
