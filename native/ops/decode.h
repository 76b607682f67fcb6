// Attention of one new token a sequence over its cache of keys and values. Bound by the memory that the cache streams from: a cache is
// read once and serves all query heads of a group, and the arithmetic fits below that (measured figures: docs/kernels.md).
//
// A task is a block of positions of one sequence, all heads. Blocks begin at multiples of a fixed length, and their results are combined
// in order by their log-sum-exp, so that no number of threads changes a bit.
#pragma once
#include "attention.h"

namespace CONTINUO_VARIANT {

constexpr long kDecodeBlock = 128;  // positions a task
constexpr long kDecodeTile = 16;    // positions whose rows are read by all heads before the next ones

/// Sums of the lanes of W vectors, in their order.
INLINE vf sums(vf (&r)[W]) {
  typedef typename MakeIndices<W>::type All;
#pragma GCC unroll 4
  for (int half = W / 2; half > 0; half /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < half; i++) r[i] = zipHalf(r[i], r[i + half], false, All()) + zipHalf(r[i], r[i + half], true, All());
  return r[0];
}

/// One key/value head's part of a few cache rows, and of as many rows that are read next.
template <class T>
struct CacheRows {
  const T *rows, *next;
  size_t stride;
  long count, headDim;

  /// Rows lie apart, and the processor does not look far enough ahead by itself.
  void prefetch(long row) const {
    for (long e = 0; e < headDim; e += 64 / (long)sizeof(T)) __builtin_prefetch(next + row * stride + e);
  }
};

// bf16 is widened two vectors at a time, into its even elements and its odd ones, which costs one instruction a vector; queries, and
// sums of values until they are combined, have that order too.
INLINE void loadPair(vf (&x)[2], const bf16* p) {
  vu pairs;
  std::memcpy(&pairs, p, sizeof pairs);
  x[0] = (vf)(pairs << 16);
  x[1] = (vf)(pairs & 0xffff0000u);
}
INLINE void loadPair(vf (&x)[2], const float* p) { x[0] = load(p), x[1] = load(p + W); }
template <class T>
INLINE void loadPairPart(vf (&x)[2], const T* p, long n) {
  T part[2 * W] = {};
  std::memcpy(part, p, n * sizeof(T));
  loadPair(x, part);
}

/// scores[h][row] = queries[h] . row for kTileRows heads; rows up to a multiple of W / kTileRows are written.
template <class T>
static void decodeScores(float* scores, const float* queries, const CacheRows<T>& keys, long pitch) {
  constexpr int kKeys = W / kTileRows;
  for (long row = 0; row < keys.count; row += kKeys) {
    vf dots[W];
    const T* at[kKeys];
#pragma GCC unroll 16
    for (int i = 0; i < W; i++) dots[i] = splat(0);
#pragma GCC unroll 4
    for (int k = 0; k < kKeys; k++) {
      at[k] = keys.rows + minOf(row + k, keys.count - 1) * keys.stride;
      keys.prefetch(row + k);
    }
    for (long e = 0; e < keys.headDim; e += 2 * W) {
      vf key[kKeys][2];
#pragma GCC unroll 4
      for (int k = 0; k < kKeys; k++)
        if (__builtin_expect(e + 2 * W <= keys.headDim, 1))
          loadPair(key[k], at[k] + e);
        else
          loadPairPart(key[k], at[k] + e, keys.headDim - e);
#pragma GCC unroll 2
      for (int part = 0; part < 2; part++)
#pragma GCC unroll 4
        for (int h = 0; h < kTileRows; h++) {
          const vf query = load(queries + h * pitch + e + part * W);
#pragma GCC unroll 4
          for (int k = 0; k < kKeys; k++) dots[h * kKeys + k] = fma(query, key[k][part], dots[h * kKeys + k]);
        }
    }
    float results[W];
    store(results, sums(dots));
    for (int h = 0; h < kTileRows; h++) std::memcpy(scores + h * kDecodeBlock + row, results + h * kKeys, kKeys * sizeof(float));
  }
}

/// out[h] = sum of weights[h][row] * row for kTileRows heads, or adds it; PAIRS x 2 W columns.
template <int PAIRS, class T>
INLINE void decodeColumns(float* out, bool add, const float* weights, const CacheRows<T>& values, long pitch, long e) {
  vf acc[kTileRows][PAIRS][2];
#pragma GCC unroll 4
  for (int h = 0; h < kTileRows; h++)
#pragma GCC unroll 2
    for (int j = 0; j < PAIRS; j++)
#pragma GCC unroll 2
      for (int part = 0; part < 2; part++) acc[h][j][part] = add ? load(out + h * pitch + e + (2 * j + part) * W) : splat(0);
  const T* row = values.rows + e;
  for (long r = 0; r < values.count; r++, row += values.stride) {
    vf x[PAIRS][2];
#pragma GCC unroll 2
    for (int j = 0; j < PAIRS; j++)
      if (__builtin_expect(e + (j + 1) * 2 * W <= values.headDim, 1))
        loadPair(x[j], row + j * 2 * W);
      else
        loadPairPart(x[j], row + j * 2 * W, values.headDim - e - j * 2 * W);
#pragma GCC unroll 4
    for (int h = 0; h < kTileRows; h++) {
      const vf weight = splat(weights[h * kDecodeBlock + r]);
#pragma GCC unroll 2
      for (int j = 0; j < PAIRS; j++)
#pragma GCC unroll 2
        for (int part = 0; part < 2; part++) acc[h][j][part] = fma(weight, x[j][part], acc[h][j][part]);
    }
  }
#pragma GCC unroll 4
  for (int h = 0; h < kTileRows; h++)
#pragma GCC unroll 2
    for (int j = 0; j < PAIRS; j++)
#pragma GCC unroll 2
      for (int part = 0; part < 2; part++) store(out + h * pitch + e + (2 * j + part) * W, acc[h][j][part]);
}

template <class T>
static void decodeValues(float* out, bool add, const float* weights, const CacheRows<T>& values, long pitch) {
  for (long r = 0; r < values.count; r++) values.prefetch(r);
  long e = 0;
  for (; e + 2 * W < values.headDim; e += 4 * W) decodeColumns<2>(out, add, weights, values, pitch, e);
  if (e < values.headDim) decodeColumns<1>(out, add, weights, values, pitch, e);
}

/// The weights of `count` scores of a head, in place, zero up to a multiple of W; sets their shift and their sum.
static void decodeWeights(float* scores, long count, float softcap, float* shift, float* total) {
  const vf lowest = splat(-__builtin_inff());
  vf highest = lowest, weights = splat(0);
  for (long t = 0; t < count; t += W) {
    vf x = load(scores + t);
    if (softcap > 0) x = splat(softcap * kLog2e) * cappedTanh(x);
    x = lanes() + (int32_t)t < (int32_t)count ? x : lowest;
    store(scores + t, x);
    highest = maximum(highest, x);
  }
  *shift = largest(highest);
  for (long t = 0; t < count; t += W) {
    const vf p = power2(load(scores + t) - splat(*shift));
    store(scores + t, p);
    weights += p;
  }
  *total = sum(weights);
}

/// A block of positions of one sequence, all heads. The result: sums of weighted values [heads][pitch], then the shifts of the weights'
/// exponents [heads], and their sums [heads]; here the heads of each group fill whole tiles.
template <class T>
static void decodeBlock(float* result, const float* queries, const T* keyRows, const T* valueRows, long count, const AttentionShape& shape,
                        long tileHeads, long pitch) {
  const long numTileHeads = shape.numKvHeads * tileHeads;
  const size_t stride = shape.numKvHeads * shape.headDim;
  float *weights = scratch<float>(kTask0, numTileHeads * kDecodeBlock), *shifts = result + numTileHeads * pitch, *totals = shifts + numTileHeads;
  const auto forTiles = [&](const T* rows, const T* after, const auto& tile) ALWAYS_INLINE {
    for (long t = 0; t < count; t += kDecodeTile)
      for (long kv = 0; kv < shape.numKvHeads; kv++) {
        const size_t at = t * stride + kv * shape.headDim;
        const T* next = t + kDecodeTile < count ? rows + at + kDecodeTile * stride : after + kv * shape.headDim;
        const CacheRows<T> part{rows + at, next, stride, minOf(kDecodeTile, count - t), shape.headDim};
        for (long h = kv * tileHeads; h < (kv + 1) * tileHeads; h += kTileRows) tile(t, h, part);
      }
  };
  forTiles(keyRows, valueRows, [&](long t, long h, const CacheRows<T>& keys) ALWAYS_INLINE {
    decodeScores(weights + h * kDecodeBlock + t, queries + h * pitch, keys, pitch);
  });
  for (long h = 0; h < numTileHeads; h++) decodeWeights(weights + h * kDecodeBlock, count, shape.softcap, shifts + h, totals + h);
  forTiles(valueRows, keyRows + kDecodeBlock * stride, [&](long t, long h, const CacheRows<T>& values) ALWAYS_INLINE {
    decodeValues(result + h * pitch, t > 0, weights + h * kDecodeBlock + t, values, pitch);
  });
}

static void attentionDecode(Floats out, Floats q, Floats keyCache, Floats valueCache, const int32_t* cacheRow, const int32_t* start,
                            const int32_t* length, long numRows, const AttentionShape& shape) {
  const long headDim = shape.headDim, pitch = roundUp(headDim, 2 * W), group = shape.numHeads / shape.numKvHeads;
  const long tileHeads = roundUp(group, kTileRows), numTileHeads = shape.numKvHeads * tileHeads, perTask = numTileHeads * (pitch + 2);
  const auto tileHead = [&](long head) { return head / group * tileHeads + head % group; };
  int32_t* firstTask = scratch<int32_t>(kShared0, numRows + 1);
  firstTask[0] = 0;
  for (long r = 0; r < numRows; r++) firstTask[r + 1] = firstTask[r] + (int32_t)(divideUp(length[r], kDecodeBlock) - start[r] / kDecodeBlock);
  const long numTasks = firstTask[numRows];
  float* results = scratch<float>(kShared1, numTasks * perTask);
  float* queries = scratch<float>(kShared2, numRows * numTileHeads * pitch);
  std::memset(queries, 0, numRows * numTileHeads * pitch * sizeof(float));
  const vf factor = splat(scoreFactor(shape));
  for (long row = 0; row < numRows; row++)
    for (long head = 0; head < shape.numHeads; head++)
      for (long e = 0; e < headDim; e += 2 * W) {
        vf x[2];
        for (int part = 0; part < 2; part++) {
          const long left = headDim - e - part * W;
          x[part] = left > 0 ? loadUpTo((int)minOf<long>(left, W), q, row * shape.qStride + head * headDim + e + part * W) * factor : splat(0);
        }
        // As many shuffles of 2 W elements as there are W = 2^n make the inverse of one.
        if (keyCache.bf16)
          for (int round = 1; round < W; round *= 2) interleave(x);
        for (int part = 0; part < 2; part++) store(queries + (row * numTileHeads + tileHead(head)) * pitch + e + part * W, x[part]);
      }

  parallelFor(numTasks, [&](long task) {
    long row = 0;
    while (firstTask[row + 1] <= task) row++;
    const long block = start[row] / kDecodeBlock + task - firstTask[row];
    const long from = maxOf<long>(start[row], block * kDecodeBlock), count = minOf<long>(length[row], (block + 1) * kDecodeBlock) - from;
    const size_t at = (cacheRow[row] + from) * shape.numKvHeads * headDim;
    const float* mine = queries + row * numTileHeads * pitch;
    if (keyCache.bf16)
      decodeBlock(results + task * perTask, mine, static_cast<const bf16*>(keyCache.p) + at, static_cast<const bf16*>(valueCache.p) + at, count, shape,
                  tileHeads, pitch);
    else
      decodeBlock(results + task * perTask, mine, static_cast<const float*>(keyCache.p) + at, static_cast<const float*>(valueCache.p) + at, count, shape,
                  tileHeads, pitch);
  });

  parallelFor(numRows, [&](long row) {
    const float* first = results + firstTask[row] * perTask;
    const float* shifts = first + numTileHeads * pitch;
    float* factors = scratch<float>(kTask0, firstTask[row + 1] - firstTask[row]);
    for (long head = 0; head < shape.numHeads; head++) {
      const long h = tileHead(head), numBlocks = firstTask[row + 1] - firstTask[row];
      float highest = -__builtin_inff(), total = 0;
      for (long b = 0; b < numBlocks; b++) highest = maxOf(highest, shifts[b * perTask + h]);
      for (long b = 0; b < numBlocks; b++) {
        factors[b] = power2(splat(shifts[b * perTask + h] - highest))[0];
        total += shifts[b * perTask + numTileHeads + h] * factors[b];
      }
      for (long e = 0; e < headDim; e += 2 * W) {
        vf x[2] = {splat(0), splat(0)};
        for (long b = 0; b < numBlocks; b++)
          for (int part = 0; part < 2; part++) x[part] = fma(load(first + b * perTask + h * pitch + e + part * W), splat(factors[b]), x[part]);
        if (keyCache.bf16) interleave(x);
        for (int part = 0; part < 2; part++) {
          const long left = headDim - e - part * W;
          if (left > 0) storeUpTo((int)minOf<long>(left, W), out, (row * shape.numHeads + head) * headDim + e + part * W, x[part] * splat(1 / total));
        }
      }
    }
  });
}

}  // namespace CONTINUO_VARIANT
