// C = A B + addend + bias. A task is some columns of C by some rows, over all of K, a block of K at a time. Its thread packs the block of B,
// which then stays in its L2, and walks down the rows of A a tile at a time; the next rows of A are packed, and the tile of C is asked
// for, in between the multiply-adds of the current tile. Threads share nothing and wait for nobody before the end. Sums are f32: an
// element is a sum over blocks of K, in order, of sums inside a block. Only K and the dtypes choose the blocks of K, so no split of work
// changes a result.
#pragma once
#include "few-rows.h"
#include "pack.h"

namespace CONTINUO_VARIANT {

// A block of B in L2, with room for what passes by.
constexpr long kBlockBytes = 1300000;
// Steps of the product between two moves of packing.
constexpr long kChunk = 8;
// C's lines are asked for when so many chunks are left: 400 ns, enough for memory, too short for B's stream to push them out of L1.
constexpr long kChunksToAsk = 16;
constexpr int kStepsAhead = 12;

/// Where a tile of C goes and what is added to it: `before`, f32, and `addend`, bf16, point at their element of the tile's first (or are
/// null), `bias` at that of its first column.
struct Target {
  char* c;
  const float* before;
  const bf16* addend;
  const char* bias;
  size_t ld, ldBefore;
  bool ofBf16, biasOfBf16;
  int rows, cols;
};

/// One tile of C over one block of K, `steps` long.
template <int V, Product P, bool kAlongK>
static __attribute__((noinline)) void computeTile(const Target& out, const float* a, const float* b, long steps, GroupPacking<kAlongK>& nextA) {
  constexpr size_t aRow = kAlongK ? kRowSteps : 1, aStep = kAlongK ? 1 : MR;
  const bool whole = out.rows == MR && out.cols == V * W;
  vf acc[MR][V];
#pragma GCC unroll 3
  for (int j = 0; j < V; j++) {
    vf start = splat(0);
    if (out.bias) start = loadUpTo(out.cols - j * W, Floats{const_cast<char*>(out.bias), out.biasOfBf16}, j * W);
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++) acc[i][j] = start;
  }

  const long elementBytes = out.ofBf16 ? 2 : 4, tileBytes = out.cols * elementBytes;
  const char* row = out.c;
  int rowsToAsk = out.rows;
  for (long chunk = steps / kChunk; chunk > 0; chunk--) {
    if (chunk <= kChunksToAsk && rowsToAsk > 0) {
      rowsToAsk--;
      for (long byte = 0; byte < tileBytes; byte += 64) __builtin_prefetch(row + byte, 1);
      __builtin_prefetch(row + tileBytes - 1, 1);
      row += out.ld * elementBytes;
    }
    nextA.step();
    multiplySteps<V, P, kStepsAhead>(acc, a, aRow, aStep, b, NR, kChunk);
    a += kChunk * aStep;
    b += kChunk * NR;
  }
  multiplySteps<V, P, 0>(acc, a, aRow, aStep, b, NR, steps % kChunk);

#define EACH_VECTOR                    \
  _Pragma("GCC unroll 8") for (int i = 0; i < MR; i++) \
  _Pragma("GCC unroll 3") for (int j = 0; j < V; j++)
  if (whole) {
    if (out.before) EACH_VECTOR acc[i][j] += load(out.before + i * out.ldBefore + j * W);
    if (out.addend) EACH_VECTOR acc[i][j] += load(out.addend + i * out.ld + j * W);
    if (out.ofBf16)
      EACH_VECTOR store(reinterpret_cast<bf16*>(out.c) + i * out.ld + j * W, acc[i][j]);
    else
      EACH_VECTOR store(reinterpret_cast<float*>(out.c) + i * out.ld + j * W, acc[i][j]);
    return;
  }
  float tile[MR][V * W];
  EACH_VECTOR store(&tile[i][j * W], acc[i][j]);
#undef EACH_VECTOR
  for (int i = 0; i < out.rows; i++)
    for (int j = 0; j < out.cols; j += W) {
      const int n = out.cols - j;
      vf v = load(&tile[i][j]);
      if (out.before) v += loadUpTo(n, out.before + i * out.ldBefore + j);
      if (out.addend) v += loadUpTo(n, out.addend + i * out.ld + j);
      storeUpTo(n, Floats{out.c, out.ofBf16}, i * out.ld + j, v);
    }
}

template <Product P, bool kAlongK>
INLINE void computeTile(const Target& out, const float* a, const float* b, long steps, GroupPacking<kAlongK>& nextA) {
  if (out.cols > 2 * W)
    computeTile<3, P, kAlongK>(out, a, b, steps, nextA);
  else if (out.cols > W)
    computeTile<2, P, kAlongK>(out, a, b, steps, nextA);
  else
    computeTile<1, P, kAlongK>(out, a, b, steps, nextA);
}

struct Grid {
  long numN, numM;
};

/// How many tasks side by side and one below another. The cost of a task is that of its tiles, which goes by their vectors since the last
/// panel may be narrow, and of packing B, which takes as long as about three tiles a panel.
static Grid chooseGrid(long n, long groups, long tilesInGroup, long maxPanels, long threads) {
  const long panels = divideUp(n, (long)NR);
  Grid best{1, 1};
  long least = 0;
  for (long numM = 1; numM <= minOf(groups, threads); numM *= 2) {
    const long numN = minOf(panels, roundUp(divideUp(panels, maxPanels), divideUp(threads, numM)));
    long widest = 0;
    for (long i = 0; i < numN; i++)
      widest = maxOf(widest, divideUp(minOf(n, (i + 1) * panels / numN * NR) - i * panels / numN * NR, (long)W));
    const long cost = divideUp(numN * numM, threads) * widest * (divideUp(groups, numM) * tilesInGroup + 3);
    if (least == 0 || cost < least) least = cost, best = {numN, numM};
  }
  return best;
}

/// The product for one way in which A is stored and multiplied.
template <Product P, bool kAlongK>
static void gemmPacked(Floats c, Floats a, Floats b, long m, long n, long k, bool alongB, Floats addend, Floats bias) {
  constexpr long perStep = P == Product::kPairs ? 2 : 1, groupRows = kGroupRows<kAlongK>;
  const long numBlocksK = maxOf<long>(1, divideUp(k, kMaxSteps * perStep)), blockK = roundUp(divideUp(k, numBlocksK), 2 * W);
  const long maxSteps = maxOf<long>(1, blockK / perStep);
  const long panels = divideUp(n, NR), groups = divideUp(m, groupRows), threads = numThreads();
  const Grid grid = chooseGrid(n, groups, groupRows / MR, maxOf<long>(1, kBlockBytes / (maxSteps * NR * 4)), threads);
  const long numTasks = grid.numN * grid.numM, numWorkers = minOf(threads, numTasks);
  const long maxCols = divideUp(panels, grid.numN) * NR, maxRows = divideUp(groups, grid.numM) * groupRows;
  const long groupFloats = kAlongK ? MR * kRowSteps : groupRows * maxSteps;
  const size_t lda = kAlongK ? k : m, ldb = alongB ? k : n, elementBytes = c.bf16 ? 2 : 4;

  /// A task at one block of K.
  struct Block {
    long task, n0, cols, group0, group1, index, k0, depth, steps;
  };
  const auto blockOf = [&](long task, long index) {
    const long i = task % grid.numN, j = task / grid.numN, n0 = i * panels / grid.numN * NR, k0 = index * blockK;
    const long depth = maxOf<long>(0, minOf(blockK, k - k0));
    return Block{task,  n0, minOf(n, (i + 1) * panels / grid.numN * NR) - n0, j * groups / grid.numM, (j + 1) * groups / grid.numM,
                 index, k0, depth,                                            divideUp(depth, perStep)};
  };
  long nextTask = numWorkers;

  parallelFor(numWorkers, [&](long worker) {
    float* packedB = scratch<float>(kTask0, maxCols * maxSteps + 2 * groupFloats);
    float *groupA = packedB + maxCols * maxSteps, *otherA = groupA + groupFloats;
    // f32 sums that cross blocks of K stay in C where C is f32; a bf16 C would round them, so they get a place of their own.
    float* sums = c.bf16 && numBlocksK > 1 ? scratch<float>(kTask1, maxRows * maxCols) : nullptr;
    const auto packingOf = [&](const Block& block, long group, float* to) {
      if (block.task >= numTasks) return GroupPacking<kAlongK>();
      const long row = group * groupRows;
      return GroupPacking<kAlongK>(to, a, lda, row, minOf(groupRows, m - row), block.k0, block.depth);
    };
    Block block = blockOf(worker, 0);
    packingOf(block, block.group0, groupA).finish();
    while (block.task < numTasks) {
      const bool first = block.index == 0, last = block.index == numBlocksK - 1;
      // The next block is known before this one is computed, so that its first rows can be packed on the way.
      const Block next = last ? blockOf(__atomic_fetch_add(&nextTask, 1, __ATOMIC_RELAXED), 0) : blockOf(block.task, block.index + 1);
      packPanels<P == Product::kPairs ? Element::kPair : Element::kBf16>(packedB, b, alongB, ldb, block.n0, block.cols, block.k0, block.depth);
      for (long group = block.group0; group < block.group1; group++) {
        const bool lastGroup = group + 1 == block.group1;
        GroupPacking<kAlongK> nextA = packingOf(lastGroup ? next : block, lastGroup ? next.group0 : group + 1, otherA);
        const float* tileA = groupA;
        for (long row = group * groupRows; row < minOf(m, (group + 1) * groupRows); row += MR, tileA += MR * block.steps) {
          const size_t inC = row * n + block.n0, inSums = (row - block.group0 * groupRows) * maxCols;
          const bool toSums = sums && !last;
          Target out;
          out.c = toSums ? reinterpret_cast<char*>(sums + inSums) : static_cast<char*>(c.p) + inC * elementBytes;
          out.ld = toSums ? maxCols : n;
          out.ofBf16 = c.bf16 && !toSums;
          out.before = first ? nullptr : sums ? sums + inSums : static_cast<float*>(c.p) + inC;
          out.ldBefore = sums ? maxCols : n;
          out.addend = nullptr;
          if (addend.p && c.bf16 && last) out.addend = static_cast<const bf16*>(addend.p) + inC;
          if (addend.p && !c.bf16 && first) out.before = static_cast<const float*>(addend.p) + inC;
          out.biasOfBf16 = bias.bf16;
          out.bias = bias.p && first ? static_cast<const char*>(bias.p) + block.n0 * (bias.bf16 ? 2 : 4) : nullptr;
          out.rows = (int)minOf<long>(MR, m - row);
          const float* panelB = packedB;
          for (long col = 0; col < block.cols; col += NR, panelB += NR * block.steps) {
            out.cols = (int)minOf<long>(NR, block.cols - col);
            computeTile<P, kAlongK>(out, tileA, panelB, block.steps, nextA);
            out.c += NR * (out.ofBf16 ? 2 : 4);
            if (out.before) out.before += NR;
            if (out.addend) out.addend += NR;
            if (out.bias) out.bias += NR * (bias.bf16 ? 2 : 4);
          }
        }
        nextA.finish();
        float* const packed = otherA;
        otherA = groupA;
        groupA = packed;
      }
      block = next;
    }
  });
}

static void gemm(Floats c, Floats a, Floats b, long m, long n, long k, bool transA, bool transB, Floats addend, Floats bias) {
  if (m == 0 || n == 0) return;
  if (m <= kFewRows && transB && !transA) return gemmFewRows(c, a, b, m, n, k, addend, bias);
  if (kHasPairs && a.bf16)
    (transA ? gemmPacked<Product::kPairs, false> : gemmPacked<Product::kPairs, true>)(c, a, b, m, n, k, transB, addend, bias);
  else
    (transA ? gemmPacked<Product::kFloats, false> : gemmPacked<Product::kFloats, true>)(c, a, b, m, n, k, transB, addend, bias);
}

}  // namespace CONTINUO_VARIANT
