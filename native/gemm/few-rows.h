// C = A B^T + addend + bias for a few rows of A: one pass over B at the speed of memory, which is what generation waits for. A row of B meets
// all rows of A while it is in registers. The order of a sum depends on K and B's dtype only, so a row of C has the same bits
// whatever other rows are computed with it.
#pragma once
#include "micro.h"

namespace CONTINUO_VARIANT {

constexpr long kFewRows = 8;
// Rows of A a pass takes: 8 x 2 sums fit 32 registers beside their operands, 4 x 2 fit 16.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kPassRows = 8;
#else
constexpr int kPassRows = 4;
#endif
// Of B, bytes. Measured on 2 cores, 270 MB of weights: without asking ahead 25 GB/s of the 49 that plain reading reaches, with it 45.
constexpr long kAheadBytes = 8192;
constexpr long kTaskBytes = 128 << 10;
// Elements of a row that are read at once. Of bf16, a 32-bit lane holds an even one below an odd one.
constexpr long kTwo = 2 * W;

/// Sums of the lanes of W vectors, in their order.
INLINE vf sumLanes(vf (&r)[W]) {
  typedef typename MakeIndices<W>::type All;
#pragma GCC unroll 4
  for (int half = W / 2; half > 0; half /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < half; i++) r[i] = zipHalf(r[i], r[i + half], false, All()) + zipHalf(r[i], r[i + half], true, All());
  return r[0];
}

INLINE void loadTwo(vf (&v)[2], const float* p) {
  v[0] = load(p);
  v[1] = load(p + W);
}
INLINE void loadTwo(vf (&v)[2], const bf16* p) {
  vu lanes;
  std::memcpy(&lanes, p, sizeof lanes);
  v[0] = (vf)(lanes << 16);
  v[1] = (vf)(lanes & 0xffff0000u);
}

/// k elements of a row of A in f32 as loadTwo<T> has those of B, then zeros up to a multiple of kTwo.
template <class T>
static void arrangeRow(float* to, Floats a, size_t at, long k) {
  for (long p = 0; p < k; p += kTwo) {
    float x[kTwo];
    store(x, loadUpTo((int)minOf<long>(W, k - p), a, at + p));
    store(x + W, k - p > W ? loadUpTo((int)minOf<long>(W, k - p - W), a, at + p + W) : splat(0));
    for (int i = 0; i < W; i++) {
      to[p + i] = sizeof(T) == 2 ? x[2 * i] : x[i];
      to[p + W + i] = sizeof(T) == 2 ? x[2 * i + 1] : x[W + i];
    }
  }
}

/// sums[r][j] = products of R rows of A with NB rows of B, before the sum over lanes.
template <int R, int NB, class T>
INLINE void dotRows(vf (*sums)[W], int j0, const float* a, long lda, const T* const* rows, long k) {
  vf acc[NB][R];
#pragma GCC unroll 4
  for (int j = 0; j < NB; j++)
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) acc[j][r] = splat(0);
  const auto step = [&](long p, const vf(&b)[NB][2]) __attribute__((always_inline)) {
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const vf low = load(a + r * lda + p), high = load(a + r * lda + p + W);
#pragma GCC unroll 4
      for (int j = 0; j < NB; j++) acc[j][r] = fma(low, b[j][0], acc[j][r]);
#pragma GCC unroll 4
      for (int j = 0; j < NB; j++) acc[j][r] = fma(high, b[j][1], acc[j][r]);
    }
  };
  long p = 0;
  for (; p + kTwo <= k; p += kTwo) {
    vf b[NB][2];
#pragma GCC unroll 4
    for (int j = 0; j < NB; j++) {
      for (size_t byte = 0; byte < kTwo * sizeof(T); byte += 64)
        __builtin_prefetch(reinterpret_cast<const char*>(rows[j] + p) + kAheadBytes + byte, 0, 2);
      loadTwo(b[j], rows[j] + p);
    }
    step(p, b);
  }
  if (p < k) {
    vf b[NB][2];
    for (int j = 0; j < NB; j++) {
      T part[kTwo] = {};
      std::memcpy(part, rows[j] + p, (k - p) * sizeof(T));
      loadTwo(b[j], part);
    }
    step(p, b);
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int j = 0; j < NB; j++) sums[r][j0 + j] = acc[j][r];
}

/// W columns of C from n0 on, `cols` of them inside it, for `numRows` of R rows; `a` has R.
template <int R, class T>
INLINE void fewRowsTile(Floats c, long row0, long n0, int cols, const float* a, long lda, const T* b, long n, long k, Floats addend, Floats bias,
                        long numRows) {
  constexpr int NB = R == 1 ? 4 : 2;
  vf sums[R][W];
  for (int j = 0; j < W; j += NB) {
    const T* rows[NB];
    for (int i = 0; i < NB; i++) rows[i] = b + (n0 + minOf(j + i, cols - 1)) * k;
    dotRows<R, NB>(sums, j, a, lda, rows, k);
  }
  for (int r = 0; r < numRows; r++) {
    vf v = sumLanes(sums[r]);
    const size_t at = (row0 + r) * n + n0;
    if (bias.p) v += loadUpTo(cols, bias, n0);
    if (addend.p) v += loadUpTo(cols, addend, at);
    storeUpTo(cols, c, at, v);
  }
}

template <class T>
static void gemmFewRowsOf(Floats c, Floats a, const T* b, long m, long n, long k, Floats addend, Floats bias) {
  const long lda = roundUp(k, kTwo);
  // Rows beyond the last, up to a whole pass, are computed with it and thrown away.
  const long paddedRows = roundUp(m, (long)kPassRows);
  float* rows = scratch<float>(kShared0, paddedRows * lda);
  for (long i = 0; i < m; i++) arrangeRow<T>(rows + i * lda, a, i * k, k);
  std::memset(rows + m * lda, 0, (paddedRows - m) * lda * sizeof(float));
  const long groups = divideUp(n, (long)W), threads = numThreads();
  const long numTasks = minOf(groups, roundUp(maxOf<long>(1, divideUp(n * k * (long)sizeof(T), kTaskBytes)), threads));
  parallelFor(numTasks, [&](long task) {
    for (long g = task * groups / numTasks; g < (task + 1) * groups / numTasks; g++) {
      const int cols = (int)minOf<long>(W, n - g * W);
      for (long i = 0; i < m; i += kPassRows) {
        const float* at = rows + i * lda;
        const long left = minOf<long>(kPassRows, m - i);
        if (left > 4)
          fewRowsTile<kPassRows>(c, i, g * W, cols, at, lda, b, n, k, addend, bias, left);
        else if (left > 2)
          fewRowsTile<4>(c, i, g * W, cols, at, lda, b, n, k, addend, bias, left);
        else if (left == 2)
          fewRowsTile<2>(c, i, g * W, cols, at, lda, b, n, k, addend, bias, left);
        else
          fewRowsTile<1>(c, i, g * W, cols, at, lda, b, n, k, addend, bias, left);
      }
    }
  });
}

static void gemmFewRows(Floats c, Floats a, Floats b, long m, long n, long k, Floats addend, Floats bias) {
  if (b.bf16)
    gemmFewRowsOf(c, a, static_cast<const bf16*>(b.p), m, n, k, addend, bias);
  else
    gemmFewRowsOf(c, a, static_cast<const float*>(b.p), m, n, k, addend, bias);
}

}  // namespace CONTINUO_VARIANT
