// The text encoder for JavaScript. src/kernels/text-encoder.ts is the only caller and checks dtypes, lengths and ranges.
#pragma once
#include <node_api.h>

#include "encoder.h"

namespace text {

constexpr size_t kNumSettings = 23;

/// The elements of a typed array.
template <class T>
struct View {
  const T* data = nullptr;
  size_t size = 0;

  View(napi_env env, napi_value array) {
    void* p = nullptr;
    napi_get_typedarray_info(env, array, nullptr, &size, &p, nullptr, nullptr);
    data = static_cast<const T*>(p);
  }
  std::vector<T> copy() const { return std::vector<T>(data, data + size); }
};

inline double toNumber(napi_env env, napi_value value) {
  double x = 0;
  napi_get_value_double(env, value, &x);
  return x;
}

inline bool toBoolean(napi_env env, napi_value value) {
  bool x = false;
  napi_get_value_bool(env, value, &x);
  return x;
}

/// Each split: number of instructions, number of alternatives, behavior, invert; instructions; start and first classes of alternatives.
inline void addSplitters(Encoder& encoder, const View<int32_t>& splits) {
  for (const int32_t* p = splits.data; p < splits.data + splits.size;) {
    const int32_t *code = p + 4, *alternatives = code + p[0], *end = alternatives + 2 * p[1];
    Program program(encoder.classes, std::vector<int32_t>(code, alternatives), std::vector<int32_t>(alternatives, end));
    encoder.splitters.emplace_back(std::move(program), static_cast<Behavior>(p[2]), p[3] != 0);
    p = end;
  }
}

/// createTextEncoder(...): see TextEncoderSpec of text-encoder.ts for the arguments, in its order.
inline napi_value createTextEncoder(napi_env env, napi_callback_info info) {
  size_t count = kNumSettings;
  napi_value a[kNumSettings];
  napi_get_cb_info(env, info, &count, a, nullptr, nullptr);
  auto encoder = std::make_unique<Encoder>(Marking{static_cast<size_t>(toNumber(env, a[18])), View<uint8_t>(env, a[6]).copy(),
                                                   View<uint8_t>(env, a[4]).copy(), static_cast<PrefixRule>(static_cast<int>(toNumber(env, a[5])))});
  const View<uint32_t> ascii(env, a[0]);
  std::copy(ascii.data, ascii.data + ascii.size, encoder->classes.ascii);
  encoder->classes.blockOf = View<uint16_t>(env, a[1]).copy();
  encoder->classes.blocks = View<uint32_t>(env, a[2]).copy();
  addSplitters(*encoder, View<int32_t>(env, a[3]));

  const View<int32_t> bytes(env, a[7]), merges(env, a[12]), chars(env, a[13]), ends(env, a[15]), ids(env, a[16]);
  const View<uint8_t> wordBytes(env, a[14]);
  const View<double> scores(env, a[17]);
  const int32_t unknown = static_cast<int32_t>(toNumber(env, a[8]));
  const bool fuseUnknown = toBoolean(env, a[9]), byteFallback = toBoolean(env, a[10]);
  const Words words{wordBytes.data, ends.data, ids.data, ends.size};
  if (scores.size > 0) {
    UnigramOptions options{byteFallback, fuseUnknown, unknown, {}};
    std::copy(bytes.data, bytes.data + 256, options.bytes);
    encoder->unigram = std::make_unique<Unigram>(options, words, scores.data);
  } else {
    BpeOptions options{toBoolean(env, a[11]), byteFallback, fuseUnknown, unknown, {}};
    std::copy(bytes.data, bytes.data + 256, options.bytes);
    encoder->bpe = std::make_unique<Bpe>(options, merges.data, merges.size / 3, chars.data, chars.size / 2);
    const View<int32_t> joins(env, a[19]);
    if (joins.size > 0) encoder->joins = std::make_unique<Joins>(joins.data, joins.size / 2);
    for (size_t i = 0; i < words.count; i++) encoder->whole[words.word(i)] = words.ids[i];
  }
  const View<uint8_t> addedBytes(env, a[20]);
  const View<int32_t> addedEnds(env, a[21]), addedIds(env, a[22]);
  const Words added{addedBytes.data, addedEnds.data, addedIds.data, addedEnds.size};
  if (added.count > 0) encoder->added = std::make_unique<Trie>(addedBytes.size);
  for (size_t i = 0; i < added.count; i++) {
    const std::string word = added.word(i);
    encoder->added->insert(word, added.ids[i]);
    encoder->addedBegins[static_cast<uint8_t>(word[0])] = true;
  }
  napi_value handle;
  const auto release = [](napi_env, void* data, void*) { delete static_cast<Encoder*>(data); };
  if (napi_create_external(env, encoder.get(), release, nullptr, &handle) != napi_ok) return nullptr;
  encoder.release();
  return handle;
}

/// encodeText(encoder, text, isStart, withAdded): the ids, as an Int32Array.
inline napi_value encodeText(napi_env env, napi_callback_info info) {
  size_t count = 4;
  napi_value a[4];
  napi_get_cb_info(env, info, &count, a, nullptr, nullptr);
  void* data = nullptr;
  napi_get_value_external(env, a[0], &data);
  Encoder& encoder = *static_cast<Encoder*>(data);
  size_t numUnits = 0, numBytes = 0;
  napi_get_value_string_utf16(env, a[1], nullptr, 0, &numUnits);
  // A UTF-16 unit is at most three bytes; lone surrogates become U+FFFD.
  uint8_t* text = encoder.reserve(3 * numUnits);
  napi_get_value_string_utf8(env, a[1], reinterpret_cast<char*>(text), 3 * numUnits + 1, &numBytes);
  const auto [ids, numIds] = encoder.encode(numBytes, toBoolean(env, a[2]), toBoolean(env, a[3]));
  napi_value buffer, result = nullptr;
  void* copy = nullptr;
  if (napi_create_arraybuffer(env, numIds * sizeof(int32_t), &copy, &buffer) == napi_ok) {
    if (numIds > 0) std::memcpy(copy, ids, numIds * sizeof(int32_t));
    napi_create_typedarray(env, napi_int32_array, numIds, buffer, 0, &result);
  }
  encoder.trim();
  return result;
}

}  // namespace text
