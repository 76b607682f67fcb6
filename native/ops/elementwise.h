// Conversion between dtypes, scaling, addition, clamping, sums of columns, and the sum of squares (f64 inside fixed blocks, which are added in
// order).
#pragma once
#include "norm.h"

namespace CONTINUO_VARIANT {

constexpr long kElementBlock = 65536;

static void convert(Floats out, Floats x, long n) {
  parallelFor(divideUp(n, kElementBlock), [&](long task) {
    const long from = task * kElementBlock, count = minOf(kElementBlock, n - from);
    const size_t bytes = x.bf16 ? 2 : 4;
    if (out.bf16 == x.bf16)
      std::memmove(static_cast<char*>(out.p) + from * bytes, static_cast<const char*>(x.p) + from * bytes, count * bytes);
    else
      forVectors(count, [&](long i, int lanes) { storeUpTo(lanes, out, from + i, loadUpTo(lanes, x, from + i)); });
  });
}

static void scale(Floats x, long n, float factor) {
  parallelFor(divideUp(n, kElementBlock), [&](long task) {
    const long from = task * kElementBlock;
    forVectors(minOf(kElementBlock, n - from),
               [&](long i, int lanes) { storeUpTo(lanes, x, from + i, loadUpTo(lanes, x, from + i) * splat(factor)); });
  });
}

static void add(Floats out, Floats a, Floats b, long n) {
  parallelFor(divideUp(n, kElementBlock), [&](long task) {
    const long from = task * kElementBlock;
    forVectors(minOf(kElementBlock, n - from), [&](long i, int lanes) {
      storeUpTo(lanes, out, from + i, loadUpTo(lanes, a, from + i) + loadUpTo(lanes, b, from + i));
    });
  });
}

/// Elements a task of the two below, whatever the width of a row.
constexpr long kClampBlock = 16384;

/// The first `cols` elements of each row, `stride` apart, to -limit..limit; NaN stays NaN.
static void clamp(Floats x, long rows, long cols, long stride, float limit) {
  const long perTask = maxOf<long>(1, kClampBlock / maxOf<long>(1, cols));
  const vf high = splat(limit), low = splat(-limit);
  parallelFor(divideUp(rows, perTask), [&](long task) {
    for (long r = task * perTask; r < minOf(rows, (task + 1) * perTask); r++)
      forVectors(cols, [&](long i, int n) {
        const vf v = loadUpTo(n, x, r * stride + i);
        storeUpTo(n, x, r * stride + i, v > high ? high : v < low ? low : v);
      });
  });
}

/// 0 where x lies beyond the limits.
static void clampBackward(Floats dx, Floats x, long rows, long cols, long stride, float limit) {
  const long perTask = maxOf<long>(1, kClampBlock / maxOf<long>(1, cols));
  const vf high = splat(limit), low = splat(-limit);
  parallelFor(divideUp(rows, perTask), [&](long task) {
    for (long r = task * perTask; r < minOf(rows, (task + 1) * perTask); r++)
      forVectors(cols, [&](long i, int n) {
        const vf v = loadUpTo(n, x, r * stride + i), g = loadUpTo(n, dx, r * stride + i);
        storeUpTo(n, dx, r * stride + i, v <= high ? (v >= low ? g : splat(0)) : splat(0));
      });
  });
}

static void columnSums(float* sums, Floats x, long m, long n) {
  const long numBlocks = divideUp(m, kSumRows);
  float* partial = scratch<float>(kShared0, numBlocks * n);
  parallelFor(numBlocks, [&](long block) {
    float* to = partial + block * n;
    std::memset(to, 0, n * sizeof(float));
    for (long r = block * kSumRows; r < minOf(m, (block + 1) * kSumRows); r++)
      forVectors(n, [&](long i, int lanes) { storeUpTo(lanes, to + i, loadUpTo(lanes, to + i) + loadUpTo(lanes, x, r * n + i)); });
  });
  addBlocks(sums, partial, n, numBlocks, n);
}

static double sumSquares(const float* x, long n) {
  typedef double vd __attribute__((vector_size(W * 8)));
  const long numBlocks = divideUp(n, kElementBlock);
  double* blocks = scratch<double>(kShared0, numBlocks + 1);
  parallelFor(numBlocks, [&](long task) {
    const long from = task * kElementBlock;
    vd total = {};
    forVectors(minOf(kElementBlock, n - from), [&](long i, int lanes) {
      const vd v = __builtin_convertvector(loadUpTo(lanes, x + from + i), vd);
      total += v * v;
    });
    double block = 0;
    for (int i = 0; i < W; i++) block += total[i];
    blocks[task] = block;
  });
  double total = 0;
  for (long b = 0; b < numBlocks; b++) total += blocks[b];
  return total;
}

}  // namespace CONTINUO_VARIANT
