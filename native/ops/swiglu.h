// SwiGLU on rows [gate | up]. Element-wise and memory-bound; the sigmoid costs one exponential.
#pragma once
#include "norm.h"

namespace CONTINUO_VARIANT {

INLINE vf sigmoid(vf x) { return splat(1) / (splat(1) + exponential(-x)); }

static void swigluForward(Floats out, Floats gateUp, long t, long f) {
  const long rows = maxOf<long>(1, 16384 / maxOf<long>(1, f));
  parallelFor(divideUp(t, rows), [&](long task) {
    for (long r = task * rows; r < minOf(t, (task + 1) * rows); r++)
      forVectors(f, [&](long i, int n) {
        const vf gate = loadUpTo(n, gateUp, r * 2 * f + i), up = loadUpTo(n, gateUp, r * 2 * f + f + i);
        storeUpTo(n, out, r * f + i, gate * sigmoid(gate) * up);
      });
  });
}

static void swigluBackward(Floats dGateUp, Floats dOut, Floats gateUp, long t, long f) {
  const long rows = maxOf<long>(1, 16384 / maxOf<long>(1, f));
  parallelFor(divideUp(t, rows), [&](long task) {
    for (long r = task * rows; r < minOf(t, (task + 1) * rows); r++)
      forVectors(f, [&](long i, int n) {
        const size_t at = r * 2 * f + i;
        const vf gate = loadUpTo(n, gateUp, at), up = loadUpTo(n, gateUp, at + f), g = loadUpTo(n, dOut, r * f + i);
        const vf s = sigmoid(gate);
        storeUpTo(n, dGateUp, at, g * up * s * (splat(1) + gate * (splat(1) - s)));
        storeUpTo(n, dGateUp, at + f, g * gate * s);
      });
  });
}

}  // namespace CONTINUO_VARIANT
