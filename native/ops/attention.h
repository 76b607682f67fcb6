// Causal attention inside documents, by tiles of 64 queries x 64 keys in f32; never a full matrix of scores (Dao et al. 2022). Tiles of
// scores lie transposed, [key][query]: a vector is then W queries, so softmax needs no sum across lanes, and the same tile is the
// broadcast operand of every later product, read by rows or by columns. Key blocks that no query of a block sees are not visited.
//
// Every score is in units of log2, since 2^x is cheaper than e^x. The blocks of keys are visited from the diagonal back. The diagonal one
// sets the shift of each query's softmax to its largest score; later ones keep that shift while their weights stay far from
// overflow, so that weights come out of the product's registers and nothing is rescaled.
//
// A task takes a few blocks of queries, of several heads of a group where there are some, and reads each block of keys and values once
// for all of them. Backward, tasks that share keys add to dK and dV one after the other, in the order of the tasks.
#pragma once
#include <new>

#include "norm.h"

#define ALWAYS_INLINE __attribute__((always_inline))

namespace CONTINUO_VARIANT {

constexpr long B = 64;  // queries, and keys, a block
constexpr float kLog2e = 1.44269504088896341f, kLn2 = 0.693147180559945309f;

// Accumulators of a product: 4 x 5 vectors fit 32 registers beside their operands, 4 x 3 fit 16. In L1, on AVX-512, 64 steps of 4 x 4
// reach 99 % of the peak, of 8 x 2 95 %.
constexpr int kTileRows = 4;
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kTileVectors = 5;
#else
constexpr int kTileVectors = 3;
#endif
// Of a product over the head size: 64 queries x 128 steps are 32 KB, which stay in L1 while keys pass.
constexpr long kScoreSteps = 128;
// Blocks of queries that a task takes through the keys together.
constexpr long kTaskBlocks = 4;
// f32 copies of keys and values, and sums of their gradients: what a thread works on should stay in L2 beside the task's own, and all
// threads' together is bounded.
constexpr long kThreadBytes = 256l << 10, kAllBytes = 256l << 20;

alignas(64) static const float kZeros[128] = {};

/// finish(c, sums[kTileRows]) for V vectors of init + A B: A's values are broadcast, B's vectors stream; c counts columns.
template <int V, class T, class Finish>
INLINE void productTile(const float* init, size_t initRow, const float* a, size_t aRow, size_t aStep, const T* b, size_t bStep, long steps,
                        const Finish& finish) {
  vf acc[V][kTileRows];
#pragma GCC unroll 4
  for (int i = 0; i < kTileRows; i++, init += initRow)
#pragma GCC unroll 5
    for (int j = 0; j < V; j++) acc[j][i] = load(init + j * W);
  for (long s = 0; s < steps; s++) {
    vf bv[V];
#pragma GCC unroll 5
    for (int j = 0; j < V; j++) bv[j] = load(b + j * W);
#pragma GCC unroll 4
    for (int i = 0; i < kTileRows; i++) {
      const vf av = splat(a[i * aRow]);
#pragma GCC unroll 5
      for (int j = 0; j < V; j++) acc[j][i] = fma(av, bv[j], acc[j][i]);
    }
    a += aStep;
    b += bStep;
  }
#pragma GCC unroll 5
  for (int j = 0; j < V; j++) finish(j * W, acc[j]);
}

/// The same for `vectors` <= MOST.
template <int MOST, class... Args>
INLINE void productOf(int vectors, const Args&... args) {
  if (MOST > 1 && vectors < MOST) return productOf<(MOST > 1 ? MOST - 1 : 1)>(vectors, args...);
  productTile<MOST>(args...);
}

/// Columns from..to as even parts of at most `most` vectors: part(column, vectors).
template <class Part>
INLINE void forParts(long from, long to, int most, const Part& part) {
  for (long left = (to - from) / W; left > 0;) {
    const int vectors = (int)divideUp(left, divideUp(left, (long)most));
    part(to - left * W, vectors);
    left -= vectors;
  }
}

struct AttentionSizes {
  long headDim, padded, pitch, numBlocks, group;

  explicit AttentionSizes(const AttentionShape& shape)
      : headDim(shape.headDim), padded(roundUp(headDim, W)),
        // Rows 512 bytes or a multiple apart would share a few sets of L1.
        pitch(padded % 128 == 0 ? padded + 16 : padded), numBlocks(divideUp(shape.seqLen, B)), group(shape.numHeads / shape.numKvHeads) {}
  long tile() const { return B * pitch; }
  /// Key/value heads whose copies, `copies` of each, are made at a time: enough for every thread, and few enough to stay in the threads' L2.
  long headsTogether(long copies) const {
    const long bytes = maxOf<long>(1, copies * numBlocks * tile() * (long)sizeof(float)), threads = numThreads();
    return maxOf<long>(1, minOf(maxOf(threads, threads * kThreadBytes / bytes), kAllBytes / bytes));
  }
  /// Heads of a group that a task takes, and neighbouring blocks of queries.
  long numParts() const { return divideUp(group, kTaskBlocks); }
  long headsPerTask() const { return divideUp(group, numParts()); }
  long blocksPerTask() const { return maxOf<long>(1, kTaskBlocks / group); }
};

/// Rows `first` to `end` of tile[B][pitch] in f32 from as many of a strided array; zero outside.
template <class T>
static void loadTile(float* tile, const AttentionSizes& sizes, const T* x, size_t stride, long end, long first) {
  if (first > 0 || end < B || sizes.headDim < sizes.padded) std::memset(tile, 0, sizes.tile() * sizeof(float));
  for (long r = first; r < end; r++, x += stride)
    forVectors(sizes.headDim, [&](long i, int n) { storeUpTo(n, tile + r * sizes.pitch + i, loadUpTo(n, x + i)); });
}
static void loadTile(float* tile, const AttentionSizes& sizes, Floats x, size_t at, size_t stride, long end, long first = 0) {
  if (x.bf16)
    loadTile(tile, sizes, static_cast<const bf16*>(x.p) + at, stride, end, first);
  else
    loadTile(tile, sizes, static_cast<const float*>(x.p) + at, stride, end, first);
}

/// out[padded][B] = factor * tile[B][pitch] transposed.
static void transposeTile(float* out, const float* tile, const AttentionSizes& sizes, float factor) {
  const vf f = splat(factor);
  for (long i = 0; i < B; i += W)
    for (long j = 0; j < sizes.padded; j += W) {
      vf r[W];
#pragma GCC unroll 16
      for (int l = 0; l < W; l++) r[l] = load(tile + (i + l) * sizes.pitch + j) * f;
      interleave(r);
#pragma GCC unroll 16
      for (int l = 0; l < W; l++) store(out + (j + l) * B + i, r[l]);
    }
}

/// Keys or values of heads first.. (counted over sequences) in f32, tile by tile. Made once, since every block of queries reads them again.
static const float* gatherHeads(ScratchSlot slot, Floats x, size_t stride, const AttentionShape& shape, const AttentionSizes& sizes, long first,
                                long count) {
  float* all = scratch<float>(slot, count * sizes.numBlocks * sizes.tile());
  parallelFor(count * sizes.numBlocks, [&](long task) {
    const long row = task % sizes.numBlocks * B, head = first + task / sizes.numBlocks;
    const size_t at = (head / shape.numKvHeads * shape.seqLen + row) * stride + head % shape.numKvHeads * shape.headDim;
    loadTile(all + task * sizes.tile(), sizes, x, at, stride, minOf<long>(B, shape.seqLen - row));
  });
  return all;
}

/// Steps of a product's row i and those it is computed with: max(0, i + from) to min(limit, i + to).
struct Steps {
  long from, to, limit;
};

/// The queries of one block: where they are and which keys they see.
struct QueryBlock {
  long first, count, skipped, lowestStart, highestStart;
  alignas(64) int32_t start[B];

  /// @param wanted the first query that is; a block holds it or those after it
  QueryBlock(const int32_t* docStart, long firstQuery, long seqLen, long wanted = 0)
      : first(firstQuery), count(minOf<long>(B, seqLen - firstQuery)), skipped(maxOf<long>(0, wanted - firstQuery)) {
    lowestStart = highestStart = docStart[first + skipped];
    for (long i = skipped; i < B; i++) {
      start[i] = i < count ? docStart[first + i] : (int32_t)first;
      lowestStart = minOf<long>(lowestStart, start[i]);
      highestStart = maxOf<long>(highestStart, start[i]);
    }
    for (long i = 0; i < skipped; i++) start[i] = start[skipped];
  }
  long firstKeyBlock() const { return lowestStart / B * B; }
  bool sees(long k0) const { return k0 >= firstKeyBlock() && k0 <= first; }
  /// Queries and keys that products take: what is beyond the sequence is left out by whole vectors and rows of tiles.
  long width() const { return roundUp(count, W); }
  long rows() const { return roundUp(count, kTileRows); }
  /// The same before the first one that is wanted.
  long firstColumn() const { return skipped / W * W; }
  long firstRow() const { return skipped / kTileRows * kTileRows; }
  long numKeys(long k0) const { return minOf<long>(B, roundUp(first + count - k0, kTileRows)); }
  /// How many keys of the block at k0 the queries up to i see at most, in whole rows of tiles.
  long visible(long i, long k0) const { return roundUp(minOf<long>(numKeys(k0), first + i + 1 - k0), kTileRows); }
  /// The first query that sees one of the keys from k0 on.
  long firstQuery(long k0) const { return maxOf<long>(0, k0 - first); }
  Steps keySteps(long k0) const { return {-B, first - k0 + kTileRows, numKeys(k0)}; }
  Steps querySteps(long k0) const { return {k0 - first, B, rows()}; }
  /// Whether some query misses a key of the block at k0.
  bool needsMask(long k0) const { return k0 + B - 1 > first || k0 < highestStart; }
  vi mask(long c, long key) const {
    vi starts;
    std::memcpy(&starts, start + c, sizeof starts);
    const vi at = vi{} + (int32_t)key;
    return (at <= lanes() + (int32_t)(first + c)) & (at >= starts);
  }
};

/// Rows `firstRow` to numRows of out[][padded] = A B, or adds it; A's rows and steps lie aRow and aStep apart.
static void addProduct(float* out, bool add, long numRows, const float* a, size_t aRow, size_t aStep, const float* b, const AttentionSizes& sizes,
                       const Steps& steps, long firstRow = 0) {
  const long pitch = sizes.pitch;
  forParts(0, sizes.padded, kTileVectors, [&](long c, int vectors) ALWAYS_INLINE {
    for (long i = firstRow; i < numRows; i += kTileRows) {
      const long from = maxOf<long>(0, i + steps.from), to = minOf(steps.limit, i + steps.to);
      float* at = out + i * pitch + c;
      productOf<kTileVectors>(vectors, add ? at : kZeros, add ? pitch : 0, a + i * aRow + from * aStep, aRow, aStep, b + from * pitch + c, pitch,
                              to - from, [=](long j, vf(&x)[kTileRows]) ALWAYS_INLINE {
#pragma GCC unroll 4
                                for (int r = 0; r < kTileRows; r++) store(at + r * pitch + j, x[r]);
                              });
    }
  });
}

/// finish(row, c, sums[kTileRows]) for init + A Q^T over `steps` of the head size from e on: tiles of keys x queries in which a query may
/// see a key. A is a tile of keys or values, queriesT [headDim][B]. With an initRow of 0 a row of one value a query begins every sum.
template <class Finish>
INLINE void scoreRound(const float* init, size_t initRow, const QueryBlock& block, long k0, const float* a, const float* queriesT,
                       const AttentionSizes& sizes, long e, long steps, const Finish& finish) {
  const long numKeys = block.numKeys(k0), width = block.width();
  constexpr int kMost = kTileVectors < 4 ? kTileVectors : 4;  // a block of queries is a whole number of 4 vectors
  for (long i = 0; i < numKeys; i += kTileRows)
    forParts(maxOf(block.firstQuery(k0 + i) / W * W, block.firstColumn()), width, kMost, [&](long c, int vectors) ALWAYS_INLINE {
      productOf<kMost>(vectors, init + i * initRow + c, initRow, a + i * sizes.pitch + e, sizes.pitch, 1, queriesT + e * B + c, B, steps,
                       [&](long j, vf(&x)[kTileRows]) ALWAYS_INLINE { finish(i, c + j, x); });
    });
}

/// The sums themselves, of the head size up to `end`, in rounds.
static void storeScores(float* tile, const float* init, const QueryBlock& block, long k0, const float* a, const float* queriesT,
                        const AttentionSizes& sizes, long end) {
  for (long e = 0; e < end; e += kScoreSteps)
    scoreRound(e > 0 ? tile : init, e > 0 ? B : 0, block, k0, a, queriesT, sizes, e, minOf(kScoreSteps, end - e),
               [&](long i, long c, vf(&x)[kTileRows]) ALWAYS_INLINE {
#pragma GCC unroll 4
                 for (int r = 0; r < kTileRows; r++) store(tile + (i + r) * B + c, x[r]);
               });
}

/// The same with a finish of its own; `tile` holds the sums of all rounds but the last.
template <class Finish>
INLINE void scoreTile(float* tile, const float* init, const QueryBlock& block, long k0, const float* a, const float* queriesT,
                      const AttentionSizes& sizes, const Finish& finish) {
  const long last = (sizes.headDim - 1) / kScoreSteps * kScoreSteps;
  if (last > 0) storeScores(tile, init, block, k0, a, queriesT, sizes, last);
  scoreRound(last > 0 ? tile : init, last > 0 ? B : 0, block, k0, a, queriesT, sizes, last, sizes.headDim - last, finish);
}

/// tanh(s / softcap) of a scaled score s, given as 2 log2(e) s / softcap: 1 - 2 / (e^(2 s / softcap) + 1).
INLINE vf cappedTanh(vf x) { return splat(1) - splat(2) / (power2(x) + splat(1)); }
/// What q.k is multiplied by to be a score in log2, or the argument of cappedTanh.
static float scoreFactor(const AttentionShape& shape) { return shape.softcap > 0 ? 2 * kLog2e * shape.scale / shape.softcap : kLog2e * shape.scale; }

/// A head's block of queries on its way through the keys.
struct ForwardBlock {
  QueryBlock block;
  long row, head, h;  // first wanted row of all queries; head over all sequences, and inside its own
  float *queriesT, *sums;
  alignas(64) float shift[B], total[B];  // of the weights 2^(score - shift)

  /// Any block of keys: scores first, then masks and the shift, which moves to the largest score so far.
  void attendAnew(float* weights, long k0, const float* keys, const AttentionSizes& sizes, float softcap) {
    storeScores(weights, kZeros, block, k0, keys, queriesT, sizes, sizes.headDim);
    const vf lowest = splat(-__builtin_inff());
    const bool masked = block.needsMask(k0), isFirst = k0 == block.first;
    for (long c = block.firstColumn(); c < block.width(); c += W) {
      const long seen = block.visible(c + W - 1, k0);
      const vf before = isFirst ? lowest : -load(shift + c);
      vf highest[2] = {before, before};  // two chains, since one would wait for its own latency
      for (long key = 0; key < seen; key++) {
        float* at = weights + key * B + c;
        vf x = load(at);
        if (softcap > 0) x = splat(softcap * kLog2e) * cappedTanh(x);
        if (masked) x = block.mask(c, k0 + key) ? x : lowest;
        store(at, x);
        highest[key % 2] = maximum(highest[key % 2], x);
      }
      // Finite from the first block on, which is the diagonal one: a query sees itself.
      const vf max = maximum(highest[0], highest[1]);
      vf sum = splat(0);
      for (long key = 0; key < seen; key++) {
        const vf p = power2(load(weights + key * B + c) - max);
        store(weights + key * B + c, p);
        sum += p;
      }
      store(shift + c, -max);
      if (isFirst) {
        store(total + c, sum);
        continue;
      }
      const vf factor = power2(before - max);
      store(total + c, fma(load(total + c), factor, sum));
      if (any(factor != splat(1)))
        for (int l = 0; l < W; l++)
          for (long e = 0; e < sizes.padded; e += W) {
            float* at = sums + (c + l) * sizes.pitch + e;
            store(at, load(at) * splat(factor[l]));
          }
    }
  }

  /// A block of keys that every query sees, without a cap: weights by the shift as it is. False if some grow too large, before anything
  /// but `weights` has changed.
  bool attendFast(float* weights, long k0, const float* keys, const AttentionSizes& sizes) {
    alignas(64) float added[B] = {};
    scoreTile(weights, shift, block, k0, keys, queriesT, sizes, [&](long i, long c, vf(&x)[kTileRows]) ALWAYS_INLINE {
      power2(x);
#pragma GCC unroll 4
      for (int r = 0; r < kTileRows; r++) store(weights + (i + r) * B + c, x[r]);
      store(added + c, load(added + c) + ((x[0] + x[1]) + (x[2] + x[3])));
    });
    for (long c = block.firstColumn(); c < block.width(); c += W)
      if (any(~(load(added + c) < splat(0x1p60f)))) return false;
    for (long c = block.firstColumn(); c < block.width(); c += W) store(total + c, load(total + c) + load(added + c));
    return true;
  }
};

static void attentionForward(Floats out, float* lse, Floats q, Floats k, Floats v, const int32_t* docStart, const AttentionShape& shape) {
  const AttentionSizes sizes(shape);
  const long seqLen = shape.seqLen, numKvHeads = shape.batch * shape.numKvHeads, numQueries = shape.numQueries();
  const long headsPerTask = sizes.headsPerTask(), blocksPerTask = sizes.blocksPerTask(), numParts = sizes.numParts();
  const long firstBlock = shape.firstQuery / B, numSpans = divideUp(sizes.numBlocks - firstBlock, blocksPerTask);
  const long together = sizes.headsTogether(2);
  for (long firstHead = 0; firstHead < numKvHeads; firstHead += together) {
    const long count = minOf(together, numKvHeads - firstHead);
    const float* allKeys = gatherHeads(kShared0, k, shape.kStride, shape, sizes, firstHead, count);
    const float* allValues = gatherHeads(kShared1, v, shape.vStride, shape, sizes, firstHead, count);
    parallelFor(count * numParts * numSpans, [&](long task) {
      // Late queries, which see most keys, first, so that the last tasks are short.
      const long span = numSpans - 1 - task / (count * numParts), kvHead = task % count, part = task / count % numParts;
      const long sequence = (firstHead + kvHead) / shape.numKvHeads, h0 = (firstHead + kvHead) % shape.numKvHeads * sizes.group + part * headsPerTask;
      const long heads = minOf(headsPerTask, sizes.group - part * headsPerTask);
      const long lastBlock = minOf(sizes.numBlocks, firstBlock + (span + 1) * blocksPerTask) - 1;
      const long numBlocks = lastBlock - (firstBlock + span * blocksPerTask) + 1;
      const long perBlock = sizes.padded * B + sizes.tile();
      float *weights = scratch<float>(kTask0, B * B + maxOf<long>(heads * numBlocks * perBlock, sizes.tile())), *memory = weights + B * B;
      ForwardBlock* blocks = scratch<ForwardBlock>(kTask1, heads * numBlocks);

      long lowest = seqLen;
      for (long i = 0; i < heads * numBlocks; i++, memory += perBlock) {
        ForwardBlock* b = new (blocks + i)
            ForwardBlock{QueryBlock(docStart + sequence * seqLen, (lastBlock - i / heads) * B, seqLen, shape.firstQuery)};
        const long skipped = b->block.skipped;
        b->row = sequence * numQueries + b->block.first + skipped - shape.firstQuery;
        b->h = h0 + i % heads;
        b->head = sequence * shape.numHeads + b->h;
        b->queriesT = memory;
        b->sums = memory + sizes.padded * B;
        loadTile(b->sums, sizes, q, b->row * shape.qStride + b->h * sizes.headDim, shape.qStride, b->block.count, skipped);
        transposeTile(b->queriesT, b->sums, sizes, scoreFactor(shape));
        lowest = minOf(lowest, b->block.firstKeyBlock());
      }
      for (long k0 = lastBlock * B; k0 >= lowest; k0 -= B) {
        const size_t at = kvHead * sizes.numBlocks * sizes.tile() + k0 * sizes.pitch;
        for (ForwardBlock* b = blocks; b < blocks + heads * numBlocks; b++) {
          if (!b->block.sees(k0)) continue;
          if (shape.softcap > 0 || b->block.needsMask(k0) || !b->attendFast(weights, k0, allKeys + at, sizes))
            b->attendAnew(weights, k0, allKeys + at, sizes, shape.softcap);
          addProduct(b->sums, k0 != b->block.first, b->block.rows(), weights, 1, B, allValues + at, sizes, b->block.keySteps(k0),
                     b->block.firstRow());
        }
      }
      for (ForwardBlock* b = blocks; b < blocks + heads * numBlocks; b++)
        for (long i = b->block.skipped, row = b->row; i < b->block.count; i++, row++) {
          const vf inverse = splat(1 / b->total[i]);
          const size_t at = (row * shape.numHeads + b->h) * sizes.headDim;
          forVectors(sizes.headDim, [&](long e, int n) { storeUpTo(n, out, at + e, load(b->sums + i * sizes.pitch + e) * inverse); });
          lse[b->head * numQueries + b->block.first + i - shape.firstQuery] = __builtin_logf(b->total[i]) - b->shift[i] * kLn2;
        }
    });
  }
}

/// A head's block of queries and what its gradient needs.
struct BackwardBlock {
  QueryBlock block;
  long row, h;
  float *queries, *queriesT, *grads, *gradsT, *dQueries;
  alignas(64) float shift[B], minusDelta[B];  // -log2 of the sum of weights; -dOut.out

  /// dS^T from dP^T - delta, in place of the weights' slopes; the first product of the gradient's five comes before.
  void differentiate(float* weights, float* slopes, float* dScores, long k0, const float* keys, const float* values, const AttentionSizes& sizes, float softcap) {
    if (softcap > 0) {
      storeScores(weights, kZeros, block, k0, keys, queriesT, sizes, sizes.headDim);
      for (long c = 0; c < block.width(); c += W)
        for (long key = 0; key < block.visible(c + W - 1, k0); key++) {
          const vf tanh = cappedTanh(load(weights + key * B + c)), p = power2(fma(tanh, splat(softcap * kLog2e), load(shift + c)));
          store(weights + key * B + c, p);
          store(slopes + key * B + c, p * fma(-tanh, tanh, splat(1)));
        }
    } else {
      slopes = weights;
      scoreTile(weights, shift, block, k0, keys, queriesT, sizes, [&](long i, long c, vf(&x)[kTileRows]) ALWAYS_INLINE {
        power2(x);
#pragma GCC unroll 4
        for (int r = 0; r < kTileRows; r++) store(weights + (i + r) * B + c, x[r]);
      });
    }
    if (block.needsMask(k0))
      for (long c = 0; c < block.width(); c += W)
        for (long key = 0; key < block.visible(c + W - 1, k0); key++) {
          const vi mask = block.mask(c, k0 + key);
          float *w = weights + key * B + c, *s = slopes + key * B + c;
          store(w, mask ? load(w) : splat(0));
          store(s, mask ? load(s) : splat(0));
        }
    scoreTile(dScores, minusDelta, block, k0, values, gradsT, sizes, [&](long i, long c, vf(&x)[kTileRows]) ALWAYS_INLINE {
#pragma GCC unroll 4
      for (int r = 0; r < kTileRows; r++) store(dScores + (i + r) * B + c, load(slopes + (i + r) * B + c) * x[r]);
    });
  }
};


static void attentionBackward(Floats dq, Floats dk, Floats dv, Floats dOut, Floats out, const float* lse, Floats q, Floats k, Floats v,
                              const int32_t* docStart, const AttentionShape& shape) {
  const AttentionSizes sizes(shape);
  const long seqLen = shape.seqLen, numKvHeads = shape.batch * shape.numKvHeads, numBlocks = sizes.numBlocks;
  const long headsPerTask = sizes.headsPerTask(), blocksPerTask = sizes.blocksPerTask(), numParts = sizes.numParts();
  const long numSpans = divideUp(numBlocks, blocksPerTask), half = numBlocks * sizes.tile();
  const long together = sizes.headsTogether(4);
  for (long firstHead = 0; firstHead < numKvHeads; firstHead += together) {
    const long count = minOf(together, numKvHeads - firstHead);
    const float* allKeys = gatherHeads(kShared0, k, shape.kStride, shape, sizes, firstHead, count);
    const float* allValues = gatherHeads(kShared1, v, shape.vStride, shape, sizes, firstHead, count);
    float* sums = scratch<float>(kShared2, count * (2 * half + 2 * numBlocks + numSpans));
    int32_t* lowestKeys = reinterpret_cast<int32_t*>(sums + count * 2 * half);  // [count][numSpans]
    std::atomic<int32_t>* turns = reinterpret_cast<std::atomic<int32_t>*>(lowestKeys + count * numSpans);
    bool* begun = reinterpret_cast<bool*>(turns + count * numBlocks);
    std::memset(begun, 0, count * numBlocks);
    for (long head = 0; head < count; head++) {
      // The lowest key that this span of queries or a later one sees, so that the spans that visit a block of keys are neighbours.
      const int32_t* starts = docStart + (firstHead + head) / shape.numKvHeads * seqLen;
      int32_t lowest = (int32_t)seqLen;
      long block = numBlocks;
      for (long span = numSpans - 1; span >= 0; span--) {
        for (long t = span * blocksPerTask * B; t < minOf(seqLen, (span + 1) * blocksPerTask * B); t++) lowest = minOf(lowest, starts[t]);
        lowestKeys[head * numSpans + span] = lowest;
        for (; block > 0 && (block - 1) * B + B > lowest; block--)
          new (turns + head * numBlocks + block - 1) std::atomic<int32_t>((int32_t)((numSpans - 1 - span) * numParts));
      }
    }

    parallelFor(count * numSpans * numParts, [&](long task) {
      const long kvHead = task % count, step = task / count, part = step % numParts, span = numSpans - 1 - step / numParts;
      const long sequence = (firstHead + kvHead) / shape.numKvHeads, kv = (firstHead + kvHead) % shape.numKvHeads;
      const long h0 = kv * sizes.group + part * headsPerTask, heads = minOf(headsPerTask, sizes.group - part * headsPerTask);
      const long lastBlock = minOf(numBlocks, (span + 1) * blocksPerTask) - 1, taskBlocks = (lastBlock - span * blocksPerTask + 1) * heads;
      const long perBlock = 3 * sizes.tile() + 2 * sizes.padded * B;
      float* weights = scratch<float>(kTask0, 3 * B * B + taskBlocks * perBlock);
      float *slopes = weights + B * B, *dScores = slopes + B * B, *memory = dScores + B * B;
      BackwardBlock* blocks = scratch<BackwardBlock>(kTask1, taskBlocks);
      const size_t denseStride = shape.numHeads * sizes.headDim;

      for (long i = 0; i < taskBlocks; i++, memory += perBlock) {
        BackwardBlock* b = new (blocks + i) BackwardBlock{QueryBlock(docStart + sequence * seqLen, (lastBlock - i / heads) * B, seqLen)};
        b->row = sequence * seqLen + b->block.first;
        b->h = h0 + i % heads;
        b->queries = memory;
        b->grads = b->queries + sizes.tile();
        b->dQueries = b->grads + sizes.tile();
        b->queriesT = b->dQueries + sizes.tile();
        b->gradsT = b->queriesT + sizes.padded * B;
        loadTile(b->queries, sizes, q, b->row * shape.qStride + b->h * sizes.headDim, shape.qStride, b->block.count);
        transposeTile(b->queriesT, b->queries, sizes, scoreFactor(shape));
        const size_t denseAt = b->row * denseStride + b->h * sizes.headDim;
        loadTile(b->grads, sizes, dOut, denseAt, denseStride, b->block.count);
        transposeTile(b->gradsT, b->grads, sizes, 1);
        for (long t = 0; t < B; t++) {
          b->shift[t] = b->minusDelta[t] = 0;
          if (t >= b->block.count) continue;
          vf dot = splat(0);
          forVectors(sizes.headDim, [&](long e, int n) {
            dot = fma(load(b->grads + t * sizes.pitch + e), loadUpTo(n, out, denseAt + t * denseStride + e), dot);
          });
          b->minusDelta[t] = -sum(dot);
          b->shift[t] = -kLog2e * lse[(sequence * shape.numHeads + b->h) * seqLen + b->block.first + t];
        }
      }

      std::atomic<int32_t>* turn = turns + kvHead * numBlocks;
      for (long j = lastBlock; j >= lowestKeys[kvHead * numSpans + span] / B; j--) {
        const long k0 = j * B;
        const float *keys = allKeys + kvHead * half + j * sizes.tile(), *values = allValues + kvHead * half + j * sizes.tile();
        float *dKeys = sums + kvHead * 2 * half + j * sizes.tile(), *dValues = dKeys + half;
        bool& isBegun = begun[kvHead * numBlocks + j];
        waitUntil(turn[j], (int32_t)step);
        for (BackwardBlock* b = blocks; b < blocks + taskBlocks; b++) {
          if (!b->block.sees(k0)) continue;
          b->differentiate(weights, slopes, dScores, k0, keys, values, sizes, shape.softcap);
          addProduct(dValues, isBegun, b->block.numKeys(k0), weights, B, 1, b->grads, sizes, b->block.querySteps(k0));
          addProduct(dKeys, isBegun, b->block.numKeys(k0), dScores, B, 1, b->queries, sizes, b->block.querySteps(k0));
          addProduct(b->dQueries, k0 != b->block.first, b->block.rows(), dScores, 1, B, keys, sizes, b->block.keySteps(k0));
          isBegun = true;
        }
        if (j / blocksPerTask == span && part == numParts - 1)
          for (long t = 0; t < minOf<long>(B, seqLen - k0); t++) {
            const size_t row = sequence * seqLen + k0 + t, column = kv * sizes.headDim;
            forVectors(sizes.headDim, [&](long e, int n) {
              storeUpTo(n, dk, row * shape.kStride + column + e, load(dKeys + t * sizes.pitch + e) * splat(shape.scale));
              storeUpTo(n, dv, row * shape.vStride + column + e, load(dValues + t * sizes.pitch + e));
            });
          }
        turn[j].store((int32_t)step + 1, std::memory_order_release);
      }
      for (BackwardBlock* b = blocks; b < blocks + taskBlocks; b++)
        for (long t = 0; t < b->block.count; t++)
          forVectors(sizes.headDim, [&](long e, int n) {
            storeUpTo(n, dq, (b->row + t) * shape.qStride + b->h * sizes.headDim + e, load(b->dQueries + t * sizes.pitch + e) * splat(shape.scale));
          });
    });
  }
}

}  // namespace CONTINUO_VARIANT
