// The text encoder under the sanitizers: random UTF-8 of all lengths through each kind of pipeline. What the ids are is compared with
// TypeScript and with Hugging Face tokenizers elsewhere (test/tokenizer, test/python); here they must spell the text, and be the same from
// the cache, from an encoder that saw nothing before, and for a piece longer than any cache takes.
#include <random>

#include "../../native/text/encoder.h"
#include "check.h"

using namespace text;

namespace {

/// Classes: letters (all beyond ASCII too), digits, spaces, others.
constexpr int32_t kLetter = 1, kDigit = 2, kSpace = 4, kOther = 8;

void fillClasses(Classes& classes) {
  for (int byte = 0; byte < 128; byte++) {
    const bool letter = (byte | 32) >= 'a' && (byte | 32) <= 'z', digit = byte >= '0' && byte <= '9';
    classes.ascii[byte] = letter ? kLetter : digit ? kDigit : byte == ' ' || byte == '\n' ? kSpace : kOther;
  }
  classes.blockOf.assign(0x110000 / 128, 0);
  classes.blocks.assign(128, kLetter);
}

/// As GPT-2's: a space and letters or others; single digits; spaces but for the last one before something else.
void addSplitter(Encoder& encoder, Behavior behavior) {
  fillClasses(encoder.classes);
  const int32_t many = INT32_MAX;
  const std::vector<int32_t> code = {
      kRun, kSpace, 0, 1, 1, kRun, kLetter, 1, many, 1, kMatch,          //
      kOne, kDigit, kMatch,                                              //
      kTry, 9, kRun, kSpace, 0, 1, 0, kJump, 2, kRun, kOther, 1, many, 0, kMatch,  //
      kRun, kSpace, 1, many, 0, kAhead, kLetter | kDigit | kOther, 0, kMatch,      //
      kRun, kSpace, 1, many, 1, kMatch};
  const std::vector<int32_t> alternatives = {0, kLetter | kSpace, 11, kDigit, 14, kOther | kSpace, 29, kSpace, 38, kSpace};
  encoder.splitters.emplace_back(Program(encoder.classes, code, alternatives), behavior, false);
}

struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<int32_t> merges;
};

/// 256 byte tokens, then merges of random earlier ones of at most 12 bytes.
Vocabulary bytesAndMerges(std::mt19937& random) {
  Vocabulary v;
  for (int byte = 0; byte < 256; byte++) v.tokens.push_back(std::string(1, static_cast<char>(byte)));
  const char* const pairs[] = {"th", "the", " t", " the", "in", "an", "  ", "    ", "e ", "12", "\xC3\xA9", "\xE4\xB8\xAD", "!!", "!!!!"};
  const auto find = [&](const std::string& text) {
    for (size_t i = 0; i < v.tokens.size(); i++)
      if (v.tokens[i] == text) return static_cast<int32_t>(i);
    return -1;
  };
  const auto add = [&](int32_t left, int32_t right) {
    v.merges.insert(v.merges.end(), {left, right, static_cast<int32_t>(v.tokens.size())});
    v.tokens.push_back(v.tokens[left] + v.tokens[right]);
  };
  for (const std::string wanted : pairs)
    for (size_t cut = 1; cut < wanted.size(); cut++)
      if (find(wanted) < 0 && find(wanted.substr(0, cut)) >= 0 && find(wanted.substr(cut)) >= 0) add(find(wanted.substr(0, cut)), find(wanted.substr(cut)));
  while (v.tokens.size() < 400) {
    const int32_t left = 32 + random() % 95, right = random() % 4 ? 32 + random() % 95 : 256 + random() % (v.tokens.size() - 256);
    if (find(v.tokens[left] + v.tokens[right]) < 0 && v.tokens[left].size() + v.tokens[right].size() <= 12) add(left, right);
  }
  return v;
}

std::string randomText(std::mt19937& random, size_t numChars) {
  const char* const pieces[] = {"the", " ", " ", "\n", "a", "n", "7", "!", "\xC3\xA9", "\xE4\xB8\xAD", "\xF0\x9F\x98\x80", "\xE2\x96\x81"};
  std::string text;
  for (size_t i = 0; i < numChars; i++) {
    const std::string piece = pieces[random() % 12];
    const int times = random() % 8 ? 1 : 1 + random() % 60;
    for (int k = 0; k < times; k++) text += random() % 9 ? piece : std::string(1, static_cast<char>(random() % 128));
  }
  return text;
}

std::vector<int32_t> encode(Encoder& encoder, const std::string& text) {
  std::copy(text.begin(), text.end(), encoder.reserve(text.size()));
  const auto [ids, count] = encoder.encode(text.size(), true, true);
  return std::vector<int32_t>(ids, ids + count);
}

template <class Make>
void checkTexts(const Vocabulary& v, const Make& make, const std::function<std::string(std::string)>& marked) {
  std::mt19937 random(7);
  const auto encoder = make();
  for (int i = 0; i < 300; i++) {
    const std::string text = randomText(random, i < 100 ? i : random() % 400);
    const std::vector<int32_t> ids = encode(*encoder, text);
    std::string spelled;
    for (const int32_t id : ids) spelled += v.tokens[id];
    if (spelled != marked(text)) return fail(format("text %d: the ids spell another text", i));
    CHECK(encode(*encoder, text) == ids);
    CHECK(i % 10 != 0 || encode(*make(), text) == ids);
  }
  CHECK(encode(*encoder, std::string(100000, 'n')).size() > 0);
}

std::string marks(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == ' ' ? "\xE2\x96\x81" : std::string(1, c);
  return out;
}

BpeOptions optionsOf(bool chars) {
  BpeOptions options{chars, chars, true, -1, {}};
  for (int byte = 0; byte < 256; byte++) options.bytes[byte] = byte;
  return options;
}

}  // namespace

TEST(textOfBytes) {
  std::mt19937 random(3);
  const Vocabulary v = bytesAndMerges(random);
  for (const Behavior behavior : {kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous})
    checkTexts(
        v,
        [&] {
          auto encoder = std::make_unique<Encoder>(Marking{0, {}, {}, kNoPrefix});
          addSplitter(*encoder, behavior);
          encoder->bpe = std::make_unique<Bpe>(optionsOf(false), v.merges.data(), v.merges.size() / 3, nullptr, 0);
          return encoder;
        },
        [](std::string text) { return text; });
}

TEST(textOfCharacters) {
  // Characters are their code points' tokens below 128; others fall back to bytes.
  std::mt19937 random(5);
  const Vocabulary v = bytesAndMerges(random);
  std::vector<int32_t> chars, joins;
  for (int32_t c = 0; c < 128; c++) chars.insert(chars.end(), {c, c});
  for (int32_t left = 0; left < 128; left++)
    for (int32_t right = 0; right < 128; right++) joins.insert(joins.end(), {left, right});
  std::vector<int32_t> merges;
  for (size_t i = 0; i < v.merges.size(); i += 3)
    if (v.tokens[v.merges[i + 2]].find_first_of("\xC3\xE4") == std::string::npos) merges.insert(merges.end(), &v.merges[i], &v.merges[i] + 3);
  for (const bool isCut : {false, true})
    checkTexts(
        v,
        [&] {
          auto encoder = std::make_unique<Encoder>(Marking{0, {0xE2, 0x96, 0x81}, {0xE2, 0x96, 0x81}, kAlways});
          encoder->bpe = std::make_unique<Bpe>(optionsOf(true), merges.data(), merges.size() / 3, chars.data(), chars.size() / 2);
          if (isCut) encoder->joins = std::make_unique<Joins>(joins.data(), joins.size() / 2);
          return encoder;
        },
        [](std::string text) { return text.empty() ? text : "\xE2\x96\x81" + marks(text); });
}

TEST(textByUnigram) {
  std::mt19937 random(9);
  Vocabulary v = bytesAndMerges(random);
  v.tokens.push_back("\xE2\x96\x81the");
  std::vector<uint8_t> bytes;
  std::vector<int32_t> ends, ids;
  std::vector<double> scores;
  for (size_t i = 0; i < v.tokens.size(); i++) {
    // Byte tokens beyond ASCII are no words of their own: text never holds such a byte alone.
    if (i < 128 || i >= 256) bytes.insert(bytes.end(), v.tokens[i].begin(), v.tokens[i].end());
    ends.push_back(static_cast<int32_t>(bytes.size()));
    ids.push_back(static_cast<int32_t>(i));
    scores.push_back(-static_cast<double>(random() % 1000) / 100 - 1);
  }
  UnigramOptions options{true, true, 255, {}};
  for (int byte = 0; byte < 256; byte++) options.bytes[byte] = byte;
  checkTexts(
      v,
      [&] {
        auto encoder = std::make_unique<Encoder>(Marking{0, {}, {}, kNoPrefix});
        addSplitter(*encoder, kIsolated);
        encoder->unigram = std::make_unique<Unigram>(options, Words{bytes.data(), ends.data(), ids.data(), ends.size()}, scores.data());
        return encoder;
      },
      [](std::string text) { return text; });
}
