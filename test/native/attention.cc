// Attention and its gradient against plain loops over all pairs: documents, groups of heads, strides, capped scores, and sizes around the
// tiles of 64.
#include <algorithm>
#include <cmath>

#include "check.h"

namespace {

struct Case {
  long batch, seqLen, numHeads, numKvHeads, headDim;
  /// Tokens, inside each sequence, at which a document begins.
  std::vector<long> documents;
  double softcap = 0;
  /// Tokens that a token sees at most; kAnywhere: each begins where it likes.
  long window = 1 << 20;
  /// The first half of each sequence's keys, which queries come to last, are this much larger.
  double growth = 1;
};
constexpr long kAnywhere = -1;

const Case kCases[] = {
    {1, 1, 1, 1, 1, {}},
    {2, 3, 2, 1, 5, {1, 2}},
    {2, 37, 3, 3, 17, {11}},
    {2, 37, 2, 1, 16, {8}, 2},
    {1, 64, 2, 1, 32, {}},
    {1, 65, 4, 2, 20, {64}},
    {1, 67, 1, 1, 259, {}},
    {1, 127, 1, 1, 7, {63}, 20},
    {1, 131, 9, 1, 24, {5, 70, 127, 128}},
    {2, 200, 2, 2, 80, {64, 100, 101, 190}},
    {1, 200, 2, 1, 16, {150}, 0, 70},
    {1, 200, 1, 1, 16, {}, 0, kAnywhere},
    {1, 331, 2, 1, 16, {}, 0, 1 << 20, 20},
};

// Elements between the end of a row and the next one; nobody may write them.
constexpr long kGap = 3;

/// Where the rows of heads lie: keys in an array of their own, queries and values beside one another in the rows of another.
struct Layout {
  long heads, headDim, stride;
  long at(long row, long head) const { return row * stride + head * headDim; }
  long size(long rows) const { return (rows - 1) * stride + heads * headDim; }
};

double dot(const Array& a, long atA, const Array& b, long atB, long n) {
  double total = 0;
  for (long e = 0; e < n; e++) total += a[atA + e] * b[atB + e];
  return total;
}

/// The elements of an array that lie in rows of heads, and their gradients; the others must still be NaN.
void expectRows(const std::string& what, const Array& actual, const Layout& layout, long first, long rows, const std::vector<double>& expected,
                double size, double relative) {
  const long width = layout.heads * layout.headDim;
  Array dense(rows * width, actual.bf16());
  for (long i = 0; i < dense.size(); i++) dense.set(i, actual[first + layout.at(i / width, 0) + i % width]);
  expectClose(what.c_str(), dense, [&](long i) { return Expected{expected[first + layout.at(i / width, 0) + i % width], size}; }, relative);
}

void compare(const KernelTable& kernels, const Case& c, bool bf16, uint64_t seed) {
  const long E = c.headDim, rows = c.batch * c.seqLen, group = c.numHeads / c.numKvHeads;
  const long mixed = (c.numHeads + c.numKvHeads) * E + kGap, vFirst = c.numHeads * E;
  const Layout qs{c.numHeads, E, mixed}, ks{c.numKvHeads, E, c.numKvHeads * E + kGap}, vs{c.numKvHeads, E, mixed}, outs{c.numHeads, E, c.numHeads * E};
  const float scale = 1 / std::sqrt((float)E);
  const AttentionShape shape{c.batch, c.seqLen, c.numHeads, c.numKvHeads, E, qs.stride, ks.stride, vs.stride, scale, (float)c.softcap};
  const std::string what = format("attention %ld x %ld, %ld/%ld heads of %ld, cap %g, %s: ", c.batch, c.seqLen, c.numHeads, c.numKvHeads, E, c.softcap,
                                  bf16 ? "bf16" : "f32");

  // Scores up to about 10: softmax far from uniform.
  const Array qv = random(rows * mixed - kGap, bf16, seed, 3), k = random(ks.size(rows), bf16, seed + 1, 3);
  for (long i = 0; i < k.size(); i++)
    if (i / ks.stride % c.seqLen < c.seqLen / 2) k.set(i, k[i] * c.growth);
  const Array out(rows * c.numHeads * E, bf16), lse(rows * c.numHeads, false);
  const Array dOut = random(out.size(), bf16, seed + 2), dQv(qv.size(), bf16), dK(k.size(), bf16);
  const Block<int32_t> docStart(rows, [&](long i) {
    int32_t start = 0;
    for (const long d : c.documents)
      if (d <= i % c.seqLen) start = (int32_t)d;
    if (c.window == kAnywhere) return (int32_t)((randomValue(7, i) + 1) / 2 * (i % c.seqLen + 1));
    return std::max(start, (int32_t)(i % c.seqLen - c.window + 1));
  });
  onThreads((what + "out").c_str(), {out, lse},
            [&] { kernels.attentionForward(out, lse.f32(), qv, k, qv.from(vFirst), docStart.data(), shape); });
  onThreads((what + "gradient").c_str(), {dQv, dK}, [&] {
    kernels.attentionBackward(dQv, dK, dQv.from(vFirst), dOut, out, lse.f32(), qv, k, qv.from(vFirst), docStart.data(), shape);
  });

  std::vector<double> expectedOut(out.size()), expectedLse(lse.size()), expectedQv(qv.size()), expectedK(k.size());
  for (long row = 0; row < rows; row++)
    for (long h = 0; h < c.numHeads; h++) {
      const long sequence = row / c.seqLen, first = sequence * c.seqLen + docStart[row], q = qs.at(row, h), o = outs.at(row, h);
      const auto keyAt = [&](long key) { return ks.at(key, h / group); };
      const auto valueAt = [&](long key) { return vFirst + vs.at(key, h / group); };
      std::vector<double> weights, slopes;
      double total = 0;
      for (long key = first; key <= row; key++) {
        const double score = scale * dot(qv, q, k, keyAt(key), E), bent = std::tanh(score / c.softcap);
        weights.push_back(std::exp(c.softcap > 0 ? c.softcap * bent : score));
        slopes.push_back(c.softcap > 0 ? 1 - bent * bent : 1);
        total += weights.back();
      }
      expectedLse[(sequence * c.numHeads + h) * c.seqLen + row % c.seqLen] = std::log(total);
      // As in the kernel, from its own rounded output.
      const double delta = dot(dOut, o, out, o, E);
      for (long key = first; key <= row; key++) {
        const double weight = weights[key - first] / total;
        const double dScore = weight * (dot(dOut, o, qv, valueAt(key), E) - delta) * slopes[key - first] * scale;
        for (long e = 0; e < E; e++) {
          expectedOut[o + e] += weight * qv[valueAt(key) + e];
          expectedQv[q + e] += dScore * k[keyAt(key) + e];
          expectedK[keyAt(key) + e] += dScore * qv[q + e];
          expectedQv[valueAt(key) + e] += weight * dOut[o + e];
        }
      }
    }
  // A score of size 30 is uncertain by some 2^-24 of that, and so is e^score, relative to itself: 2e-6. Values have size 3; gradients are
  // sums of headDim terms of size 3 times 3.
  const double relative = 5e-6 * c.growth;
  expectClose((what + "out").c_str(), out, [&](long i) { return Expected{expectedOut[i], 3}; }, relative);
  expectClose((what + "lse").c_str(), lse, [&](long i) { return Expected{expectedLse[i], 10 * c.growth}; });
  expectRows(what + "dQ", dQv, qs, 0, rows, expectedQv, 9.0 * E * c.growth, relative);
  expectRows(what + "dV", dQv, vs, vFirst, rows, expectedQv, 9.0 * E * c.growth, relative);
  expectRows(what + "dK", dK, ks, 0, rows, expectedK, 9.0 * E, relative);
  for (long row = 0; row + 1 < rows; row++)
    for (long i = 1; i <= kGap; i++) CHECK(std::isnan(dQv[(row + 1) * mixed - i]) && std::isnan(dK[(row + 1) * ks.stride - i]));
}

}  // namespace

TEST(attentionAndItsGradient) {
  uint64_t seed = 1;
  for (const Case& c : kCases)
    for (const bool bf16 : {false, true}) compare(kernels, c, bf16, seed += 3);
}

// Sequences that share a slot of the cache, start inside a block of 128 positions, end at one, or have one position only.
TEST(attentionOfOneQueryOverItsCache) {
  const Block<int32_t> cacheRow(5, [](long i) { return (int32_t[]){0, 3, 0, 300, 41}[i]; });
  const Block<int32_t> start(5, [](long i) { return (int32_t[]){0, 5, 128, 0, 131}[i]; });
  const Block<int32_t> length(5, [](long i) { return (int32_t[]){1, 6, 300, 128, 259}[i]; });
  const long numRows = 5, cacheRows = 428;
  struct Heads {
    long numHeads, numKvHeads, headDim;
  };
  for (const Heads h : {Heads{1, 1, 1}, Heads{3, 1, 17}, Heads{4, 2, 64}, Heads{6, 2, 80}})
    for (const double softcap : {0.0, 3.0})
      for (const bool bf16 : {false, true}) {
        const long E = h.headDim, group = h.numHeads / h.numKvHeads, qStride = h.numHeads * E + kGap, cacheStride = h.numKvHeads * E;
        const float scale = 1 / std::sqrt((float)E);
        const AttentionShape shape{0, 0, h.numHeads, h.numKvHeads, E, qStride, 0, 0, scale, (float)softcap};
        const Array q = random(numRows * qStride - kGap, bf16, 1, 3), out(numRows * h.numHeads * E, bf16);
        const Array keys = random(cacheRows * cacheStride, bf16, 2, 3), values = random(cacheRows * cacheStride, bf16, 3, 3);
        const std::string what = format("decode, %ld/%ld heads of %ld, cap %g, %s", h.numHeads, h.numKvHeads, E, softcap, bf16 ? "bf16" : "f32");
        onThreads(what.c_str(), {out}, [&] {
          kernels.attentionDecode(out, q, keys, values, cacheRow.data(), start.data(), length.data(), numRows, shape);
        });
        std::vector<double> expected(out.size());
        for (long row = 0; row < numRows; row++)
          for (long head = 0; head < h.numHeads; head++) {
            std::vector<double> weights;
            double total = 0;
            const auto at = [&](long i) { return (cacheRow[row] + i) * cacheStride + head / group * E; };
            for (long i = start[row]; i < length[row]; i++) {
              const double score = scale * dot(q, row * qStride + head * E, keys, at(i), E);
              weights.push_back(std::exp(softcap > 0 ? softcap * std::tanh(score / softcap) : score));
              total += weights.back();
            }
            for (long i = start[row]; i < length[row]; i++)
              for (long e = 0; e < E; e++) expected[(row * h.numHeads + head) * E + e] += weights[i - start[row]] / total * values[at(i) + e];
          }
        expectClose(what.c_str(), out, [&](long i) { return Expected{expected[i], 3}; }, 5e-6);
      }
}

TEST(attentionOfNothing) {
  const Array none(0, false);
  const AttentionShape shape{0, 5, 2, 1, 8, 16, 8, 8, 1, 0};
  kernels.attentionForward(none, none.f32(), none, none, none, nullptr, shape);
  kernels.attentionBackward(none, none, none, none, none, none.f32(), none, none, none, nullptr, shape);
  kernels.attentionDecode(none, none, none, none, nullptr, nullptr, nullptr, 0, shape);
}
