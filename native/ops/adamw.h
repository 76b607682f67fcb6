// AdamW, the average of weights over steps, and the split of f32 masters into bf16 weights and their low halves. Square root and division are exact, so that a step is
// the same on every instruction set.
#pragma once
#include "norm.h"

namespace CONTINUO_VARIANT {

constexpr long kAdamBlock = 16384;

INLINE vu loadHalves(const uint16_t* p, int n) { return (vu)loadUpTo(n, p) >> 16; }
INLINE void storeHalves(uint16_t* p, vu v, int n) {
  const vh h = __builtin_convertvector(v, vh);
  // Two copies, since one of a length known at compile time is a single store.
  if (__builtin_expect(n >= W, 1))
    std::memcpy(p, &h, sizeof h);
  else
    std::memcpy(p, &h, n * sizeof(uint16_t));
}

INLINE vf joinHalves(vu w, vu low) {
  const vi signedLow = (vi)(low << 16) >> 16;
  return (vf)((w << 16) + (vu)signedLow);
}
INLINE void splitHalves(uint16_t* w, uint16_t* low, vf master, int n) {
  const vu bits = (vu)master, rounded = (bits + 0x8000) >> 16;
  storeHalves(w, rounded, n);
  storeHalves(low, bits, n);
}

static void adamw(Floats w, uint16_t* low, float* g, float* m, float* v, long n, const AdamWOptions& o) {
  const vf gradScale = splat((float)o.gradScale), decay = splat((float)(1 - o.lr * o.weightDecay));
  const vf beta1 = splat((float)o.beta1), beta2 = splat((float)o.beta2);
  const vf rest1 = splat((float)(1 - o.beta1)), rest2 = splat((float)(1 - o.beta2));
  const vf stepSize = splat((float)(o.lr / (1 - __builtin_pow(o.beta1, o.step))));
  const vf root = splat((float)__builtin_sqrt(1 - __builtin_pow(o.beta2, o.step))), eps = splat((float)o.eps);
  parallelFor(divideUp(n, kAdamBlock), [&](long task) {
    const long from = task * kAdamBlock;
    forVectors(minOf(kAdamBlock, n - from), [&](long i, int lanes) {
      const long at = from + i;
      const vf grad = loadUpTo(lanes, g + at) * gradScale;
      const vf mean = beta1 * loadUpTo(lanes, m + at) + rest1 * grad;
      const vf square = beta2 * loadUpTo(lanes, v + at) + rest2 * grad * grad;
      storeUpTo(lanes, m + at, mean);
      storeUpTo(lanes, v + at, square);
      storeUpTo(lanes, g + at, splat(0));
      const vf update = stepSize * mean / (squareRoot(square) / root + eps);
      if (w.bf16) {
        uint16_t* high = static_cast<uint16_t*>(w.p) + at;
        const vf master = joinHalves(loadHalves(high, lanes), loadHalves(low + at, lanes));
        splitHalves(high, low + at, master * decay - update, lanes);
      } else {
        float* master = static_cast<float*>(w.p) + at;
        storeUpTo(lanes, master, loadUpTo(lanes, master) * decay - update);
      }
    });
  });
}

static void ema(float* average, Floats w, const uint16_t* low, long n, double decay) {
  const vf kept = splat((float)decay), rest = splat((float)(1 - decay));
  parallelFor(divideUp(n, kAdamBlock), [&](long task) {
    const long from = task * kAdamBlock;
    forVectors(minOf(kAdamBlock, n - from), [&](long i, int lanes) {
      const long at = from + i;
      const vf master = w.bf16 ? joinHalves(loadHalves(static_cast<uint16_t*>(w.p) + at, lanes), loadHalves(low + at, lanes))
                               : loadUpTo(lanes, static_cast<float*>(w.p) + at);
      storeUpTo(lanes, average + at, kept * loadUpTo(lanes, average + at) + rest * master);
    });
  });
}

static void splitMaster(uint16_t* w, uint16_t* low, const float* master, long n) {
  parallelFor(divideUp(n, kAdamBlock), [&](long task) {
    const long from = task * kAdamBlock;
    forVectors(minOf(kAdamBlock, n - from),
               [&](long i, int lanes) { splitHalves(w + from + i, low + from + i, loadUpTo(lanes, master + from + i), lanes); });
  });
}

static void joinMaster(float* master, const uint16_t* w, const uint16_t* low, long n) {
  parallelFor(divideUp(n, kAdamBlock), [&](long task) {
    const long from = task * kAdamBlock;
    forVectors(minOf(kAdamBlock, n - from), [&](long i, int lanes) {
      const long at = from + i;
      storeUpTo(lanes, master + at, joinHalves(loadHalves(w + at, lanes), loadHalves(low + at, lanes)));
    });
  });
}

}  // namespace CONTINUO_VARIANT
