// MinHash of word n-grams. Integers only, so every variant gives the same bits as src/kernels/min-hash.ts, which says what each step is.
// Minima are signed, since AVX2 compares 64-bit lanes only so; 14 vectors of 8 lanes hold FineWeb's 112 of them.
#pragma once
#include "../table.h"

namespace CONTINUO_VARIANT {

constexpr uint32_t kFoldBegins = 1 << 17, kFoldEnds = 1 << 18, kFoldDigit = 1 << 19, kFoldNothing = 1 << 20;

struct HashPair {
  uint32_t low, high;
};

static inline uint32_t rotateLeft(uint32_t x, int by) { return (x << by) | (x >> (32 - by)); }

static inline uint32_t finalMix(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x85ebca6bu;
  x = (x ^ (x >> 13)) * 0xc2b2ae35u;
  return x ^ (x >> 16);
}

static inline HashPair mixPair(HashPair p) {
  p.low ^= finalMix(p.high + 0x9e3779b9u);
  p.high ^= finalMix(p.low + 0x7f4a7c15u);
  p.low ^= finalMix(p.high + 0xf39cc060u);
  return p;
}

/// Hashes of the last n-grams, which pass through the multiplications together: minima then stay in registers.
constexpr long kShingleBlock = 128;
constexpr long kMinimaBlock = 56;

static inline void lowerMinima(int64_t* minima, const uint64_t* shingles, long count, const uint64_t* multipliers, const uint64_t* addends,
                               long numHashes) {
  long from = 0;
  for (; from + kMinimaBlock <= numHashes; from += kMinimaBlock) {
    int64_t best[kMinimaBlock];
    uint64_t m[kMinimaBlock], add[kMinimaBlock];
    for (long h = 0; h < kMinimaBlock; h++) best[h] = minima[from + h], m[h] = multipliers[from + h], add[h] = addends[from + h];
    for (long s = 0; s < count; s++) {
      const uint64_t x = shingles[s];
      for (long h = 0; h < kMinimaBlock; h++) {
        const int64_t value = static_cast<int64_t>(m[h] * x + add[h]);
        best[h] = value < best[h] ? value : best[h];
      }
    }
    for (long h = 0; h < kMinimaBlock; h++) minima[from + h] = best[h];
  }
  for (; from < numHashes; from++)
    for (long s = 0; s < count; s++) {
      const int64_t value = static_cast<int64_t>(multipliers[from] * shingles[s] + addends[from]);
      minima[from] = value < minima[from] ? value : minima[from];
    }
}

/// `recent` holds ngram pairs, the caller's. Returns the number of n-grams.
static double minHash(int64_t* minima, const uint16_t* text, long length, const uint32_t* folding, const int64_t* multipliers,
                      const int64_t* addends, uint32_t* recent, long ngram, long numHashes) {
  const uint64_t* m = reinterpret_cast<const uint64_t*>(multipliers);
  const uint64_t* add = reinterpret_cast<const uint64_t*>(addends);
  for (long h = 0; h < numHashes; h++) minima[h] = INT64_MAX;
  uint64_t shingles[kShingleBlock];
  long numShingles = 0, numWords = 0, oldest = 0;
  HashPair word{0, 0};

  const auto endWord = [&] {
    const HashPair mixed = mixPair(word);
    recent[2 * oldest] = mixed.low, recent[2 * oldest + 1] = mixed.high;
    oldest = oldest + 1 == ngram ? 0 : oldest + 1;
    if (++numWords < ngram) return;
    HashPair shingle{0x243f6a88u, 0x85a308d3u};
    for (long j = 0, at = oldest; j < ngram; j++, at = at + 1 == ngram ? 0 : at + 1) {
      shingle.low = (rotateLeft(shingle.low, 13) ^ recent[2 * at]) * 0xcc9e2d51u;
      shingle.high = (rotateLeft(shingle.high, 17) ^ recent[2 * at + 1]) * 0x1b873593u;
    }
    shingle = mixPair(shingle);
    shingles[numShingles++] = static_cast<uint64_t>(shingle.high) << 32 | shingle.low;
    if (numShingles < kShingleBlock) return;
    lowerMinima(minima, shingles, numShingles, m, add, numHashes);
    numShingles = 0;
  };

  bool inWord = false, inDigits = false;
  for (long i = 0; i < length; i++) {
    const uint32_t folded = folding[text[i]];
    if (folded & kFoldNothing) continue;
    if (inWord && (folded == 0 || folded & kFoldBegins)) {
      endWord();
      inWord = false;
    }
    if (folded == 0) continue;
    if (!inWord) {
      word = {0x811c9dc5u, 0x9e3779b9u};
      inDigits = false;
      inWord = true;
    }
    const bool isDigit = folded & kFoldDigit;
    if (!(isDigit && inDigits)) {
      const uint32_t unit = folded & 0xffff;
      word.low = (word.low ^ unit) * 0x01000193u;
      word.high = (rotateLeft(word.high, 5) ^ unit) * 0x85ebca6bu;
    }
    inDigits = isDigit;
    if (folded & kFoldEnds) {
      endWord();
      inWord = false;
    }
  }
  if (inWord) endWord();
  lowerMinima(minima, shingles, numShingles, m, add, numHashes);
  return static_cast<double>(numWords < ngram ? 0 : numWords - ngram + 1);
}

}  // namespace CONTINUO_VARIANT
