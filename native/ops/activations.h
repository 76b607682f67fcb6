// Activation functions, alone and on rows [gate | up] (gated linear units, Shazeer 2020). Element-wise and memory-bound; each costs one
// exponential. gelu_tanh needs no tanh, since (1 + tanh u) / 2 is the sigmoid of 2u, which keeps its digits where the sum would cancel.
#pragma once
#include "norm.h"

namespace CONTINUO_VARIANT {

INLINE vf sigmoid(vf x) { return splat(1) / (splat(1) + exponential(-x)); }

/// An activation is x times a share of it: out = x share(x); both() also gives d out / d x.
struct ShareAndSlope {
  vf share, slope;
};

struct Silu {
  INLINE vf share(vf x) { return sigmoid(x); }
  INLINE ShareAndSlope both(vf x) {
    const vf s = sigmoid(x);
    return {s, s * (splat(1) + x * (splat(1) - s))};
  }
};

/// The share is the normal distribution's.
struct Gelu {
  INLINE ShareAndSlope both(vf x) {
    const vf z = x * splat(-0.70710678118654752f), gaussian = exponential(-(z * z));
    const vf share = splat(0.5f) * complementaryError(z, gaussian);
    return {share, fma(x * gaussian, splat(0.39894228040143268f), share)};
  }
  INLINE vf share(vf x) { return both(x).share; }
};

struct GeluTanh {
  static constexpr float kScale = 1.5957691216057308f, kCubic = 0.044715f;  // 2 sqrt(2 / pi)
  INLINE vf share(vf x) { return sigmoid(splat(kScale) * x * fma(splat(kCubic) * x, x, splat(1))); }
  INLINE ShareAndSlope both(vf x) {
    const vf s = share(x), inner = splat(kScale) * fma(splat(3 * kCubic) * x, x, splat(1));
    return {s, s * (splat(1) + x * inner * (splat(1) - s))};
  }
};

/// Calls body with the type of the activation.
template <class Body>
INLINE void withActivation(Activation activation, const Body& body) {
  if (activation == Activation::kSilu)
    body(Silu());
  else if (activation == Activation::kGelu)
    body(Gelu());
  else
    body(GeluTanh());
}

constexpr long kActivationBlock = 16384;

static void gluForward(Floats out, Floats gateUp, long t, long f, Activation activation) {
  const long rows = maxOf<long>(1, kActivationBlock / maxOf<long>(1, f));
  withActivation(activation, [&](auto function) {
    parallelFor(divideUp(t, rows), [&](long task) {
      for (long r = task * rows; r < minOf(t, (task + 1) * rows); r++)
        forVectors(f, [&](long i, int n) {
          const vf gate = loadUpTo(n, gateUp, r * 2 * f + i), up = loadUpTo(n, gateUp, r * 2 * f + f + i);
          storeUpTo(n, out, r * f + i, gate * function.share(gate) * up);
        });
    });
  });
}

static void gluBackward(Floats dGateUp, Floats dOut, Floats gateUp, long t, long f, Activation activation) {
  const long rows = maxOf<long>(1, kActivationBlock / maxOf<long>(1, f));
  withActivation(activation, [&](auto function) {
    parallelFor(divideUp(t, rows), [&](long task) {
      for (long r = task * rows; r < minOf(t, (task + 1) * rows); r++)
        forVectors(f, [&](long i, int n) {
          const size_t at = r * 2 * f + i;
          const vf gate = loadUpTo(n, gateUp, at), up = loadUpTo(n, gateUp, at + f), g = loadUpTo(n, dOut, r * f + i);
          const ShareAndSlope a = function.both(gate);
          storeUpTo(n, dGateUp, at, g * up * a.slope);
          storeUpTo(n, dGateUp, at + f, g * gate * a.share);
        });
    });
  });
}

static void activationForward(Floats out, Floats x, long n, Activation activation) {
  withActivation(activation, [&](auto function) {
    parallelFor(divideUp(n, kActivationBlock), [&](long task) {
      const long from = task * kActivationBlock;
      forVectors(minOf(kActivationBlock, n - from), [&](long i, int lanes) {
        const vf v = loadUpTo(lanes, x, from + i);
        storeUpTo(lanes, out, from + i, v * function.share(v));
      });
    });
  });
}

static void activationBackward(Floats dx, Floats dOut, Floats x, long n, Activation activation) {
  withActivation(activation, [&](auto function) {
    parallelFor(divideUp(n, kActivationBlock), [&](long task) {
      const long from = task * kActivationBlock;
      forVectors(minOf(kActivationBlock, n - from), [&](long i, int lanes) {
        const vf g = loadUpTo(lanes, dOut, from + i);
        storeUpTo(lanes, dx, from + i, g * function.both(loadUpTo(lanes, x, from + i)).slope);
      });
    });
  });
}

}  // namespace CONTINUO_VARIANT
