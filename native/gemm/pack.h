// Rearranges blocks of A and B into tiles in which the innermost product walks straight ahead: element (j, s) of a block, j along M or
// N and s the step along K, lies at tile j / TILE, then step, then j % TILE. bf16 becomes pairs where the machine multiplies pairs,
// else f32. What lies outside the matrix is zero.
#pragma once
#include "micro.h"

namespace CONTINUO_VARIANT {

enum class Element { kFloat, kBf16, kPair };

/// W steps starting at k of a row that runs along K and has `left` elements from there.
template <Element E>
INLINE vf loadSteps(const void* row, long k, long left) {
  if (E == Element::kFloat) return loadUpTo((int)minOf<long>(left, W), static_cast<const float*>(row) + k);
  if (E == Element::kBf16) return loadUpTo((int)minOf<long>(left, W), static_cast<const bf16*>(row) + k);
  bf16 part[2 * W] = {};
  const bf16* from = static_cast<const bf16*>(row) + k;
  if (left < 2 * W) {
    std::memcpy(part, from, left * sizeof(bf16));
    from = part;
  }
  vf v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

/// Writes W neighbouring columns of one step, which lie in two tiles where a tile is half a vector wide.
template <int TILE>
INLINE void storeStep(float* tiles, long j, long width, long steps, long s, vf v) {
  float* to = tiles + j / TILE * TILE * steps + s * TILE + j % TILE;
  if (TILE >= W) {
    store(to, v);
    return;
  }
  typedef float half __attribute__((vector_size(TILE >= W ? W * 4 : W * 2)));
  half part[2];
  std::memcpy(part, &v, sizeof v);
  std::memcpy(to, &part[0], TILE * sizeof(float));
  if (j + TILE < width) std::memcpy(to + TILE * steps, &part[1], TILE * sizeof(float));
}

/// One tile of A: TILE rows along K, interleaved.
template <int TILE, Element E>
INLINE void packRows(float* tile, const char* rows, size_t rowBytes, long validRows, long k, long s0, long numSteps) {
  constexpr int perStep = E == Element::kPair ? 2 : 1;
  vf r[TILE];
  if (validRows >= TILE && (s0 + W) * perStep <= k) {
#pragma GCC unroll 8
    for (int i = 0; i < TILE; i++) r[i] = loadSteps<E>(rows + i * rowBytes, s0 * perStep, W * perStep);
  } else {
    for (int i = 0; i < TILE; i++) r[i] = i < validRows ? loadSteps<E>(rows + i * rowBytes, s0 * perStep, k - s0 * perStep) : splat(0);
  }
  interleave(r);
  float* to = tile + s0 * TILE;
  if (numSteps >= W)
#pragma GCC unroll 8
    for (int i = 0; i < TILE; i++) store(to + i * W, r[i]);
  else
    for (int i = 0; i * W < numSteps * TILE; i++) storeUpTo((int)minOf<long>(numSteps * TILE - i * W, W), to + i * W, r[i]);
}

/// W of a panel's columns, each of which runs along K: transposed.
template <int TILE, Element E>
INLINE void packColumns(float* panel, const char* rows, size_t rowBytes, long validRows, long k, long s0, long numSteps) {
  constexpr int perStep = E == Element::kPair ? 2 : 1;
  vf r[W];
  if (validRows >= W && (s0 + W) * perStep <= k) {
#pragma GCC unroll 16
    for (int i = 0; i < W; i++) r[i] = loadSteps<E>(rows + i * rowBytes, s0 * perStep, W * perStep);
  } else {
    for (int i = 0; i < W; i++) r[i] = i < validRows ? loadSteps<E>(rows + i * rowBytes, s0 * perStep, k - s0 * perStep) : splat(0);
  }
  interleave(r);
  if (numSteps >= W)
#pragma GCC unroll 16
    for (int i = 0; i < W; i++) store(panel + (s0 + i) * TILE, r[i]);
  else
    for (int i = 0; i < numSteps; i++) store(panel + (s0 + i) * TILE, r[i]);
}

/// The source's rows run along K: element (j, k) is source[j * ld + k].
template <Element E, int TILE>
static void packAlongK(float* tiles, const void* source, size_t ld, long valid, long k) {
  const size_t rowBytes = ld * (E == Element::kFloat ? 4 : 2);
  const char* rows = static_cast<const char*>(source);
  const long steps = divideUp(k, E == Element::kPair ? 2 : 1), width = roundUp(valid, TILE);
  constexpr int together = TILE == MR ? TILE : W;
  for (long j = 0; j < width; j += together) {
    float* to = tiles + j / TILE * TILE * steps + j % TILE;
    for (long s = 0; s < steps; s += W)
      if (TILE == MR)
        packRows<TILE == MR ? TILE : 1, E>(to, rows + j * rowBytes, rowBytes, valid - j, k, s, steps - s);
      else
        packColumns<TILE, E>(to, rows + j * rowBytes, rowBytes, valid - j, k, s, steps - s);
  }
}

/// The source's rows run across K: element (j, k) is source[k * ld + j].
template <Element E, int TILE>
static void packAcrossK(float* tiles, const void* source, size_t ld, long valid, long k) {
  constexpr int perStep = E == Element::kPair ? 2 : 1;
  constexpr long ahead = 8, elementBytes = E == Element::kFloat ? 4 : 2;
  const long steps = divideUp(k, perStep), width = roundUp(valid, TILE);
  for (long s = 0; s < steps; s++)
    for (long j0 = 0; j0 < width; j0 += W) {
      // Rows are far apart, so the hardware does not see them coming.
      const char* next = static_cast<const char*>(source) + ((s + ahead) * perStep * ld + j0) * elementBytes;
      __builtin_prefetch(next);
      if (perStep == 2) __builtin_prefetch(next + ld * elementBytes);
      const int n = (int)maxOf<long>(0, minOf<long>(W, valid - j0));
      vf v;
      if (E == Element::kFloat)
        v = loadUpTo(n, static_cast<const float*>(source) + s * ld + j0);
      else if (E == Element::kBf16)
        v = loadUpTo(n, static_cast<const bf16*>(source) + s * ld + j0);
      else {
        const bf16* first = static_cast<const bf16*>(source) + 2 * s * ld + j0;
        const vu low = (vu)loadUpTo(n, first) >> 16;
        const vu high = 2 * s + 1 < k ? (vu)loadUpTo(n, first + ld) : vu{};
        v = (vf)(low | high);
      }
      storeStep<TILE>(tiles, j0, width, steps, s, v);
    }
}

/// Packs `valid` rows or columns from j0 on, k elements from k0 on, of a matrix whose element (j, k) is at j*ld + k (alongK) or k*ld + j.
template <int TILE>
static void pack(float* tiles, Floats source, bool alongK, size_t ld, long j0, long valid, long k0, long k) {
  const size_t at = alongK ? j0 * ld + k0 : k0 * ld + j0;
  const void* from = static_cast<const char*>(source.p) + at * (source.bf16 ? 2 : 4);
  if (!source.bf16)
    alongK ? packAlongK<Element::kFloat, TILE>(tiles, from, ld, valid, k) : packAcrossK<Element::kFloat, TILE>(tiles, from, ld, valid, k);
  else if (kHasPairs)
    alongK ? packAlongK<Element::kPair, TILE>(tiles, from, ld, valid, k) : packAcrossK<Element::kPair, TILE>(tiles, from, ld, valid, k);
  else
    alongK ? packAlongK<Element::kBf16, TILE>(tiles, from, ld, valid, k) : packAcrossK<Element::kBf16, TILE>(tiles, from, ld, valid, k);
}

}  // namespace CONTINUO_VARIANT
