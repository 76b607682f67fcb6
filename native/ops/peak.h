// The ceilings that kernels are measured against. Products: multiply-adds on registers only, on all threads at once, the best slice of each
// thread (some 0.1 ms). Reading weights: one pass after the other over an array on all threads, the best pass. The best, since other
// programs only ever slow it down.
#pragma once
#include <chrono>
#include <cstdlib>

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

/// GB/s of reading `bytes` over and over for `seconds`; 0 where there is no such memory.
static double measureBandwidth(double bytes, double seconds) {
  typedef std::chrono::steady_clock Clock;
  // Small enough that threads end together, large enough that a task costs nothing.
  constexpr long kTask = 1 << 20;
  constexpr int kSums = 8;
  const long tasks = maxOf<long>(1, static_cast<long>(bytes) / kTask);
  char* memory = static_cast<char*>(std::aligned_alloc(64, static_cast<size_t>(tasks) * kTask));
  if (!memory) return 0;
  parallelFor(tasks, [&](long task) { std::memset(memory + task * kTask, 1, kTask); });
  double best = 1e30;
  const Clock::time_point start = Clock::now();
  Clock::time_point before = start, now;
  do {
    parallelFor(tasks, [&](long task) {
      const float* x = reinterpret_cast<const float*>(memory + task * kTask);
      vf sums[kSums] = {};
      for (long i = 0; i < kTask / 4; i += kSums * W)
#pragma GCC unroll 8
        for (int j = 0; j < kSums; j++) sums[j] += load(x + i + j * W);
      for (int j = 1; j < kSums; j++) sums[0] += sums[j];
      volatile float keep = sum(sums[0]);
      (void)keep;
    });
    now = Clock::now();
    best = minOf(best, std::chrono::duration<double>(now - before).count());
    before = now;
  } while (std::chrono::duration<double>(now - start).count() < seconds);
  std::free(memory);
  return static_cast<double>(tasks) * kTask / best * 1e-9;
}

}  // namespace CONTINUO_VARIANT
