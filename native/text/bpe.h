// Byte-pair encoding of one piece: symbols, and merges by lowest rank, leftmost on ties, as Hugging Face tokenizers (and our reference,
// src/tokenizer/bpe.ts). Short pieces scan for the lowest rank; long ones use a heap over a linked list, n log n.
#pragma once
#include <algorithm>
#include <climits>
#include <cstdint>
#include <cstring>
#include <functional>
#include <queue>
#include <unordered_map>
#include <vector>

namespace text {

/// (left id, right id) -> rank and merged id.
class Merges {
 public:
  struct Entry {
    uint64_t pair;
    int32_t rank, id;
  };
  static constexpr int32_t kNone = INT_MAX;

  /// Three numbers a merge, best first: left, right, merged. The last of equal pairs counts.
  Merges(const int32_t* merges, size_t count) {
    int bits = 4;
    while ((size_t{1} << bits) < count * 2 + count / 2) bits++;
    shift = 64 - bits;
    entries.assign(size_t{1} << bits, {kFree, kNone, 0});
    for (size_t rank = 0; rank < count; rank++) {
      const uint64_t pair = pairOf(merges[3 * rank], merges[3 * rank + 1]);
      const_cast<Entry&>(find(pair)) = {pair, static_cast<int32_t>(rank), merges[3 * rank + 2]};
    }
  }

  /// The pair's entry; its rank is kNone where it is no merge.
  const Entry& operator()(int32_t left, int32_t right) const { return find(pairOf(left, right)); }

 private:
  static constexpr uint64_t kFree = ~uint64_t{0};
  std::vector<Entry> entries;
  int shift;

  static uint64_t pairOf(int32_t left, int32_t right) { return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right); }
  const Entry& find(uint64_t pair) const {
    size_t i = (pair * 0x9E3779B97F4A7C15u) >> shift;
    while (entries[i].pair != pair && entries[i].pair != kFree) i = (i + 1) & (entries.size() - 1);
    return entries[i];
  }
};

struct BpeOptions {
  bool chars;          ///< symbols are characters, not bytes
  bool byteFallback;   ///< characters outside the vocabulary become byte tokens where all of them exist
  bool fuseUnknown;    ///< neighbouring unknowns become one
  int32_t unknown;     ///< token of what has no other; -1 drops it
  int32_t bytes[256];  ///< token of each byte, -1 where there is none
};

class Bpe {
 public:
  /// `charIds`: code point and token, alternating.
  Bpe(const BpeOptions& settings, const int32_t* mergeList, size_t numMerges, const int32_t* charIds, size_t numChars)
      : options(settings), merges(mergeList, numMerges) {
    for (size_t i = 0; i < numChars; i++) chars[static_cast<uint32_t>(charIds[2 * i])] = charIds[2 * i + 1];
  }

  /// Writes the ids of a piece, at most one a byte, to `out`; returns how many.
  size_t encode(const uint8_t* piece, size_t length, int32_t* out) {
    const size_t n = options.chars ? charSymbols(piece, length, out) : byteSymbols(piece, length, out);
    if (n < 2) return n;
    return n <= kScanned ? mergeByScan(out, n) : mergeByHeap(out, n);
  }

 private:
  static constexpr size_t kScanned = 48;  // up to here a scan for the lowest rank beats the heap
  const BpeOptions options;
  const Merges merges;
  std::unordered_map<uint32_t, int32_t> chars;

  size_t addUnknown(int32_t* out, size_t n, bool unknownBefore) const {
    if (options.unknown < 0 || (options.fuseUnknown && unknownBefore)) return n;
    out[n] = options.unknown;
    return n + 1;
  }

  size_t byteSymbols(const uint8_t* piece, size_t length, int32_t* out) const {
    size_t n = 0;
    bool unknownBefore = false;
    for (size_t i = 0; i < length; i++) {
      const int32_t id = options.bytes[piece[i]];
      if (id >= 0)
        out[n++] = id;
      else
        n = addUnknown(out, n, unknownBefore);
      unknownBefore = id < 0;
    }
    return n;
  }

  size_t charSymbols(const uint8_t* piece, size_t length, int32_t* out) const {
    size_t n = 0;
    bool unknownBefore = false;
    for (size_t i = 0, size; i < length; i += size) {
      const uint8_t lead = piece[i];
      size = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
      uint32_t code = size == 1 ? lead : lead & (0x7Fu >> size);
      for (size_t k = 1; k < size; k++) code = code << 6 | (piece[i + k] & 0x3Fu);
      const auto known = chars.find(code);
      bool unknown = false;
      if (known != chars.end())
        out[n++] = known->second;
      else if (options.byteFallback && std::all_of(piece + i, piece + i + size, [&](uint8_t byte) { return options.bytes[byte] >= 0; }))
        for (size_t k = 0; k < size; k++) out[n++] = options.bytes[piece[i + k]];
      else {
        n = addUnknown(out, n, unknownBefore);
        unknown = true;
      }
      unknownBefore = unknown;
    }
    return n;
  }

  size_t mergeByScan(int32_t* symbols, size_t n) const {
    Merges::Entry next[kScanned];  // of symbol i and the one behind it
    for (size_t i = 0; i + 1 < n; i++) next[i] = merges(symbols[i], symbols[i + 1]);
    while (n > 1) {
      size_t best = 0;
      for (size_t i = 1; i + 1 < n; i++)
        if (next[i].rank < next[best].rank) best = i;
      if (next[best].rank == Merges::kNone) break;
      symbols[best] = next[best].id;
      n--;
      for (size_t i = best + 1; i < n; i++) symbols[i] = symbols[i + 1], next[i] = next[i + 1];
      if (best > 0) next[best - 1] = merges(symbols[best - 1], symbols[best]);
      if (best + 1 < n) next[best] = merges(symbols[best], symbols[best + 1]);
    }
    return n;
  }

  size_t mergeByHeap(int32_t* symbols, size_t n) const {
    struct Link {
      int32_t previous, next;
    };
    constexpr int32_t kGone = -1;
    std::vector<Link> links(n);
    std::vector<uint64_t> heap;  // rank, position
    heap.reserve(n);
    for (size_t i = 0; i < n; i++) {
      links[i] = {static_cast<int32_t>(i) - 1, i + 1 < n ? static_cast<int32_t>(i) + 1 : -1};
      if (i + 1 == n) break;
      const int32_t rank = merges(symbols[i], symbols[i + 1]).rank;
      if (rank != Merges::kNone) heap.push_back(static_cast<uint64_t>(rank) << 32 | i);
    }
    std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<>> queue(std::greater<>(), std::move(heap));
    const auto offer = [&](int32_t left) {
      const int32_t rank = merges(symbols[left], symbols[links[left].next]).rank;
      if (rank != Merges::kNone) queue.push(static_cast<uint64_t>(rank) << 32 | static_cast<uint32_t>(left));
    };
    while (!queue.empty()) {
      const int32_t rank = static_cast<int32_t>(queue.top() >> 32), left = static_cast<int32_t>(queue.top() & 0xFFFFFFFF);
      queue.pop();
      // Entries go stale when a neighbour was merged first.
      const int32_t right = links[left].next;
      if (symbols[left] == kGone || right < 0) continue;
      const Merges::Entry& merge = merges(symbols[left], symbols[right]);
      if (merge.rank != rank) continue;
      symbols[left] = merge.id;
      symbols[right] = kGone;
      links[left].next = links[right].next;
      if (links[left].next >= 0) {
        links[links[left].next].previous = left;
        offer(left);
      }
      if (links[left].previous >= 0) offer(links[left].previous);
    }
    size_t count = 0;
    for (int32_t i = 0; i >= 0; i = links[i].next) symbols[count++] = symbols[i];
    return count;
  }
};

}  // namespace text
