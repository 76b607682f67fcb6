// Matching of pre-tokenizer patterns on UTF-8: a small backtracking machine over classes of code points. Not a regular-expression
// library: programs come from src/tokenizer/native-pattern.ts, which compiles what it can say exactly and nothing else.
// A class is a bit; a table gives each code point the bits of all classes it is in, so that every test is one AND. Text is valid UTF-8
// and ends in the byte kEnd, which no text contains and no class holds, so no loop needs to ask for the end.
#pragma once
#include <cstdint>
#include <vector>

namespace text {

constexpr uint8_t kEnd = 0xFF;

/// Bits of classes by code point.
struct Classes {
  uint32_t ascii[256] = {};            ///< by byte; 0 from 0x80 on
  std::vector<uint16_t> blockOf;       ///< by code point / 128
  std::vector<uint32_t> blocks;        ///< 128 entries a block

  /// Of the character at p, and its size in bytes; none, and 0, at the end.
  uint32_t at(const uint8_t* p, int& size) const {
    if (*p < 0x80) {
      size = 1;
      return ascii[*p];
    }
    uint32_t code;
    if (*p < 0xE0) {
      code = (*p & 0x1Fu) << 6 | (p[1] & 0x3Fu);
      size = 2;
    } else if (*p < 0xF0) {
      code = (*p & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
      size = 3;
    } else if (*p != kEnd) {
      code = (*p & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
      size = 4;
    } else {
      size = 0;
      return 0;
    }
    return blocks[blockOf[code >> 7] * 128u + (code & 127)];
  }
};

/// Instructions, as native-pattern.ts writes them: the operation, then its operands.
enum Operation : int32_t {
  kMatch,  ///< the pattern has matched
  kOne,    ///< classes: one character of them
  kRun,    ///< classes, least, most, keep: as many as there are; fewer if the rest fails, unless `keep`
  kTry,    ///< offset: go on; if that fails, at the offset from this instruction
  kJump,   ///< offset from this instruction
  kAhead,  ///< classes, wanted: the next character is of the classes (1), or is not or does not exist (0)
};

class Program {
 public:
  /// `alternatives`: start and first classes of each, in order of preference.
  Program(const Classes& classOf, std::vector<int32_t> instructions, const std::vector<int32_t>& alternatives)
      : classes(classOf), code(std::move(instructions)) {
    for (size_t i = 0; i + 1 < alternatives.size(); i += 2) {
      starts.push_back(alternatives[i]);
      firsts.push_back(static_cast<uint32_t>(alternatives[i + 1]));
      anyFirst |= firsts.back();
    }
    for (int byte = 0; byte < 128; byte++) candidates[byte] = candidatesOf(classes.ascii[byte]);
  }

  /// The end of the match that begins at p, or null.
  const uint8_t* match(const uint8_t* p) const {
    uint32_t left;
    if (*p < 0x80) {
      left = candidates[*p];
    } else {
      int size;
      left = candidatesOf(classes.at(p, size));
    }
    for (; left; left &= left - 1)
      if (const uint8_t* end = run(&code[starts[__builtin_ctz(left)]], p)) return end;
    return nullptr;
  }

 private:
  const Classes& classes;
  std::vector<int32_t> code;
  std::vector<int32_t> starts;
  std::vector<uint32_t> firsts;
  uint32_t anyFirst = 0;
  uint32_t candidates[128];  ///< by byte: bit i where alternative i can begin with it

  uint32_t candidatesOf(uint32_t bits) const {
    if (!(bits & anyFirst)) return 0;
    uint32_t found = 0;
    for (size_t i = 0; i < firsts.size(); i++) found |= (bits & firsts[i] ? 1u : 0u) << i;
    return found;
  }

  const uint8_t* run(const int32_t* pc, const uint8_t* p) const {
    for (;;) {
      switch (*pc) {
        case kMatch:
          return p;
        case kOne: {
          int size;
          if (!(classes.at(p, size) & static_cast<uint32_t>(pc[1]))) return nullptr;
          p += size;
          pc += 2;
          break;
        }
        case kRun: {
          const uint32_t wanted = static_cast<uint32_t>(pc[1]);
          const int32_t least = pc[2], most = pc[3];
          int32_t count = 0;
          for (int size; count < most && (classes.at(p, size) & wanted); count++) p += size;
          if (count < least) return nullptr;
          const bool keep = pc[4];
          pc += 5;
          if (keep) break;
          for (; count > least; count--) {
            if (const uint8_t* end = run(pc, p)) return end;
            do p--;
            while ((*p & 0xC0) == 0x80);
          }
          break;
        }
        case kTry:
          if (const uint8_t* end = run(pc + 2, p)) return end;
          pc += pc[1];
          break;
        case kJump:
          pc += pc[1];
          break;
        default: {  // kAhead
          int size;
          if (((classes.at(p, size) & static_cast<uint32_t>(pc[1])) != 0) != (pc[2] != 0)) return nullptr;
          pc += 3;
        }
      }
    }
  }
};

/// What becomes of matches and of the text between them; the first five as Hugging Face tokenizers names them.
enum Behavior : int32_t { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

struct Splitter {
  Program program;
  Behavior behavior;
  bool invert;  ///< matches and gaps change places

  /// Calls emit(begin, end) for each piece of [begin, end), in order. The byte at `end` is put back before each call.
  template <class Emit>
  void split(uint8_t* begin, uint8_t* end, const Emit& emit) const {
    const uint8_t behind = *end;
    Span last{nullptr, nullptr, false};
    bool wasMatch = false;
    const auto hand = [&](const Span& span) {
      if (!span.begin || (behavior == kRemoved && span.isMatch)) return;
      *end = behind;
      emit(span.begin, span.end);
      *end = kEnd;
    };
    const auto add = [&](uint8_t* from, uint8_t* to, bool matched) {
      const Span span{from, to, matched != invert};
      if (behavior <= kRemoved) return hand(span);
      const bool joins = behavior == kContiguous           ? span.isMatch == wasMatch
                         : behavior == kMergedWithPrevious ? span.isMatch && !wasMatch
                                                           : !span.isMatch && wasMatch;
      if (last.begin && joins) {
        last.end = to;
      } else {
        hand(last);
        last = span;
      }
      wasMatch = span.isMatch;
    };
    *end = kEnd;
    const uint8_t* matched = begin < end ? program.match(begin) : nullptr;
    for (uint8_t* p = begin; p < end;) {
      uint8_t* to = p;
      if (matched) {
        to = const_cast<uint8_t*>(matched);
        add(p, to, true);
        matched = program.match(to);
      } else {
        do {
          to++;
          while ((*to & 0xC0) == 0x80) to++;
        } while (to < end && !(matched = program.match(to)));
        add(p, to, false);
      }
      p = to;
    }
    hand(last);
    *end = behind;
  }

 private:
  struct Span {
    uint8_t *begin, *end;
    bool isMatch;
  };

 public:
  Splitter(Program p, Behavior b, bool i) : program(std::move(p)), behavior(b), invert(i) {}
};

}  // namespace text
