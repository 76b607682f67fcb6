// Attention of one new token a sequence over its cache of keys and values. Bound by the memory that the cache streams from, so a cache is
// read once, in order, and serves all query heads of a group; the arithmetic fits below that (measured figures: docs/kernels.md).
//
// A task is a block of positions of one sequence, all heads. Blocks begin at multiples of a fixed length, and their results are combined
// in order by their log-sum-exp, so that no number of threads changes a bit.
#pragma once
#include "attention.h"

namespace CONTINUO_VARIANT {

constexpr long kDecodeBlock = 128;  // positions a task
constexpr long kDecodeTile = 32;    // positions whose rows are near enough to each other for the processor to fetch ahead

/// Sums of the lanes of W vectors, in their order.
INLINE vf sums(vf (&r)[W]) {
  typedef typename MakeIndices<W>::type All;
#pragma GCC unroll 4
  for (int half = W / 2; half > 0; half /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < half; i++) r[i] = zipHalf(r[i], r[i + half], false, All()) + zipHalf(r[i], r[i + half], true, All());
  return r[0];
}

/// tile[kDecodeTile][pitch]: one head's part of `count` rows of a cache in f32; rows up to a multiple of W are zero.
static void loadRows(float* tile, const AttentionSizes& sizes, Floats cache, size_t at, size_t stride, long count) {
  for (long r = 0; r < roundUp(count, W); r++, at += stride)
    forVectors(sizes.padded, [&](long e, int) {
      const int left = (int)minOf<long>(W, sizes.headDim - e);
      store(tile + r * sizes.pitch + e, r < count ? loadUpTo(left, cache, at + e) : splat(0));
    });
}

static void attentionDecode(Floats out, Floats q, Floats keyCache, Floats valueCache, const int32_t* cacheRow, const int32_t* start,
                            const int32_t* length, long numRows, const AttentionShape& shape) {
  const AttentionSizes sizes(shape);
  const long numHeads = shape.numHeads, group = sizes.group, groupRows = roundUp(group, kTileRows);
  const size_t stride = shape.numKvHeads * sizes.headDim;
  // What a task leaves for each head: the sum of weighted values, the shift of the weights' exponents, and the sum of weights.
  const long perHead = sizes.pitch + 2, perTask = numHeads * perHead;
  long numTasks = 0;
  int32_t* firstTask = scratch<int32_t>(kShared0, numRows + 1);
  for (long r = 0; r < numRows; r++) {
    firstTask[r] = (int32_t)numTasks;
    numTasks += divideUp(length[r], kDecodeBlock) - start[r] / kDecodeBlock;
  }
  firstTask[numRows] = (int32_t)numTasks;
  float* results = scratch<float>(kShared1, numTasks * perTask);

  parallelFor(numTasks, [&](long task) {
    long row = 0;
    while (firstTask[row + 1] <= task) row++;
    const long block = start[row] / kDecodeBlock + task - firstTask[row];
    const long from = maxOf<long>(start[row], block * kDecodeBlock), to = minOf<long>(length[row], (block + 1) * kDecodeBlock), count = to - from;
    const size_t at = (cacheRow[row] + from) * stride;
    float* queries = scratch<float>(kTask0, numHeads * sizes.pitch + shape.numKvHeads * groupRows * (kDecodeBlock + sizes.pitch) + kDecodeTile * sizes.pitch);
    float* weights = queries + numHeads * sizes.pitch;                                   // [numKvHeads][groupRows][kDecodeBlock]
    float* weighted = weights + shape.numKvHeads * groupRows * kDecodeBlock;             // [numKvHeads][groupRows][pitch]
    for (long kv = 0; kv < shape.numKvHeads; kv++)
      std::memset(weights + (kv * groupRows + group) * kDecodeBlock, 0, (groupRows - group) * kDecodeBlock * sizeof(float));
    float *tile = weighted + shape.numKvHeads * groupRows * sizes.pitch, *result = results + task * perTask;
    const vf factor = splat(scoreFactor(shape));
    for (long h = 0; h < numHeads; h++)
      for (long e = 0; e < sizes.padded; e += W)
        store(queries + h * sizes.pitch + e, loadUpTo((int)minOf<long>(W, sizes.headDim - e), q, row * shape.qStride + h * sizes.headDim + e) * factor);

    for (long t = 0; t < count; t += kDecodeTile)
      for (long kv = 0; kv < shape.numKvHeads; kv++) {
        const long numKeys = minOf(kDecodeTile, count - t);
        loadRows(tile, sizes, keyCache, at + t * stride + kv * sizes.headDim, stride, numKeys);
        for (long g = 0; g < group; g++) {
          const float* query = queries + (kv * group + g) * sizes.pitch;
          for (long key = 0; key < numKeys; key += W) {
            vf dots[W];
#pragma GCC unroll 16
            for (int i = 0; i < W; i++) dots[i] = splat(0);
            for (long e = 0; e < sizes.padded; e += W) {
              const vf x = load(query + e);
#pragma GCC unroll 16
              for (int i = 0; i < W; i++) dots[i] = fma(x, load(tile + (key + i) * sizes.pitch + e), dots[i]);
            }
            store(weights + (kv * groupRows + g) * kDecodeBlock + t + key, sums(dots));
          }
        }
      }

    for (long h = 0; h < numHeads; h++) {
      float* scores = weights + (h / group * groupRows + h % group) * kDecodeBlock;
      vf highest = splat(-__builtin_inff()), total = splat(0);
      for (long t = 0; t < count; t += W) {
        vf x = load(scores + t);
        if (shape.softcap > 0) x = splat(shape.softcap * kLog2e) * cappedTanh(x);
        x = lanes() + (int32_t)t < (int32_t)count ? x : splat(-__builtin_inff());
        store(scores + t, x);
        highest = maximum(highest, x);
      }
      const float shift = largest(highest);
      for (long t = 0; t < count; t += W) {
        const vf p = power2(load(scores + t) - splat(shift));
        store(scores + t, p);
        total += p;
      }
      result[h * perHead + sizes.pitch] = shift;
      result[h * perHead + sizes.pitch + 1] = sum(total);
    }

    for (long t = 0; t < count; t += kDecodeTile)
      for (long kv = 0; kv < shape.numKvHeads; kv++) {
        const long numKeys = minOf(kDecodeTile, count - t);
        loadRows(tile, sizes, valueCache, at + t * stride + kv * sizes.headDim, stride, numKeys);
        addProduct(weighted + kv * groupRows * sizes.pitch, t > 0, groupRows, weights + kv * groupRows * kDecodeBlock + t, kDecodeBlock, 1, tile,
                   sizes, Steps{-groupRows, numKeys, numKeys});
      }
    for (long h = 0; h < numHeads; h++)
      std::memcpy(result + h * perHead, weighted + (h / group * groupRows + h % group) * sizes.pitch, sizes.padded * sizeof(float));
  });

  parallelFor(numRows, [&](long row) {
    for (long h = 0; h < numHeads; h++) {
      const float *first = results + firstTask[row] * perTask + h * perHead, *end = results + firstTask[row + 1] * perTask + h * perHead;
      float highest = -__builtin_inff(), total = 0;
      for (const float* r = first; r < end; r += perTask) highest = maxOf(highest, r[sizes.pitch]);
      float* factors = scratch<float>(kTask0, (end - first) / perTask);
      for (const float* r = first; r < end; r += perTask) {
        const float factor = power2(splat(r[sizes.pitch] - highest))[0];
        factors[(r - first) / perTask] = factor;
        total += r[sizes.pitch + 1] * factor;
      }
      forVectors(sizes.headDim, [&](long e, int n) {
        vf x = splat(0);
        for (const float* r = first; r < end; r += perTask) x = fma(load(r + e), splat(factors[(r - first) / perTask]), x);
        storeUpTo(n, out, (row * numHeads + h) * sizes.headDim + e, x * splat(1 / total));
      });
    }
  });
}

}  // namespace CONTINUO_VARIANT
