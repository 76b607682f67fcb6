// Unigram segmentation of one piece: the path of highest summed score (Kudo 2018), with the arithmetic, the order of candidates and the
// ties of Hugging Face tokenizers: doubles, shorter tokens first, a later candidate wins only if it is better.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "trie.h"

namespace text {

struct UnigramOptions {
  bool byteFallback, fuseUnknown;
  int32_t unknown;     ///< id; not -1
  int32_t bytes[256];  ///< token of each byte, -1 where there is none
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
