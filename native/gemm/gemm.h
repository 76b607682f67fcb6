// C = A B + addend + bias. B is packed by blocks that stay in L2 while all rows of A pass by; A is packed a group of rows at a time by the
// thread that computes them; one tile of A stays in L1 while B's panels stream from L2. Sums are f32: an element is a sum over blocks
// of K, in order, of sums inside a block. Only K and the dtypes choose the blocks of K, so no split of work changes a result.
#pragma once
#include "pack.h"

namespace CONTINUO_VARIANT {

// In 32-bit steps: a tile of A (MR x 512 x 4 = 16 KB) shares L1 with the passing panels of B; B's block is half of a 2 MB L2.
constexpr long kMaxSteps = 512;
constexpr long kBlockBytes = 1 << 20;
constexpr long kTaskRows = 64;

/// C[i][j] = tile[i][j] + addends, for the part of the tile inside C. Addends are where C's element is, in their own array;
/// the bias is from biasAt on.
INLINE void finishTile(const Floats& c, size_t ldc, size_t at, const float* tile, int rows, int cols, const float* partial, size_t ldPartial,
                       const Floats& addend, const Floats& bias, size_t biasAt) {
  if (rows == MR && cols == NR && !addend.p && !bias.p) {  // the common case, without a test a vector
    for (int i = 0; i < MR; i++)
      for (int j = 0; j < NR; j += W) {
        vf v = load(tile + i * NR + j);
        if (partial) v += load(partial + i * ldPartial + j);
        store(c, at + i * ldc + j, v);
      }
    return;
  }
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < cols; j += W) {
      const int n = cols - j;
      vf v = load(tile + i * NR + j);
      if (partial) v += loadUpTo(n, partial + i * ldPartial + j);
      if (addend.p) v += loadUpTo(n, addend, at + i * ldc + j);
      if (bias.p) v += loadUpTo(n, bias, biasAt + j);
      storeUpTo(n, c, at + i * ldc + j, v);
    }
}

template <Product P>
INLINE void multiplyPanel(float* tile, const float* a, const float* b, long steps, int vectors) {
  if (vectors >= 3)
    multiplyTile<3, P, Store::kSet>(tile, NR, a, 1, MR, b, NR, steps);
  else if (vectors == 2)
    multiplyTile<2, P, Store::kSet>(tile, NR, a, 1, MR, b, NR, steps);
  else
    multiplyTile<1, P, Store::kSet>(tile, NR, a, 1, MR, b, NR, steps);
}

/// Few rows, B stored along K: reads B once without packing it. Four rows of B at a time against ROWS rows of A in f32.
template <int ROWS>
INLINE void dotRows(float (*sums)[4], const float* a, Floats b, long n0, int numCols, long k) {
  vf acc[ROWS][4];
  for (int i = 0; i < ROWS; i++)
    for (int j = 0; j < 4; j++) acc[i][j] = splat(0);
  const long row[4] = {n0 * k, (n0 + minOf(1, numCols - 1)) * k, (n0 + minOf(2, numCols - 1)) * k, (n0 + numCols - 1) * k};
  for (long p = 0; p < k; p += W) {
    const int left = (int)minOf<long>(W, k - p);
    vf av[ROWS];
    for (int i = 0; i < ROWS; i++) av[i] = loadUpTo(left, a + i * k + p);
    for (int j = 0; j < 4; j++) {
      const vf bv = loadUpTo(left, b, row[j] + p);
      for (int i = 0; i < ROWS; i++) acc[i][j] = fma(av[i], bv, acc[i][j]);
    }
  }
  for (int i = 0; i < ROWS; i++)
    for (int j = 0; j < 4; j++) sums[i][j] = sum(acc[i][j]);
}

constexpr long kFewRows = 8;

static void gemmFewRows(Floats c, Floats a, Floats b, long m, long n, long k, Floats addend, Floats bias) {
  float* rows = scratch<float>(kShared0, m * k + W);
  for (long i = 0; i < m * k; i += W) storeUpTo((int)minOf<long>(W, m * k - i), rows + i, loadUpTo((int)minOf<long>(W, m * k - i), a, i));
  const long numGroups = divideUp(n, 4), perTask = maxOf<long>(1, 16384 / maxOf<long>(1, k));
  parallelFor(divideUp(numGroups, perTask), [&](long task) {
    for (long g = task * perTask; g < minOf(numGroups, (task + 1) * perTask); g++) {
      const int numCols = (int)minOf<long>(4, n - g * 4);
      for (long i = 0; i < m; i += 4) {
        float sums[4][4];
        const int numRows = (int)minOf<long>(4, m - i);
        if (numRows == 1)
          dotRows<1>(sums, rows + i * k, b, g * 4, numCols, k);
        else if (numRows == 2)
          dotRows<2>(sums, rows + i * k, b, g * 4, numCols, k);
        else if (numRows == 3)
          dotRows<3>(sums, rows + i * k, b, g * 4, numCols, k);
        else
          dotRows<4>(sums, rows + i * k, b, g * 4, numCols, k);
        for (int r = 0; r < numRows; r++) {
          const size_t at = (i + r) * n + g * 4;
          vf v = loadPart(sums[r], minOf(numCols, W - 1));
          if (W == 4 && numCols == 4) v = load(sums[r]);
          const int cols = numCols;
          if (addend.p) v += loadUpTo(cols, addend, at);
          if (bias.p) v += loadUpTo(cols, bias, g * 4);
          storeUpTo(cols, c, at, v);
        }
      }
    }
  });
}

static void gemm(Floats c, Floats a, Floats b, long m, long n, long k, bool transA, bool transB, Floats addend, Floats bias) {
  if (m == 0 || n == 0) return;
  if (m <= kFewRows && transB && !transA) return gemmFewRows(c, a, b, m, n, k, addend, bias);
  const bool pairs = kHasPairs && a.bf16;
  const long perStep = pairs ? 2 : 1;
  const long numBlocksK = maxOf<long>(1, divideUp(k, kMaxSteps * perStep));
  const long blockK = roundUp(divideUp(k, numBlocksK), 2 * W);
  const long maxSteps = maxOf<long>(1, divideUp(blockK, perStep));
  const long maxBlockN = maxOf<long>(NR, kBlockBytes / (maxSteps * 4) / NR * NR);
  const long blockN = roundUp(divideUp(n, divideUp(n, maxBlockN)), NR);
  const size_t lda = transA ? m : k, ldb = transB ? k : n;

  float* packedB = scratch<float>(kShared0, blockN * maxSteps);
  // f32 sums that cross blocks of K stay in C where C is f32; a bf16 C would round them, so they get a place of their own.
  float* sums = c.bf16 && numBlocksK > 1 ? scratch<float>(kShared1, m * blockN) : nullptr;
  const long numTiles = divideUp(m, MR);
  const long numTasks = minOf(numTiles, numThreads() * divideUp(numTiles * MR, numThreads() * kTaskRows));

  for (long n0 = 0; n0 < n; n0 += blockN) {
    const long cols = minOf(blockN, n - n0), numPanels = divideUp(cols, NR);
    for (long block = 0; block < numBlocksK; block++) {
      const long k0 = block * blockK, depth = maxOf<long>(0, minOf(blockK, k - k0)), steps = divideUp(depth, perStep);
      parallelFor(numPanels, [&](long panel) {
        pack<NR>(packedB + panel * NR * steps, b, transB, ldb, n0 + panel * NR, minOf<long>(NR, cols - panel * NR), k0, depth);
      });
      const bool first = block == 0, last = block == numBlocksK - 1;
      const Floats target = sums && !last ? Floats{sums, false} : c;
      const size_t ldTarget = sums && !last ? blockN : n, elementBytes = target.bf16 ? 2 : 4;
      const bool addsHere = sums ? last : first;
      const Floats tileAddend = addsHere ? addend : Floats{nullptr, false}, tileBias = addsHere ? bias : Floats{nullptr, false};
      parallelFor(numTasks, [&](long task) {
        const long tile0 = task * numTiles / numTasks, tile1 = (task + 1) * numTiles / numTasks, row0 = tile0 * MR;
        float* packedA = scratch<float>(kTask0, (tile1 - tile0) * MR * maxSteps);
        pack<MR>(packedA, a, !transA, lda, row0, minOf(tile1 * MR, m) - row0, k0, depth);
        for (long t = tile0; t < tile1; t++)
          for (long panel = 0; panel < numPanels; panel++) {
            alignas(64) float tile[MR * NR];
            const float* at = packedA + (t - tile0) * MR * steps;
            const float* bt = packedB + panel * NR * steps;
            const int width = (int)minOf<long>(NR, cols - panel * NR);
            const long row = t * MR, col = panel * NR;
            const size_t at0 = target.p == sums ? row * ldTarget + col : row * ldTarget + n0 + col;
            // The tile of C is needed when the product is done: ask for it now.
            for (long i = 0; i < minOf<long>(MR, m - row); i++)
              for (long byte = 0; byte < (long)(width * elementBytes); byte += 64)
                __builtin_prefetch(static_cast<const char*>(target.p) + (at0 + i * ldTarget) * elementBytes + byte, 1);
            if (pairs)
              multiplyPanel<Product::kPairs>(tile, at, bt, steps, (int)divideUp(width, W));
            else
              multiplyPanel<Product::kFloats>(tile, at, bt, steps, (int)divideUp(width, W));
            // The running sum of earlier blocks: in `sums`, or in C itself.
            const float* partial = first ? nullptr : sums ? sums + row * blockN + col : static_cast<float*>(c.p) + row * n + n0 + col;
            finishTile(target, ldTarget, at0, tile, (int)minOf<long>(MR, m - row), width, partial, sums ? blockN : n, tileAddend, tileBias,
                       n0 + col);
          }
      });
    }
  }
}

}  // namespace CONTINUO_VARIANT
