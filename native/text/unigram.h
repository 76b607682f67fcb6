// Unigram segmentation of one piece: the path of highest summed score (Kudo 2018), with the arithmetic, the order of candidates and the
// ties of Hugging Face tokenizers: doubles, shorter tokens first, a later candidate wins only if it is better.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
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

class Unigram {
 public:
  /// `scores`: of each word; ids are the words' positions.
  Unigram(const UnigramOptions& settings, const Words& words, const double* wordScores)
      : options(settings), scores(wordScores, wordScores + words.count), nodes(1) {
    double least = 0;
    for (size_t i = 0; i < words.count; i++) {
      if (i == 0 || scores[i] < least) least = scores[i];
      const std::string word = words.word(i);
      if (word.empty()) continue;
      int32_t node = 0;
      for (const char c : word) {
        const auto [edge, isNew] = edges.try_emplace(key(node, static_cast<uint8_t>(c)), static_cast<int32_t>(nodes.size()));
        node = edge->second;
        if (isNew) nodes.push_back(-1);
      }
      nodes[static_cast<size_t>(node)] = words.ids[i];
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
      int32_t node = 0;
      for (size_t end = start; end < length && (node = child(node, piece[end])) > 0;) {
        end++;
        const int32_t id = nodes[static_cast<size_t>(node)];
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
  std::unordered_map<uint64_t, int32_t> edges;
  std::vector<int32_t> nodes;  ///< token that ends here, or -1; 0 is the root
  std::vector<Node> best;      ///< by end
  std::vector<std::pair<size_t, size_t>> path;

  static uint64_t key(int32_t node, uint8_t byte) { return static_cast<uint64_t>(node) << 8 | byte; }
  int32_t child(int32_t node, uint8_t byte) const {
    const auto edge = edges.find(key(node, byte));
    return edge == edges.end() ? -1 : edge->second;
  }
  int32_t find(const uint8_t* begin, const uint8_t* end) const {
    int32_t node = 0;
    for (; begin < end && node >= 0; begin++) node = child(node, *begin);
    return node < 0 ? -1 : nodes[static_cast<size_t>(node)];
  }
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
        path.back().first = start;
      else
        path.push_back({start, end});
      unknownBehind = unknown;
      end = start;
    }
    size_t n = 0;
    for (auto span = path.rbegin(); span != path.rend(); span++) {
      const uint8_t *begin = piece + span->first, *end = piece + span->second;
      const int32_t id = find(begin, end);
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
