// Causality of attention with tiles of more queries than a vector holds, as on Arm: a change of later keys and values must not move a
// bit of an earlier query's output. Prints the first query that sees the future, or nothing.
#include <cstdio>
#include <vector>

#include "../../native/ops/attention.h"

using namespace CONTINUO_VARIANT;

constexpr long kRows = 150, kDim = 24;

static std::vector<float> attend(long changedFrom) {
  std::vector<float> q(kRows * kDim), k(q), v(q), out(q), lse(kRows);
  std::vector<int32_t> docStart(kRows);
  for (long i = 0; i < kRows; i++) docStart[i] = i < 37 ? 0 : 37;
  unsigned state = 1;
  for (std::vector<float>* x : {&q, &k, &v})
    for (float& value : *x) value = (float)((state = state * 1664525u + 1013904223u) >> 8) / (1 << 23) - 1;
  for (long i = changedFrom * kDim; i < kRows * kDim; i++) k[i] += 5, v[i] -= 7;
  const AttentionShape shape{1, kRows, 1, 1, kDim, kDim, kDim, kDim, 0.2f, 0};
  attentionForward({out.data(), false}, lse.data(), {q.data(), false}, {k.data(), false}, {v.data(), false}, docStart.data(), shape);
  return out;
}

int main() {
  const std::vector<float> expected = attend(kRows);
  for (long from = 1; from < kRows; from++) {
    const std::vector<float> out = attend(from);
    for (long i = 0; i < from; i++)
      if (std::memcmp(&out[i * kDim], &expected[i * kDim], kDim * sizeof(float)) != 0) {
        std::printf("query %ld sees key %ld\n", i, from);
        return 1;
      }
  }
}
