// Text -> token ids, for the pipelines that src/tokenizer/native-plan.ts describes: spaces marked, a prefix, splits by patterns, then
// byte-pair encoding or Unigram of each piece. Special tokens, normalisation to NFC and everything rarer stay in TypeScript.
// An encoder belongs to one thread: its buffers and its cache are reused by every call.
#pragma once
#include <algorithm>
#include <memory>

#include "bpe.h"
#include "joins.h"
#include "pattern.h"
#include "piece-cache.h"
#include "unigram.h"

namespace text {

enum PrefixRule : int32_t {
  kNoPrefix,
  kAlways,
  kUnlessThere,         ///< of texts that do not begin with it
  kAtStartUnlessThere,  ///< the same, only where the text begins the document
};

/// How texts, or the pieces of the first `afterSplits` splitters, are marked before they are split further.
struct Marking {
  size_t afterSplits;
  std::vector<uint8_t> spaceAs;  ///< what a space becomes; empty leaves it
  std::vector<uint8_t> prefix;
  PrefixRule prefixRule;
};

class Encoder {
 public:
  Classes classes;
  std::vector<Splitter> splitters;
  std::unique_ptr<Bpe> bpe;
  std::unique_ptr<Unigram> unigram;
  std::unique_ptr<Joins> joins;  ///< null: pieces are not cut where nothing joins
  /// Tokens that are cut out of the text before all else, the longest that begins first.
  std::unique_ptr<Trie> added;
  bool addedBegins[256] = {};  ///< by first byte
  /// Pieces that are one token whatever the merges say.
  std::unordered_map<std::string, int32_t> whole;

  explicit Encoder(Marking rule) : marking(std::move(rule)) {}

  /// Where to write `size` bytes of UTF-8 (and a zero, if wanted) for encode().
  uint8_t* reserve(size_t size) {
    grow(text, size + kReadable + 1);
    return text.data();
  }

  /// Ids of the `size` bytes that were written; valid until the next call.
  std::pair<const int32_t*, size_t> encode(size_t size, bool isStart, bool withAdded) {
    atStart = isStart;
    next = ids.data();
    if (withAdded && added)
      cutAdded(text.data(), text.data() + size);
    else
      encodeStretch(text.data(), text.data() + size);
    return {ids.data(), static_cast<size_t>(next - ids.data())};
  }

  /// Gives back what a very long text took.
  void trim() {
    if (ids.size() <= kKeptIds) return;
    ids = {};
    text = {};
    marked = {};
  }

 private:
  static constexpr int32_t kPassedOver = -2;  // an added token that stays in the text
  static constexpr size_t kKeptIds = size_t{1} << 24;
  const Marking marking;
  std::vector<uint8_t> text, marked;
  std::vector<int32_t> ids;
  int32_t* next = nullptr;
  bool atStart = false;
  PieceCache cache;

  template <class T>
  static void grow(std::vector<T>& buffer, size_t size) {
    if (buffer.size() < size) buffer.resize(size);
  }

  /// A byte is at most one token, so encoding `size` bytes asks for no more room.
  void reserveIds(size_t size) {
    const size_t used = static_cast<size_t>(next - ids.data());
    grow(ids, used + size);
    next = ids.data() + used;
  }

  bool marks() const { return !marking.spaceAs.empty() || marking.prefixRule != kNoPrefix; }

  /// Copies the piece to `marked`, with marks and prefix; returns its size there.
  size_t mark(const uint8_t* begin, size_t size) {
    const auto& [after, spaceAs, prefix, rule] = marking;
    const size_t spaces = spaceAs.empty() ? 0 : static_cast<size_t>(std::count(begin, begin + size, ' '));
    const size_t newSize = size + spaces * spaceAs.size() - spaces;
    grow(marked, prefix.size() + newSize + kReadable);
    uint8_t* const body = marked.data() + prefix.size();
    uint8_t* to = body;
    for (size_t i = 0; i < size; i++) {
      if (begin[i] == ' ' && spaces > 0)
        to = std::copy(spaceAs.begin(), spaceAs.end(), to);
      else
        *to++ = begin[i];
    }
    const bool there = newSize >= prefix.size() && std::equal(prefix.begin(), prefix.end(), body);
    const bool wanted = rule == kAlways || (!there && (rule == kUnlessThere || (rule == kAtStartUnlessThere && atStart)));
    atStart = false;
    if (!wanted) {
      std::memmove(marked.data(), body, newSize);
      return newSize;
    }
    std::copy(prefix.begin(), prefix.end(), marked.begin());
    return prefix.size() + newSize;
  }

  void encodeStretch(uint8_t* begin, uint8_t* end) {
    reserveIds(static_cast<size_t>(end - begin));
    cut(0, begin, end);
  }

  void cutAdded(uint8_t* begin, uint8_t* end) {
    uint8_t* start = begin;
    for (uint8_t* p = begin; p < end;) {
      int32_t found = Trie::kNone, node = Trie::kRoot;
      uint8_t* foundEnd = p;
      if (addedBegins[*p])
        for (uint8_t* q = p; q < end && (node = added->child(node, *q)) != Trie::kNone;) {
          q++;
          if (added->idAt(node) == Trie::kNone) continue;
          found = added->idAt(node);
          foundEnd = q;
        }
      if (found == Trie::kNone) {
        p++;
        continue;
      }
      if (found != kPassedOver) {
        encodeStretch(start, p);
        reserveIds(1);
        *next++ = found;
        atStart = false;
        start = foundEnd;
      }
      p = foundEnd;
    }
    encodeStretch(start, end);
  }

  void cut(size_t stage, uint8_t* begin, uint8_t* end) {
    if (begin == end) return;
    if (stage == marking.afterSplits && marks()) {
      const size_t size = mark(begin, static_cast<size_t>(end - begin));
      reserveIds(size);
      begin = marked.data();
      end = begin + size;
    }
    const auto encodeAll = [this](const uint8_t* from, const uint8_t* to) { encodePiece(from, static_cast<size_t>(to - from)); };
    if (stage == splitters.size()) return joins ? joins->split(begin, end, encodeAll) : encodeAll(begin, end);
    splitters[stage].split(begin, end, [&](uint8_t* from, uint8_t* to) { cut(stage + 1, from, to); });
  }

  void encodePiece(const uint8_t* piece, size_t length) {
    if (length > PieceCache::kShort) return encodeLong(piece, length);
    uint64_t key[3];
    PieceCache::readKey(piece, length, key);
    PieceCache::Slot& slot = cache.slotOf(key);
    if (PieceCache::holds(slot, key, length)) {
      for (size_t i = 0; i < slot.count; i++) next[i] = slot.ids[i];
      next += slot.count;
      return;
    }
    const size_t count = encodeAfresh(piece, length);
    if (count <= PieceCache::kMaxIds) PieceCache::store(slot, key, length, next, count);
    next += count;
  }

  void encodeLong(const uint8_t* piece, size_t length) {
    if (length > PieceCache::kLong) {
      next += encodeAfresh(piece, length);
      return;
    }
    const long known = cache.findLong(piece, length, next);
    const size_t count = known >= 0 ? static_cast<size_t>(known) : encodeAfresh(piece, length);
    if (known < 0) cache.storeLong(piece, length, next, count);
    next += count;
  }

  size_t encodeAfresh(const uint8_t* piece, size_t length) {
    if (unigram) return unigram->encode(piece, length, next);
    if (!whole.empty()) {
      const auto known = whole.find(std::string(reinterpret_cast<const char*>(piece), length));
      if (known != whole.end()) {
        *next = known->second;
        return 1;
      }
    }
    return bpe->encode(piece, length, next);
  }
};

}  // namespace text
