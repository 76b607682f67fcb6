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

/// The source's rows run along K: element (j, k) is source[j * ld + k].
template <Element E>
static void packAlongK(float* tiles, int tile, const void* source, size_t ld, long valid, long k) {
  constexpr int perStep = E == Element::kPair ? 2 : 1;
  const size_t rowBytes = ld * (E == Element::kFloat ? 4 : 2);
  const long steps = divideUp(k, perStep), width = roundUp(valid, tile);
  for (long j0 = 0; j0 < width; j0 += W)
    for (long s0 = 0; s0 < steps; s0 += W) {
      vf r[W];
      const char* rows = static_cast<const char*>(source) + j0 * rowBytes;
      if (j0 + W <= valid && (s0 + W) * perStep <= k) {
#pragma GCC unroll 16
        for (int i = 0; i < W; i++) r[i] = loadSteps<E>(rows + i * rowBytes, s0 * perStep, W * perStep);
      } else {
        for (int i = 0; i < W; i++)
          r[i] = j0 + i < valid ? loadSteps<E>(rows + i * rowBytes, s0 * perStep, k - s0 * perStep) : splat(0);
      }
      transpose(r);
      const int numSteps = (int)minOf<long>(W, steps - s0);
      for (int c = 0; c < W && j0 + c < width; c += tile) {
        float* to = tiles + (j0 + c) / tile * tile * steps + s0 * tile + (j0 + c) % tile;
        for (int i = 0; i < numSteps; i++) {
          if (tile >= W)
            store(to + i * tile, r[i]);
          else
            std::memcpy(to + i * tile, reinterpret_cast<const float*>(&r[i]) + c, tile * sizeof(float));
        }
      }
    }
}

/// The source's rows run across K: element (j, k) is source[k * ld + j].
template <Element E>
static void packAcrossK(float* tiles, int tile, const void* source, size_t ld, long valid, long k) {
  constexpr int perStep = E == Element::kPair ? 2 : 1;
  const long steps = divideUp(k, perStep), width = roundUp(valid, tile);
  for (long s = 0; s < steps; s++)
    for (long j0 = 0; j0 < width; j0 += W) {
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
      for (int c = 0; c < W && j0 + c < width; c += tile) {
        float* to = tiles + (j0 + c) / tile * tile * steps + s * tile + (j0 + c) % tile;
        if (tile >= W)
          store(to, v);
        else
          std::memcpy(to, reinterpret_cast<const float*>(&v) + c, tile * sizeof(float));
      }
    }
}

/// Packs `valid` rows or columns from j0 on, k elements from k0 on, of a matrix whose element (j, k) is at j*ld + k (alongK) or k*ld + j.
template <int TILE>
static void pack(float* tiles, Floats source, bool alongK, size_t ld, long j0, long valid, long k0, long k) {
  const size_t at = alongK ? j0 * ld + k0 : k0 * ld + j0;
  const void* from = static_cast<const char*>(source.p) + at * (source.bf16 ? 2 : 4);
  if (!source.bf16)
    alongK ? packAlongK<Element::kFloat>(tiles, TILE, from, ld, valid, k) : packAcrossK<Element::kFloat>(tiles, TILE, from, ld, valid, k);
  else if (kHasPairs)
    alongK ? packAlongK<Element::kPair>(tiles, TILE, from, ld, valid, k) : packAcrossK<Element::kPair>(tiles, TILE, from, ld, valid, k);
  else
    alongK ? packAlongK<Element::kBf16>(tiles, TILE, from, ld, valid, k) : packAcrossK<Element::kBf16>(tiles, TILE, from, ld, valid, k);
}

}  // namespace CONTINUO_VARIANT
