// Packing: rearranges blocks of A and B so that the innermost product walks straight ahead. B becomes panels of NR columns, a step of K
// after another. A becomes tiles of MR rows: where its rows run along K they stay rows, kRowSteps apart, else a tile is steps of MR, so
// that neither has to be transposed. A step is one k in f32; where the machine multiplies pairs of bf16, two neighbouring k. What lies
// outside the matrix is zero.
#pragma once
#include "micro.h"

namespace CONTINUO_VARIANT {

// The longest block of K, in steps. A longer one moves C less often, but its sum errs more: 640 steps, one block for K = 576, gained 1 % in
// f32 and 2 to 3 % in bf16 there and took the relative error from 3.1e-7 to 4.3e-7.
constexpr long kMaxSteps = 512;
// No multiple of 4 KB comes near a multiple of this, so the rows of a tile lie in different places of L1.
constexpr long kRowSteps = kMaxSteps + W;

enum class Element { kFloat, kBf16, kPair };
constexpr Element kOfBf16 = kHasPairs ? Element::kPair : Element::kBf16;
template <Element E>
constexpr long kElementBytes = E == Element::kFloat ? 4 : 2;
template <Element E>
constexpr long kPerStep = E == Element::kPair ? 2 : 1;

/// W steps of a row that runs along K and has `left` elements from here.
template <Element E>
INLINE vf loadAlong(const char* row, long left) {
  if (E == Element::kFloat) return loadUpTo((int)minOf<long>(left, W), reinterpret_cast<const float*>(row));
  if (E == Element::kBf16) return loadUpTo((int)minOf<long>(left, W), reinterpret_cast<const bf16*>(row));
  bf16 part[2 * W] = {};
  if (left < 2 * W) {
    std::memcpy(part, row, left * sizeof(bf16));
    row = reinterpret_cast<const char*>(part);
  }
  vf v;
  std::memcpy(&v, row, sizeof v);
  return v;
}

/// One step of W neighbouring columns, `n` of them valid, of a matrix whose rows run across K. A pair's second row may be missing.
template <Element E>
INLINE vf loadAcross(const char* row, size_t rowBytes, int n, bool hasSecond = true) {
  if (E == Element::kFloat) return loadUpTo(n, reinterpret_cast<const float*>(row));
  const vf first = loadUpTo(n, reinterpret_cast<const bf16*>(row));
  if (E == Element::kBf16) return first;
  const vu second = hasSecond ? (vu)loadUpTo(n, reinterpret_cast<const bf16*>(row + rowBytes)) : vu{};
  return (vf)((vu)first >> 16 | second);
}

/// W of a panel's columns from step s0 on, each of which runs along K: transposed.
template <Element E>
INLINE void packColumns(float* panel, const char* rows, size_t rowBytes, long validRows, long k, long s0, long numSteps) {
  rows += s0 * kPerStep<E> * kElementBytes<E>;
  const long left = k - s0 * kPerStep<E>;
  vf r[W];
  if (validRows >= W && left >= W * kPerStep<E>) {
#pragma GCC unroll 16
    for (int i = 0; i < W; i++) r[i] = loadAlong<E>(rows + i * rowBytes, W * kPerStep<E>);
  } else {
    for (int i = 0; i < W; i++) r[i] = i < validRows ? loadAlong<E>(rows + i * rowBytes, left) : splat(0);
  }
  interleave(r);
  if (numSteps >= W)
#pragma GCC unroll 16
    for (int i = 0; i < W; i++) store(panel + (s0 + i) * NR, r[i]);
  else
    for (int i = 0; i < numSteps; i++) store(panel + (s0 + i) * NR, r[i]);
}

/// Panels of B: `valid` columns of k elements. The source is walked row by row, since each row is in another page of memory.
template <Element E>
static void packPanels(float* panels, const char* source, bool alongK, size_t rowBytes, long valid, long k) {
  const long steps = divideUp(k, kPerStep<E>), width = roundUp(valid, NR);
  if (alongK) {
    for (long j = 0; j < width; j += W)
      for (long s = 0; s < steps; s += W)
        packColumns<E>(panels + j / NR * NR * steps + j % NR, source + j * rowBytes, rowBytes, valid - j, k, s, steps - s);
    return;
  }
  for (long s = 0; s < steps; s++, source += rowBytes * kPerStep<E>)
    for (long panel = 0; panel < width; panel += NR)
#pragma GCC unroll 3
      for (long j = panel; j < panel + NR; j += W)
        store(panels + panel * steps + s * NR + j - panel,
              loadAcross<E>(source + j * kElementBytes<E>, rowBytes, (int)maxOf<long>(0, minOf<long>(W, valid - j)), (s + 1) * kPerStep<E> <= k));
}

/// Columns n0.. of B, elements k0.. of K, E what bf16 become: pairs only meet pairs. Element (column j, k) of B is at j*ld + k (alongK) or k*ld + j.
template <Element E>
static void packPanels(float* panels, const Floats& b, bool alongK, size_t ld, long n0, long valid, long k0, long k) {
  const size_t at = alongK ? n0 * ld + k0 : k0 * ld + n0, elementBytes = b.bf16 ? 2 : 4;
  const char* source = static_cast<const char*>(b.p) + at * elementBytes;
  if (b.bf16)
    packPanels<E>(panels, source, alongK, ld * elementBytes, valid, k);
  else
    packPanels<Element::kFloat>(panels, source, alongK, ld * elementBytes, valid, k);
}

/// Rows of A that are packed together: a tile where they run along K; else a cache line's worth or more, since every step is another line.
template <bool kAlongK>
constexpr long kGroupRows = kAlongK ? MR : 32;
static_assert(32 % MR == 0 && 32 % W == 0, "a group is whole tiles and whole vectors");

/// Packs a group of rows of A a vector at a time, for other work to do in between: step() moves one vector and asks memory for a later
/// one, finish() does what is left.
namespace {  // what only one object file may define

template <bool kAlongK>
class GroupPacking {
 public:
  GroupPacking() {}

  /// Rows row0.., elements k0.. of K; element (row i, k) of A is at i*ld + k (kAlongK) or k*ld + i.
  GroupPacking(float* tiles, const Floats& a, size_t ld, long row0, long valid, long k0, long k)
      : tiles(tiles), ofBf16(a.bf16), valid(valid), k(k) {
    const long elementBytes = a.bf16 ? 2 : 4, perStep = kHasPairs && a.bf16 ? 2 : 1;
    source = static_cast<const char*>(a.p) + (kAlongK ? row0 * ld + k0 : k0 * ld + row0) * elementBytes;
    rowBytes = ld * elementBytes;
    steps = divideUp(k, perStep);
    if (valid < kGroupRows<kAlongK> || (!kAlongK && k % perStep != 0)) return;  // an edge, left to finish()
    vectorBytes = W * elementBytes * (kAlongK ? perStep : 1);
    vectorsInRow = kAlongK ? divideUp(steps, W) : kGroupRows<kAlongK> / W;
    skip = rowBytes * (kAlongK ? 1 : perStep) - vectorsInRow * vectorBytes;
    numVectors = vectorsInRow * (kAlongK ? MR : steps);
    left = numVectors + kLead;
    from.at = lead.at = source;
    to = tiles;
  }

  inline __attribute__((always_inline)) void step() {
    if (left == 0) return;
    left--;
    // The vector's last byte: JavaScript's arrays begin 16 bytes into a cache line, and the line before was asked for with its neighbour.
    __builtin_prefetch(lead.at + vectorBytes - 1);
    advance(lead);
    if (left >= numVectors) return;
    vf v;
    if (!ofBf16)
      v = loadOne<Element::kFloat>();
    else
      v = loadOne<kOfBf16>();
    if (kAlongK) {
      store(to, v);
      to += W;
    } else {
      storeAcross(to, from.vector * W, v);
    }
    if (advance(from)) to += kAlongK ? kRowSteps - vectorsInRow * W : MR;
  }

  void finish() {
    while (left > 0) step();
    if (numVectors > 0) return;
    if (ofBf16)
      packEdge<kOfBf16>();
    else
      packEdge<Element::kFloat>();
  }

 private:
  // How many vectors the prefetches are ahead: with one vector in 8 steps of the product, 400 ns, a few times what L3 takes.
  static constexpr long kLead = 16;

  struct Place {
    const char* at = nullptr;
    long vector = 0;
  };
  Place from, lead;
  float *tiles = nullptr, *to = nullptr;
  const char* source = nullptr;
  bool ofBf16 = false;
  long valid = 0, k = 0, steps = 0, vectorBytes = 0, vectorsInRow = 0, rowBytes = 0, skip = 0, numVectors = 0, left = 0;

  /// To the next vector; whether that begins another row.
  inline __attribute__((always_inline)) bool advance(Place& place) {
    place.at += vectorBytes;
    if (++place.vector < vectorsInRow) return false;
    place.vector = 0;
    place.at += skip;
    return true;
  }
  template <Element E>
  inline __attribute__((always_inline)) vf loadOne() {
    return kAlongK ? loadAlong<E>(from.at, k - from.vector * W * kPerStep<E>) : loadAcross<E>(from.at, rowBytes, W);
  }
  /// Rows i.. of a step of the group's tiles: several tiles where a vector is wider than a tile.
  inline __attribute__((always_inline)) void storeAcross(float* step, long i, vf v) {
    if (MR >= W) return store(step + i / MR * MR * steps + i % MR, v);
    float parts[W];
    store(parts, v);
#pragma GCC unroll 4
    for (int p = 0; p < W / MR; p++) std::memcpy(step + (i + p * MR) * steps, parts + p * MR, MR * sizeof(float));
  }
  template <Element E>
  void packEdge() {
    if (valid <= 0) return;
    if (kAlongK) {
      for (long i = 0; i < MR; i++)
        for (long s = 0; s < steps; s += W)
          store(tiles + i * kRowSteps + s,
                i < valid ? loadAlong<E>(source + i * rowBytes + s * kPerStep<E> * kElementBytes<E>, k - s * kPerStep<E>) : splat(0));
      return;
    }
    for (long s = 0; s < steps; s++)
      for (long i = 0; i < kGroupRows<kAlongK>; i += W)
        storeAcross(tiles + s * MR, i,
                    loadAcross<E>(source + s * kPerStep<E> * rowBytes + i * kElementBytes<E>, rowBytes,
                                  (int)maxOf<long>(0, minOf<long>(W, valid - i)), (s + 1) * kPerStep<E> <= k));
  }
};

}  // namespace

}  // namespace CONTINUO_VARIANT
