// Pieces of text seen before and their ids. The common case, at most 24 bytes and 9 ids, lies in one cache line and costs one look; longer
// ones share an arena. Fixed memory: a new piece takes the place of the one whose slot it has. Reads 24 bytes from a piece's start,
// whatever its length, so 24 readable bytes must follow any text.
#pragma once
#include <cstdint>
#include <cstring>
#include <vector>

namespace text {

constexpr size_t kReadable = 24;  ///< bytes that must be readable from the start of any piece

class PieceCache {
 public:
  struct alignas(64) Slot {
    uint64_t key[3];
    int32_t ids[9];
    uint16_t length;  ///< 0: empty
    uint16_t count;
  };
  static constexpr size_t kShort = 24, kMaxIds = 9, kLong = 400;

  PieceCache() : slots(size_t{1} << kSlotBits), longSlots(size_t{1} << kLongBits) {}

  /// The key of a piece of up to kShort bytes, zero behind its end.
  static void readKey(const uint8_t* p, size_t length, uint64_t key[3]) {
    std::memcpy(key, p, 24);
    const auto firstBytes = [](size_t n) { return n >= 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * n)) - 1; };
    if (length <= 8) {
      key[0] &= firstBytes(length);
      key[1] = key[2] = 0;
    } else if (length <= 16) {
      key[1] &= firstBytes(length - 8);
      key[2] = 0;
    } else {
      key[2] &= firstBytes(length - 16);
    }
  }

  Slot& slotOf(const uint64_t key[3]) {
    uint64_t h = (key[0] ^ (key[1] * 0x9E3779B97F4A7C15u)) * 0xC2B2AE3D27D4EB4Fu ^ key[2] * 0x165667B19E3779F9u;
    h ^= h >> 29;
    return slots[(h * 0x9E3779B97F4A7C15u) >> (64 - kSlotBits)];
  }

  static bool holds(const Slot& slot, const uint64_t key[3], size_t length) {
    return slot.length == length && slot.key[0] == key[0] && slot.key[1] == key[1] && slot.key[2] == key[2];
  }

  static void store(Slot& slot, const uint64_t key[3], size_t length, const int32_t* ids, size_t count) {
    std::memcpy(slot.key, key, sizeof slot.key);
    std::memcpy(slot.ids, ids, count * sizeof *ids);
    slot.length = static_cast<uint16_t>(length);
    slot.count = static_cast<uint16_t>(count);
  }

  /// For pieces that no slot takes: copies the ids to `out` and returns how many, or -1.
  long findLong(const uint8_t* p, size_t length, int32_t* out) const {
    const LongSlot& slot = longSlots[hash(p, length) >> (64 - kLongBits)];
    if (slot.length != length || std::memcmp(&bytes[slot.firstByte], p, length) != 0) return -1;
    std::memcpy(out, &ids[slot.firstId], slot.count * sizeof *out);
    return slot.count;
  }

  void storeLong(const uint8_t* p, size_t length, const int32_t* found, size_t count) {
    if (bytes.size() + length > kArena || ids.size() + count > kArena) {
      bytes.clear();
      ids.clear();
      std::memset(longSlots.data(), 0, longSlots.size() * sizeof(LongSlot));
    }
    LongSlot& slot = longSlots[hash(p, length) >> (64 - kLongBits)];
    slot = {static_cast<uint32_t>(bytes.size()), static_cast<uint32_t>(ids.size()), static_cast<uint16_t>(length), static_cast<uint16_t>(count)};
    bytes.insert(bytes.end(), p, p + length);
    ids.insert(ids.end(), found, found + count);
  }

 private:
  static constexpr int kSlotBits = 16, kLongBits = 15;
  static constexpr size_t kArena = size_t{1} << 21;
  struct LongSlot {
    uint32_t firstByte, firstId;
    uint16_t length, count;
  };
  std::vector<Slot> slots;
  std::vector<LongSlot> longSlots;
  std::vector<uint8_t> bytes;
  std::vector<int32_t> ids;

  static uint64_t hash(const uint8_t* p, size_t length) {
    uint64_t h = length;
    for (size_t i = 0; i < length; i += 8) {
      uint64_t word = 0;
      std::memcpy(&word, p + i, length - i < 8 ? length - i : 8);
      h = (h ^ word) * 0x9E3779B97F4A7C15u;
      h ^= h >> 32;
    }
    return h * 0xC2B2AE3D27D4EB4Fu;
  }
};

}  // namespace text
