// Words by their bytes: which of them begin at a place in a text.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace text {

/// The tokens' UTF-8 in a row; `ends` and `ids` an entry a token. Of equal tokens the last counts.
struct Words {
  const uint8_t* bytes;
  const int32_t *ends, *ids;
  size_t count;

  std::string word(size_t i) const {
    const int32_t begin = i == 0 ? 0 : ends[i - 1];
    return std::string(reinterpret_cast<const char*>(bytes) + begin, static_cast<size_t>(ends[i] - begin));
  }
};

/// A trie over bytes: all edges in one open-addressed table.
class Trie {
 public:
  static constexpr int32_t kRoot = 0, kNone = -1;

  explicit Trie(size_t numBytes) {
    int bits = 4;
    while ((size_t{1} << bits) < 2 * numBytes + numBytes / 2) bits++;
    shift = 64 - bits;
    edges.assign(size_t{1} << bits, {kFree, 0});
  }

  void insert(const std::string& word, int32_t id) {
    int32_t node = kRoot;
    for (const char c : word) {
      Edge& edge = const_cast<Edge&>(find(node, static_cast<uint8_t>(c)));
      if (edge.key == kFree) {
        edge = {keyOf(node, static_cast<uint8_t>(c)), static_cast<int32_t>(ids.size())};
        ids.push_back(kNone);
      }
      node = edge.child;
    }
    ids[static_cast<size_t>(node)] = id;
  }

  int32_t child(int32_t node, uint8_t byte) const {
    const Edge& edge = find(node, byte);
    return edge.key == kFree ? kNone : edge.child;
  }
  /// The token that ends at the node, or kNone.
  int32_t idAt(int32_t node) const { return ids[static_cast<size_t>(node)]; }
  int32_t find(const uint8_t* begin, const uint8_t* end) const {
    int32_t node = kRoot;
    for (; begin < end && node != kNone; begin++) node = child(node, *begin);
    return node == kNone ? kNone : idAt(node);
  }

 private:
  struct Edge {
    uint64_t key;
    int32_t child;
  };
  static constexpr uint64_t kFree = ~uint64_t{0};
  std::vector<Edge> edges;
  std::vector<int32_t> ids{kNone};
  int shift;

  static uint64_t keyOf(int32_t node, uint8_t byte) { return static_cast<uint64_t>(node) << 8 | byte; }
  const Edge& find(int32_t node, uint8_t byte) const {
    const uint64_t key = keyOf(node, byte);
    size_t i = (key * 0x9E3779B97F4A7C15u) >> shift;
    while (edges[i].key != key && edges[i].key != kFree) i = (i + 1) & (edges.size() - 1);
    return edges[i];
  }
};

}  // namespace text
