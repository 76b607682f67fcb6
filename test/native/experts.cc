// Routing to experts, rows combined and weighted, and clamping, against plain loops.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "check.h"

namespace {

const char* dtype(bool bf16) { return bf16 ? "bf16" : "f32"; }
// Around the vectors (4 to 16 lanes) and the rows of a task (32).
const long kRows[] = {1, 3, 37, 67}, kSizes[] = {1, 5, 17, 131};

struct Routing {
  long t, numExperts, k;
  bool normalise;
};
const Routing kRoutings[] = {{1, 1, 1, true}, {3, 5, 5, false}, {37, 8, 2, true}, {67, 33, 4, false}, {33, 64, 8, true}};

/// In an order that is none of theirs; n is no multiple of 7.
Block<int32_t> permutation(long n) {
  return Block<int32_t>(n, [n](long i) { return (int32_t)((i * 7 + 3) % n); });
}

}  // namespace

TEST(routingAndItsGradient) {
  for (const Routing& r : kRoutings) {
    const long t = r.t, x = r.numExperts, k = r.k;
    const std::string what = format("routing %ld to %ld of %ld", t, k, x);
    const Array logits = random(t * x, false, 1, 4), probs(t * x, false), weights(t * k, false), lse(t, false);
    const Block<int32_t> experts(t * k);
    onThreads(what.c_str(), {probs, weights, experts, lse}, [&] {
      kernels.routeForward(probs.f32(), weights.f32(), experts.data(), lse.f32(), logits.f32(), t, x, k, r.normalise);
    });
    std::vector<double> p(t * x), norm(t), chosen(t);
    for (long i = 0; i < t; i++) {
      double sum = 0;
      for (long e = 0; e < x; e++) sum += std::exp(logits[i * x + e]);
      norm[i] = std::log(sum);
      for (long e = 0; e < x; e++) p[i * x + e] = std::exp(logits[i * x + e]) / sum;
      std::vector<long> order(x);
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](long a, long b) { return logits[i * x + a] > logits[i * x + b]; });
      for (long j = 0; j < k; j++) {
        CHECK(experts[i * k + j] == order[j]);
        chosen[i] += r.normalise ? p[i * x + order[j]] : 0;
      }
      if (!r.normalise) chosen[i] = 1;
    }
    const auto weightAt = [&](long i) { return p[i / k * x + experts[i]] / chosen[i / k]; };
    expectClose((what + " probs").c_str(), probs, [&](long i) { return Expected{p[i], p[i]}; });
    expectClose((what + " weights").c_str(), weights, [&](long i) { return Expected{weightAt(i), 1}; });
    expectClose((what + " lse").c_str(), lse, [&](long i) { return Expected{norm[i], 4}; });

    const Array dWeights = random(t * k, false, 2), dProbs = random(x, false, 3), dLogits(t * x, false);
    const Block<float> live(t, [](long i) { return i % 3 == 1 ? 0.0f : 1.0f; });
    const float dSquaredLse = 0.25;
    onThreads((what + " gradient").c_str(), {dLogits}, [&] {
      kernels.routeBackward(dLogits.f32(), dWeights.f32(), probs.f32(), weights.f32(), experts.data(), lse.f32(), live.data(), dProbs.f32(),
                            dSquaredLse, t, x, k, r.normalise);
    });
    std::vector<double> dp(t * x);
    for (long i = 0; i < t; i++) {
      double shift = 0;
      for (long j = i * k; r.normalise && j < (i + 1) * k; j++) shift += dWeights[j] * weightAt(j);
      for (long e = 0; e < x; e++) dp[i * x + e] = live[i] * dProbs[e];
      for (long j = i * k; j < (i + 1) * k; j++) dp[i * x + experts[j]] += (dWeights[j] - shift) / chosen[i];
    }
    expectClose((what + " dLogits").c_str(), dLogits, [&](long at) {
      const long i = at / x;
      double dot = 0;
      for (long e = i * x; e < (i + 1) * x; e++) dot += dp[e] * p[e];
      const double value = p[at] * (dp[at] - dot + live[i] * 2 * dSquaredLse * norm[i]);
      return Expected{value, p[at] * (std::fabs(dp[at]) + 2 / chosen[i] + 4)};
    });
  }
}

TEST(tiesGoToTheLowerIndexAndNothingLeadsAstray) {
  const float nan = std::nanf(""), inf = INFINITY;
  const float rows[][5] = {{1, 3, 1, 3, 1}, {0, 0, 0, 0, 0}, {nan, nan, nan, nan, nan}, {inf, 0, inf, nan, 1}, {-inf, -inf, -inf, -inf, -inf}};
  const Block<float> logits(25, [&](long i) { return rows[i / 5][i % 5]; });
  const Block<float> probs(25), weights(15), lse(5);
  const Block<int32_t> experts(15);
  kernels.routeForward(probs.data(), weights.data(), experts.data(), lse.data(), logits.data(), 5, 5, 3, true);
  const int32_t expected[] = {1, 3, 0, 0, 1, 2};
  for (long i = 0; i < 6; i++) CHECK(experts[i] == expected[i]);
  for (long i = 6; i < 15; i++) CHECK(experts[i] >= 0 && experts[i] < 5);
}

TEST(rowsCombinedAndWeighted) {
  for (const bool bf16 : {false, true})
    for (const long t : kRows)
      for (const long d : kSizes)
        for (const long k : {1, 3})
          for (const bool plain : {false, true}) {
            const std::string what = format("combineRows %ld x %ld x %ld, %s", t, k, d, dtype(bf16));
            const Block<int32_t> slots = permutation(t * k);
            const Array rows = random(t * k * d, bf16, 1), weights = random(t * k, false, 2), addend = random(t * d, bf16, 3), out(t * d, bf16);
            onThreads(what.c_str(), {out}, [&] {
              kernels.combineRows(out, rows, slots.data(), plain ? nullptr : weights.f32(), plain ? Floats{} : Floats(addend), t, k, d);
            });
            expectClose(what.c_str(), out, [&](long i) {
              double sum = plain ? 0 : addend[i];
              for (long j = i / d * k; j < (i / d + 1) * k; j++) sum += (plain ? 1 : weights[j]) * rows[slots[j] * d + i % d];
              return Expected{sum, k + 1.0};
            });

            const Array x = random(t * k * d, bf16, 1), dx = random(t * k * d, bf16, 4), before = random(t * k * d, bf16, 4);
            const Array dWeights(t * k, false);
            onThreads("weighRows", {x, dx, dWeights}, [&] { kernels.weighRows(dWeights.f32(), x, dx, weights.f32(), slots.data(), t * k, d); });
            std::vector<double> weightOf(t * k);
            for (long j = 0; j < t * k; j++) weightOf[slots[j]] = weights[j];
            expectClose("weighRows dWeights", dWeights, [&](long j) {
              double dot = 0;
              for (long i = slots[j] * d; i < (slots[j] + 1) * d; i++) dot += rows[i] * before[i];
              return Expected{dot, (double)d};
            });
            expectClose("weighRows x", x, [&](long i) { return Expected{rows[i] * weightOf[i / d], 1}; });
            expectClose("weighRows dx", dx, [&](long i) { return Expected{before[i] * weightOf[i / d], 1}; });
          }
}

TEST(clampAndItsGradient) {
  const double limit = 0.5;
  for (const bool bf16 : {false, true})
    for (const long rows : kRows)
      for (const long cols : kSizes) {
        const long stride = cols + 3, size = rows * stride - 3;
        const Array before = random(size, bf16, 1), x = random(size, bf16, 1), dx = random(size, bf16, 2), dOut = random(size, bf16, 2);
        // Exactly at the limit.
        before.set(0, limit);
        x.set(0, limit);
        onThreads("clamp", {x}, [&] { kernels.clamp(x, rows, cols, stride, limit); });
        onThreads("clampBackward", {dx}, [&] { kernels.clampBackward(dx, before, rows, cols, stride, limit); });
        const auto inside = [&](long i) { return i % stride >= cols || std::fabs(before[i]) <= limit; };
        for (long i = 0; i < size; i++) {
          CHECK(x[i] == (inside(i) ? before[i] : std::copysign(limit, before[i])));
          CHECK(dx[i] == (inside(i) ? dOut[i] : 0));
        }
      }
}
