// Where byte-pair encoding over characters can never join two neighbours: between characters that no merge has on the two sides of its
// seam. Text is cut there, which changes no id and leaves short pieces that repeat: a vocabulary with spaces at the front of words, as
// SentencePiece trains it, joins few of the possible pairs, and none across a character that it lacks.
#pragma once
#include <cstdint>
#include <vector>

namespace text {

class Joins {
 public:
  /// Pairs of code points that some merge joins.
  Joins(const int32_t* pairs, size_t count) : near(kNear * kNear, false) {
    int bits = 4;
    while ((size_t{1} << bits) < 2 * count + count / 2) bits++;
    shift = 64 - bits;
    far.assign(size_t{1} << bits, kFree);
    for (size_t i = 0; i < count; i++) {
      const uint32_t left = indexOf(static_cast<uint32_t>(pairs[2 * i])), right = indexOf(static_cast<uint32_t>(pairs[2 * i + 1]));
      if (left < kNear && right < kNear)
        near[left * kNear + right] = true;
      else
        far[slotOf(pairOf(left, right))] = pairOf(left, right);
    }
  }

  /// Calls emit(begin, end) for each piece of [begin, end), in order.
  template <class Emit>
  void split(const uint8_t* begin, const uint8_t* end, const Emit& emit) const {
    const uint8_t* start = begin;
    int size;
    uint32_t before = indexAt(begin, size);
    for (const uint8_t* p = begin + size; p < end; p += size) {
      const uint32_t index = indexAt(p, size);
      if (!joined(before, index)) {
        emit(start, p);
        start = p;
      }
      before = index;
    }
    emit(start, end);
  }

 private:
  static constexpr uint32_t kMark = 0x2581, kNear = 129;  // ASCII and the mark of spaces
  static constexpr uint64_t kFree = ~uint64_t{0};
  std::vector<uint8_t> near;
  std::vector<uint64_t> far;
  int shift;

  /// ASCII as it is, then the mark, then all others by code point.
  static uint32_t indexOf(uint32_t code) { return code < 0x80 ? code : code == kMark ? 0x80 : code + kNear; }

  static uint32_t indexAt(const uint8_t* p, int& size) {
    size = 1;
    if (*p < 0x80) return *p;
    size = *p < 0xE0 ? 2 : *p < 0xF0 ? 3 : 4;
    uint32_t code = *p & (0x7Fu >> size);
    for (int k = 1; k < size; k++) code = code << 6 | (p[k] & 0x3Fu);
    return indexOf(code);
  }

  static uint64_t pairOf(uint32_t left, uint32_t right) { return static_cast<uint64_t>(left) << 32 | right; }

  size_t slotOf(uint64_t pair) const {
    size_t i = (pair * 0x9E3779B97F4A7C15u) >> shift;
    while (far[i] != pair && far[i] != kFree) i = (i + 1) & (far.size() - 1);
    return i;
  }

  bool joined(uint32_t left, uint32_t right) const {
    if (left < kNear && right < kNear) return near[left * kNear + right];
    return far[slotOf(pairOf(left, right))] != kFree;
  }
};

}  // namespace text
