// Causal attention inside documents, by tiles of 64 queries x 64 keys in f32; never a full matrix of scores. Tiles hold scores
// transposed, [key][query]: a vector is then 16 queries, so softmax needs no sum across lanes, and the same tile serves every product
// as the broadcast operand, read by rows or by columns. Key blocks that no query of a block sees are skipped, and inside the diagonal
// block the parts above the diagonal.
//
// Backward: a task is a query head of a sequence and every S-th block of its queries (S depends on the shape only). It adds up dK
// and dV in f32 buffers of its own; the buffers of a group of heads are then added in a fixed order.
#pragma once
#include "../gemm/micro.h"
#include "norm.h"

namespace CONTINUO_VARIANT {

constexpr int B = 64;           // queries, and keys, a block
constexpr int NQ = 2 * W;       // columns of a micro-tile
constexpr long kBackwardBytes = 256l << 20;

/// out (+)= A B over `steps`, rows x cols, both whole numbers of micro-tiles.
template <Store S>
static void multiplyTiles(float* out, size_t outRow, const float* a, size_t aRow, size_t aStep, const float* b, size_t bStep, long rows,
                          long cols, long steps) {
  for (long i = 0; i < rows; i += MR)
    for (long j = 0; j < cols; j += NQ)
      multiplyTile<2, Product::kFloats, S>(out + i * outRow + j, outRow, a + i * aRow, aRow, aStep, b + j, bStep, steps);
}

/// tile[B][padded] in f32 from rows of a strided array; zero outside.
template <class T>
static void loadTile(float* tile, long padded, const T* x, size_t stride, long rows, long width) {
  if (rows < B || width < padded) std::memset(tile, 0, B * padded * sizeof(float));
  for (long r = 0; r < rows; r++)
    forVectors(width, [&](long i, int n) { storeUpTo(n, tile + r * padded + i, loadUpTo(n, x + r * stride + i)); });
}
static void loadTile(float* tile, long padded, Floats x, size_t at, size_t stride, long rows, long width) {
  if (x.bf16)
    loadTile(tile, padded, static_cast<const bf16*>(x.p) + at, stride, rows, width);
  else
    loadTile(tile, padded, static_cast<const float*>(x.p) + at, stride, rows, width);
}

/// All keys or values in f32, a head's rows one after another: [batch][numKvHeads][seqLen rounded up to B][padded]. Made once, since
/// every block of queries reads them again, and rows of one head lie far apart in the model's arrays.
static const float* gatherHeads(ScratchSlot slot, Floats x, size_t stride, const AttentionShape& shape, long padded) {
  const long numBlocks = divideUp(shape.seqLen, B), numHeads = shape.numKvHeads;
  float* all = scratch<float>(slot, shape.batch * numHeads * numBlocks * B * padded);
  parallelFor(shape.batch * numHeads * numBlocks, [&](long task) {
    const long first = task % numBlocks * B, head = task / numBlocks, sequence = head / numHeads;
    const size_t at = (sequence * shape.seqLen + first) * stride + head % numHeads * shape.headDim;
    loadTile(all + task * B * padded, padded, x, at, stride, minOf<long>(B, shape.seqLen - first), shape.headDim);
  });
  return all;
}

/// out[padded][B] = tile[B][padded] transposed.
static void transposeTile(float* out, const float* tile, long padded) {
  for (long i = 0; i < B; i += W)
    for (long j = 0; j < padded; j += W) {
      vf r[W];
#pragma GCC unroll 16
      for (int l = 0; l < W; l++) r[l] = load(tile + (i + l) * padded + j);
      interleave(r);
#pragma GCC unroll 16
      for (int l = 0; l < W; l++) store(out + (j + l) * B + i, r[l]);
    }
}

/// The queries of one block: where they are and which keys they see.
struct QueryBlock {
  long first, count, lowestStart, highestStart;
  alignas(64) int32_t start[B];

  QueryBlock(const int32_t* docStart, long firstQuery, long seqLen) : first(firstQuery), count(minOf<long>(B, seqLen - firstQuery)) {
    lowestStart = highestStart = docStart[first];
    for (long i = 0; i < B; i++) {
      start[i] = i < count ? docStart[first + i] : (int32_t)first;
      lowestStart = minOf<long>(lowestStart, start[i]);
      highestStart = maxOf<long>(highestStart, start[i]);
    }
  }
  long firstKeyBlock() const { return lowestStart / B * B; }
  long last() const { return first + count - 1; }
  /// How many keys of the block at k0 the queries up to first + i see at most.
  long visible(long i, long k0) const { return maxOf<long>(0, minOf<long>(B, first + i + 1 - k0)); }
  /// Whether some of the W queries from c on miss some of the first `keys` keys at k0.
  bool needsMask(long c, long k0, long keys) const { return k0 + keys - 1 > first + c || k0 < highestStart; }
  vi mask(long c, long key) const {
    vi starts;
    std::memcpy(&starts, start + c, sizeof starts);
    const vi at = vi{} + (int32_t)key;
    return (at <= lanes() + (int32_t)(first + c)) & (at >= starts);
  }
};

/// scores[key][query] = K Q^T where some query may see the key.
INLINE void scoreTile(float* scores, const QueryBlock& block, long k0, const float* keys, const float* queriesT, long headDim, long padded) {
  for (long c = 0; c < B; c += NQ)
    multiplyTiles<Store::kSet>(scores + c, B, keys, padded, 1, queriesT + c, B, roundUp(block.visible(c + NQ - 1, k0), MR), NQ, headDim);
}

static void attentionForward(Floats out, float* lse, Floats q, Floats k, Floats v, const int32_t* docStart, const AttentionShape& shape) {
  const long seqLen = shape.seqLen, headDim = shape.headDim, padded = roundUp(headDim, NQ);
  const long numBlocks = divideUp(seqLen, B), numTasks = shape.batch * shape.numHeads * numBlocks;
  const bool capped = shape.softcap > 0;
  const vf cap = splat(shape.softcap), perCap = splat(capped ? shape.scale / shape.softcap : 0);
  const float* allKeys = gatherHeads(kShared0, k, shape.kStride, shape, padded);
  const float* allValues = gatherHeads(kShared1, v, shape.vStride, shape, padded);
  parallelFor(numTasks, [&](long task) {
    // Long blocks (late queries) first, so that the last tasks are short.
    const long blockIndex = numBlocks - 1 - task / (shape.batch * shape.numHeads), head = task % (shape.batch * shape.numHeads);
    const long sequence = head / shape.numHeads, h = head % shape.numHeads, kvHead = h / (shape.numHeads / shape.numKvHeads);
    const size_t headAt = (sequence * shape.numKvHeads + kvHead) * numBlocks * B * padded;
    float* memory = scratch<float>(kTask0, 3 * B * padded + B * B);
    float *queries = memory, *queriesT = queries + B * padded, *sums = queriesT + B * padded, *scores = sums + B * padded;
    alignas(64) float top[B], total[B], factor[B];
    const QueryBlock block(docStart + sequence * seqLen, blockIndex * B, seqLen);
    const long row0 = sequence * seqLen + block.first;

    loadTile(queries, padded, q, row0 * shape.qStride + h * headDim, shape.qStride, block.count, headDim);
    transposeTile(queriesT, queries, padded);
    std::memset(sums, 0, B * padded * sizeof(float));
    for (int i = 0; i < B; i++) top[i] = -__builtin_inff(), total[i] = 0;

    for (long k0 = block.firstKeyBlock(); k0 <= block.last(); k0 += B) {
      const float *keys = allKeys + headAt + k0 * padded, *values = allValues + headAt + k0 * padded;
      scoreTile(scores, block, k0, keys, queriesT, headDim, padded);

      vi moved = {};
      for (long c = 0; c < B; c += W) {
        const long seen = block.visible(c + W - 1, k0);
        const vf scale = splat(capped ? 1 : shape.scale), before = load(top + c), lowest = splat(-__builtin_inff());
        if (capped)
          for (long key = 0; key < seen; key++)
            store(scores + key * B + c, cap * hyperbolicTangent(load(scores + key * B + c) * perCap));
        const bool masked = block.needsMask(c, k0, seen);
        if (masked)
          for (long key = 0; key < seen; key++)
            store(scores + key * B + c, block.mask(c, k0 + key) ? load(scores + key * B + c) : lowest);
        vf highest[2] = {lowest, lowest};  // two chains, since one would wait for its own latency
        for (long key = 0; key < seen; key++) highest[key % 2] = maximum(highest[key % 2], load(scores + key * B + c));
        const vf max = maximum(maximum(highest[0], highest[1]) * scale, before);
        // A query that has seen no key yet keeps -inf as its maximum; subtracting 0 instead makes its weights e^-inf = 0.
        const vf shift = max == lowest ? splat(0) : max;
        const vf correction = exponential(before - shift);
        vf weights = load(total + c) * correction;
        for (long key = 0; key < seen; key++) {
          vf p = exponentialAtMost88(fma(load(scores + key * B + c), scale, -shift));
          if (masked) p = block.mask(c, k0 + key) ? p : splat(0);
          store(scores + key * B + c, p);
          weights += p;
        }
        // A micro-tile of the product below takes MR queries; where those are more than a vector, the earlier ones must find no weight on
        // the keys that only the later ones see.
        for (long key = seen; key < block.visible(c + maxOf(W, MR) - 1, k0); key++) store(scores + key * B + c, splat(0));
        store(top + c, max);
        store(total + c, weights);
        store(factor + c, correction);
        moved |= correction != splat(1);
      }
      bool anyMoved = false;
      for (int i = 0; i < W; i++) anyMoved |= moved[i] != 0;
      if (anyMoved)
        for (long i = 0; i < B; i++) {
          const vf f = splat(factor[i]);
          for (long e = 0; e < padded; e += W) store(sums + i * padded + e, load(sums + i * padded + e) * f);
        }
      for (long i = 0; i < B; i += MR)
        multiplyTiles<Store::kAdd>(sums + i * padded, padded, scores + i, 1, B, values, padded, MR, padded, block.visible(i + MR - 1, k0));
    }

    for (long i = 0; i < block.count; i++) {
      const vf inverse = splat(total[i] > 0 ? 1 / total[i] : 0);
      const size_t at = ((row0 + i) * shape.numHeads + h) * headDim;
      forVectors(headDim, [&](long e, int n) { storeUpTo(n, out, at + e, load(sums + i * padded + e) * inverse); });
      lse[head * seqLen + block.first + i] = top[i] + __builtin_logf(total[i]);
    }
  });
}

/// One task of the gradient: writes dq of its queries, adds to dKeys and dValues [seqLen rounded up to B][padded].
static void attentionBackwardHead(float* dKeys, float* dValues, Floats dq, Floats dOut, Floats out, const float* lse, Floats q,
                                  const float* allKeys, const float* allValues, const int32_t* docStart, const AttentionShape& shape, long sequence, long h, long split,
                                  long numSplits) {
  const long seqLen = shape.seqLen, headDim = shape.headDim, padded = roundUp(headDim, NQ);
  const long kvHead = h / (shape.numHeads / shape.numKvHeads);
  const size_t headAt = (sequence * shape.numKvHeads + kvHead) * roundUp(seqLen, B) * padded;
  float* memory = scratch<float>(kTask0, 6 * B * padded + 2 * B * B);
  float *queries = memory, *queriesT = queries + B * padded, *grads = queriesT + B * padded, *gradsT = grads + B * padded,
        *dQueries = gradsT + B * padded, *outs = dQueries + B * padded, *weights = outs + B * padded, *dScores = weights + B * B;
  alignas(64) float delta[B], norm[B];
  const bool capped = shape.softcap > 0;
  const vf scale = splat(shape.scale), scoreScale = splat(capped ? 1 : shape.scale);
  const vf cap = splat(shape.softcap), perCap = splat(capped ? shape.scale / shape.softcap : 0);
  std::memset(dKeys, 0, roundUp(seqLen, B) * padded * sizeof(float));
  std::memset(dValues, 0, roundUp(seqLen, B) * padded * sizeof(float));

  for (long q0 = split * B; q0 < seqLen; q0 += numSplits * B) {
    const QueryBlock block(docStart + sequence * seqLen, q0, seqLen);
    const long row0 = sequence * seqLen + q0;
    loadTile(queries, padded, q, row0 * shape.qStride + h * headDim, shape.qStride, block.count, headDim);
    transposeTile(queriesT, queries, padded);
    const size_t denseStride = shape.numHeads * headDim, denseAt = row0 * denseStride + h * headDim;
    loadTile(grads, padded, dOut, denseAt, denseStride, block.count, headDim);
    transposeTile(gradsT, grads, padded);
    loadTile(outs, padded, out, denseAt, denseStride, block.count, headDim);
    for (long i = 0; i < B; i++) {
      vf dot = splat(0);
      for (long e = 0; e < padded; e += W) dot = fma(load(grads + i * padded + e), load(outs + i * padded + e), dot);
      delta[i] = sum(dot);
      norm[i] = i < block.count ? lse[(sequence * shape.numHeads + h) * seqLen + q0 + i] : 0;
    }
    std::memset(dQueries, 0, B * padded * sizeof(float));

    for (long k0 = block.firstKeyBlock(); k0 <= block.last(); k0 += B) {
      const float *keys = allKeys + headAt + k0 * padded, *values = allValues + headAt + k0 * padded;
      scoreTile(weights, block, k0, keys, queriesT, headDim, padded);
      scoreTile(dScores, block, k0, values, gradsT, headDim, padded);
      for (long c = 0; c < B; c += W) {
        const long seen = block.visible(c + W - 1, k0);
        const bool masked = block.needsMask(c, k0, seen);
        const vf normC = load(norm + c);
        vf deltaC = load(delta + c);
        if (capped) {
          // The cap's slope, 1 - tanh^2, joins the factor that the loop below would make.
          for (long key = 0; key < seen; key++) {
            const vf t = hyperbolicTangent(load(weights + key * B + c) * perCap);
            store(weights + key * B + c, cap * t);
            store(dScores + key * B + c, (load(dScores + key * B + c) - deltaC) * (splat(1) - t) * (splat(1) + t));
          }
          deltaC = splat(0);
        }
        for (long key = 0; key < seen; key++) {
          vf p = exponential(fma(load(weights + key * B + c), scoreScale, -normC));
          if (masked) p = block.mask(c, k0 + key) ? p : splat(0);
          store(weights + key * B + c, p);
          store(dScores + key * B + c, p * (load(dScores + key * B + c) - deltaC) * scale);
        }
        for (long key = seen; key < B; key++) store(weights + key * B + c, splat(0)), store(dScores + key * B + c, splat(0));
      }
      // One product at a time, so that its operands stay in L1. Keys i.. are seen by the queries from k0 + i - q0 on.
      for (long i = 0; i < B; i += MR) {
        const long skip = maxOf<long>(0, minOf<long>(B, k0 + i - q0));
        multiplyTiles<Store::kAdd>(dValues + (k0 + i) * padded, padded, weights + i * B + skip, B, 1, grads + skip * padded, padded, MR, padded,
                                   B - skip);
      }
      for (long i = 0; i < B; i += MR) {
        const long skip = maxOf<long>(0, minOf<long>(B, k0 + i - q0));
        multiplyTiles<Store::kAdd>(dKeys + (k0 + i) * padded, padded, dScores + i * B + skip, B, 1, queries + skip * padded, padded, MR, padded,
                                   B - skip);
      }
      for (long i = 0; i < B; i += MR)
        multiplyTiles<Store::kAdd>(dQueries + i * padded, padded, dScores + i, 1, B, keys, padded, MR, padded, block.visible(i + MR - 1, k0));
    }
    for (long i = 0; i < block.count; i++)
      forVectors(headDim, [&](long e, int n) {
        storeUpTo(n, dq, (row0 + i) * shape.qStride + h * headDim + e, load(dQueries + i * padded + e));
      });
  }
}

static void attentionBackward(Floats dq, Floats dk, Floats dv, Floats dOut, Floats out, const float* lse, Floats q, Floats k, Floats v,
                              const int32_t* docStart, const AttentionShape& shape) {
  const long seqLen = shape.seqLen, headDim = shape.headDim, padded = roundUp(headDim, NQ), numHeads = shape.numHeads;
  if (shape.batch == 0 || seqLen == 0) return;
  const long group = numHeads / shape.numKvHeads, rows = roundUp(seqLen, B), half = rows * padded;
  // Enough tasks for a good balance on many threads, by shape only: the split is part of the order of the sums.
  const long numSplits = minOf(divideUp(seqLen, B), divideUp(16, shape.batch * numHeads));
  const long perSequence = numHeads * numSplits * 2 * half * (long)sizeof(float);
  const long together = maxOf<long>(1, minOf(shape.batch, kBackwardBytes / perSequence));
  const float* allKeys = gatherHeads(kShared0, k, shape.kStride, shape, padded);
  const float* allValues = gatherHeads(kShared1, v, shape.vStride, shape, padded);
  float* buffers = scratch<float>(kShared2, together * numHeads * numSplits * 2 * half);

  for (long first = 0; first < shape.batch; first += together) {
    const long count = minOf(together, shape.batch - first);
    parallelFor(count * numHeads * numSplits, [&](long task) {
      const long split = task % numSplits, head = task / numSplits;
      float* mine = buffers + task * 2 * half;
      attentionBackwardHead(mine, mine + half, dq, dOut, out, lse, q, allKeys, allValues, docStart, shape, first + head / numHeads, head % numHeads, split,
                            numSplits);
    });
    parallelFor(count * shape.numKvHeads * divideUp(seqLen, B), [&](long task) {
      const long r0 = task % divideUp(seqLen, B) * B, head = task / divideUp(seqLen, B);
      const long sequence = head / shape.numKvHeads, kvHead = head % shape.numKvHeads;
      const float* parts = buffers + (sequence * numHeads + kvHead * group) * numSplits * 2 * half;
      for (long r = r0; r < minOf(seqLen, r0 + B); r++) {
        const size_t row = (first + sequence) * seqLen + r, kAt = row * shape.kStride + kvHead * headDim, vAt = row * shape.vStride + kvHead * headDim;
        forVectors(headDim, [&](long e, int n) {
          vf keySum = splat(0), valueSum = splat(0);
          for (long part = 0; part < group * numSplits; part++) {
            keySum += load(parts + part * 2 * half + r * padded + e);
            valueSum += load(parts + part * 2 * half + half + r * padded + e);
          }
          storeUpTo(n, dk, kAt + e, keySum);
          storeUpTo(n, dv, vAt + e, valueSum);
        });
      }
    });
  }
}

}  // namespace CONTINUO_VARIANT
