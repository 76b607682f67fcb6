// MinHash beside a slow one that follows its definition: words first, then n-grams, then each hash by itself.
#include <string>
#include <utility>

#include "check.h"

namespace {

using Pair = std::pair<uint32_t, uint32_t>;

uint32_t rotated(uint32_t x, int by) { return x << by | x >> (32 - by); }
uint32_t mixed(uint32_t x) {
  x ^= x >> 16, x *= 0x85ebca6b, x ^= x >> 13, x *= 0xc2b2ae35;
  return x ^ x >> 16;
}
Pair mixed(Pair p) {
  p.first ^= mixed(p.second + 0x9e3779b9);
  p.second ^= mixed(p.first + 0x7f4a7c15);
  p.first ^= mixed(p.second + 0xf39cc060);
  return p;
}
Pair hashWord(const std::vector<uint16_t>& units) {
  Pair p{0x811c9dc5, 0x9e3779b9};
  for (const uint16_t unit : units) p.first = (p.first ^ unit) * 0x01000193, p.second = (rotated(p.second, 5) ^ unit) * 0x85ebca6b;
  return mixed(p);
}

}  // namespace

TEST(minHash) {
  // Letters a and b, a separator, a unit that is a word by itself, digits of which a run counts once, and one that is not there.
  const Block<uint32_t> folding(1 << 16, [](long unit) -> uint32_t {
    if (unit == 'w') return 1 << 16 | 1 << 17 | 1 << 18 | 'w';
    if (unit == '0' || unit == '1') return 1 << 16 | 1 << 19 | '0';
    return unit == ' ' ? 0 : unit == '-' ? 1 << 20 : 1 << 16 | (uint32_t)unit;
  });
  for (const long length : {0, 1, 9, 40, 3000})
    for (const long ngram : {1, 2, 5})
      for (const long numHashes : {1, 8, 56, 112, 121}) {
        const Block<uint16_t> text(length, [&](long i) -> uint16_t { return "ab w01- "[(long)((randomValue(length, i) + 1) * 4)]; });
        const Block<int64_t> multipliers(numHashes, [](long h) { return (int64_t)((uint64_t)(2 * h + 1) * 0x9e3779b97f4a7c15u); });
        const Block<int64_t> addends(numHashes, [](long h) { return (int64_t)((uint64_t)h * 0xd1342543de82ef95u); });
        const Block<int64_t> minima(numHashes, (int64_t)7);
        const Block<uint32_t> recent(2 * ngram, 9u);

        std::vector<Pair> words;
        std::vector<uint16_t> word;
        const auto end = [&] {
          if (!word.empty()) words.push_back(hashWord(word));
          word.clear();
        };
        for (long i = 0; i < length; i++) {
          const uint16_t unit = text[i];
          if (unit == '-') continue;
          if (unit == ' ' || unit == 'w') end();
          if (unit == ' ') continue;
          const bool isDigit = unit == '0' || unit == '1';
          if (!isDigit || word.empty() || word.back() != '0') word.push_back(isDigit ? '0' : unit);
          if (unit == 'w') end();
        }
        end();
        const long numNgrams = (long)words.size() < ngram ? 0 : words.size() - ngram + 1;
        std::vector<int64_t> expected(numHashes, INT64_MAX);
        for (long i = 0; i < numNgrams; i++) {
          Pair p{0x243f6a88, 0x85a308d3};
          for (long j = i; j < i + ngram; j++) {
            p.first = (rotated(p.first, 13) ^ words[j].first) * 0xcc9e2d51;
            p.second = (rotated(p.second, 17) ^ words[j].second) * 0x1b873593;
          }
          p = mixed(p);
          const uint64_t x = (uint64_t)p.second << 32 | p.first;
          for (long h = 0; h < numHashes; h++) {
            const int64_t value = (int64_t)((uint64_t)multipliers[h] * x + (uint64_t)addends[h]);
            if (value < expected[h]) expected[h] = value;
          }
        }
        const double count = kernels.minHash(minima.data(), text.data(), length, folding.data(), multipliers.data(), addends.data(), recent.data(),
                                             ngram, numHashes);
        CHECK(count == numNgrams);
        for (long h = 0; h < numHashes; h++) CHECK(minima[h] == expected[h]);
      }
}
