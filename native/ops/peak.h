// The ceiling that gemm is measured against: multiply-adds on registers only, on all threads at once. The best slice of each thread
// (some 0.1 ms), since other programs only ever slow it down.
#pragma once
#include <chrono>

#include "../gemm/micro.h"

namespace CONTINUO_VARIANT {

template <Product P>
static double peak(double seconds) {
  typedef std::chrono::steady_clock Clock;
  constexpr int kChains = 24 / (W > 8 ? 1 : 2);
  constexpr long kRounds = 20000;
  const int threads = numThreads();
  double* rates = scratch<double>(kShared0, threads);
  parallelFor(threads, [&](long task) {
    vf acc[kChains];
    for (int i = 0; i < kChains; i++) acc[i] = splat(0);
    vf a = splat(0.5f), b = splat(0.25f);
    const Clock::time_point start = Clock::now();
    Clock::time_point before = start, now;
    double best = 1e30;
    do {
      for (long r = 0; r < kRounds; r++) {
        asm volatile("");
#pragma GCC unroll 24
        for (int i = 0; i < kChains; i++) acc[i] = P == Product::kPairs ? dotPairs(a, b, acc[i]) : fma(a, b, acc[i]);
      }
      now = Clock::now();
      best = minOf(best, std::chrono::duration<double>(now - before).count());
      before = now;
    } while (std::chrono::duration<double>(now - start).count() < seconds);
    vf total = splat(0);
    for (int i = 0; i < kChains; i++) total += acc[i];
    volatile float keep = sum(total);
    (void)keep;
    rates[task] = kRounds * kChains * (double)W * (P == Product::kPairs ? 4 : 2) / best * 1e-9;
  });
  double total = 0;
  for (int i = 0; i < threads; i++) total += rates[i];
  return total;
}

static double measurePeak(bool ofBf16, double seconds) {
  return ofBf16 && kHasPairs ? peak<Product::kPairs>(seconds) : peak<Product::kFloats>(seconds);
}

}  // namespace CONTINUO_VARIANT
