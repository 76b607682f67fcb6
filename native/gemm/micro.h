// The innermost product: MR x (NV vectors) of C held in registers while A is broadcast and B streams past. Used by gemm.h on packed
// panels and by attention on its tiles, hence the free strides. A step is one k, or a pair of k for bf16 dot products, where each
// 32-bit element of A and B holds two neighbours along k.
#pragma once
#include "../simd.h"

namespace CONTINUO_VARIANT {

// Enough accumulators to hide the latency of a multiply-add, few enough to stay in registers beside B's vectors and A's scalar.
// CONTINUO_TILE_ROWS lets a test have the tiles of another machine.
#if defined(CONTINUO_TILE_ROWS)
constexpr int MR = CONTINUO_TILE_ROWS;
#elif defined(__AVX512F__) || defined(__aarch64__)
constexpr int MR = 8;
#else
constexpr int MR = 4;
#endif
constexpr int NV = 3;
constexpr int NR = NV * W;

#if defined(__AVX512BF16__)
constexpr bool kHasPairs = true;
INLINE vf dotPairs(vf a, vf b, vf c) { return (vf)_mm512_dpbf16_ps((__m512)c, (__m512bh)a, (__m512bh)b); }
#else
constexpr bool kHasPairs = false;
INLINE vf dotPairs(vf, vf, vf c) { return c; }
#endif

enum class Product { kFloats, kPairs };
enum class Store { kSet, kAdd };

/// acc[i][j] += sum over steps s of a[i*aRow + s*aStep] * (vector j of b + s*bStep), i < MR, j < V. Asks memory for B `Ahead` steps
/// before it is used: the hardware sees B's stream too late where A is read a step at a time (measured: 86 against 94 % of the peak).
template <int V, Product P, int Ahead>
INLINE void multiplySteps(vf (&acc)[MR][V], const float* a, size_t aRow, size_t aStep, const float* b, size_t bStep, long steps) {
  // Not unrolled: the hardware prefetcher follows a load instruction only where its addresses are less than 2 KB apart.
#pragma GCC unroll 1
  for (long s = 0; s < steps; s++) {
    vf bv[V];
#pragma GCC unroll 3
    for (int j = 0; j < V; j++) {
      bv[j] = load(b + j * W);
      if (Ahead > 0) __builtin_prefetch(b + Ahead * bStep + j * W);
    }
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++) {
      const vf av = splat(a[i * aRow]);
#pragma GCC unroll 3
      for (int j = 0; j < V; j++) acc[i][j] = P == Product::kPairs ? dotPairs(av, bv[j], acc[i][j]) : fma(av, bv[j], acc[i][j]);
    }
    a += aStep;
    b += bStep;
  }
}

/// out[i][j] (= or +=) sum over steps s of a[i*aRow + s*aStep] * b[s*bStep + j], i < MR, j < V*W.
template <int V, Product P, Store S>
INLINE void multiplyTile(float* out, size_t outRow, const float* a, size_t aRow, size_t aStep, const float* b, size_t bStep, long steps) {
  vf acc[MR][V];
#pragma GCC unroll 8
  for (int i = 0; i < MR; i++)
#pragma GCC unroll 3
    for (int j = 0; j < V; j++) acc[i][j] = S == Store::kAdd ? load(out + i * outRow + j * W) : splat(0);
  multiplySteps<V, P, 0>(acc, a, aRow, aStep, b, bStep, steps);
#pragma GCC unroll 8
  for (int i = 0; i < MR; i++)
#pragma GCC unroll 3
    for (int j = 0; j < V; j++) store(out + i * outRow + j * W, acc[i][j]);
}

}  // namespace CONTINUO_VARIANT
