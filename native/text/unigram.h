// Unigram segmentation of one piece: the path of highest summed score (Kudo 2018), with the arithmetic, the order of candidates and the
// ties of Hugging Face tokenizers: doubles, shorter tokens first, a later candidate wins only if it is better.
#pragma once
#include <algorithm>
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

struct UnigramOptions {
  bool byteFallback, fuseUnknown;
  int32_t unknown;     ///< id; not -1
  int32_t bytes[256];  ///< token of each byte, -1 where there is none
};

/// The tokens as a trie over bytes: edges in one open-addressed table.
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

class Unigram {
 public:
  /// `scores`: of each word; ids are the words' positions.
  Unigram(const UnigramOptions& settings, const Words& words, const double* wordScores)
      : options(settings), scores(wordScores, wordScores + words.count), trie(words.count ? static_cast<size_t>(words.ends[words.count - 1]) : 0) {
    double least = scores.empty() ? 0 : scores[0];
    for (size_t i = 0; i < words.count; i++) {
      least = std::min(least, scores[i]);
      const std::string word = words.word(i);
      if (!word.empty()) trie.insert(word, words.ids[i]);
    }
    unknownScore = least - 10;  // the penalty of SentencePiece
  }

  /// Writes the ids of a piece, at most one a byte, to `out`; returns how many.
  size_t encode(const uint8_t* piece, size_t length, int32_t* out) {
    best.assign(length + 1, {0, -1, 0});
    for (size_t start = 0, size; start < length; start += size) {
      const uint8_t lead = piece[start];
      size = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
      const double before = best[start].score;
      bool isToken = false;
      int32_t node = Trie::kRoot;
      for (size_t end = start; end < length && (node = trie.child(node, piece[end])) != Trie::kNone;) {
        end++;
        const int32_t id = trie.idAt(node);
        if (id < 0) continue;
        offer(best[end], scores[static_cast<size_t>(id)] + before, start, id);
        isToken = isToken || end - start == size;
      }
      if (!isToken) offer(best[start + size], unknownScore + before, start, options.unknown);
    }
    return writePath(piece, length, out);
  }

 private:
  struct Node {
    double score;
    int64_t start;  ///< of the last token on the best path to here; -1: no path yet
    int32_t id;
  };
  const UnigramOptions options;
  std::vector<double> scores;
  double unknownScore;
  Trie trie;
  std::vector<Node> best;      ///< by end
  struct Span {
    size_t begin, end;
    int32_t id;
  };
  std::vector<Span> path;

  static void offer(Node& node, double score, size_t start, int32_t id) {
    if (node.start < 0 || score > node.score) node = {score, static_cast<int64_t>(start), id};
  }

  size_t writePath(const uint8_t* piece, size_t length, int32_t* out) {
    path.clear();
    bool unknownBehind = false;
    for (size_t end = length; end > 0;) {
      const size_t start = static_cast<size_t>(best[end].start);
      const bool unknown = best[end].id == options.unknown;
      if (unknown && unknownBehind && options.fuseUnknown)
        path.back().begin = start;
      else
        path.push_back({start, end, best[end].id});
      unknownBehind = unknown;
      end = start;
    }
    size_t n = 0;
    for (auto span = path.rbegin(); span != path.rend(); span++) {
      const uint8_t *begin = piece + span->begin, *end = piece + span->end;
      // Unknown characters in a row can spell a token.
      const int32_t id = span->id == options.unknown ? trie.find(begin, end) : span->id;
      if (id >= 0) {
        out[n++] = id;
        continue;
      }
      bool spelled = options.byteFallback;
      for (const uint8_t* p = begin; p < end && spelled; p++) spelled = options.bytes[*p] >= 0;
      if (spelled)
        for (const uint8_t* p = begin; p < end; p++) out[n++] = options.bytes[*p];
      else
        out[n++] = options.unknown;
    }
    return n;
  }
};

}  // namespace text
