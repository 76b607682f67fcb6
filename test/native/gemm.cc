// Matrix products against plain loops: every layout, dtype, addend and bias (by turns), at sizes around the tiles and blocks.
#include <cmath>

#include "check.h"

namespace {

/// A [m,k] and B [k,n] as the kernel sees their values, and the sums of their products with the sums of the products' sizes.
struct Product {
  long m, n, k;
  bool aBf16, bBf16;
  std::vector<double> a, b, sums, sizes;

  Product(long rows, long cols, long depth, bool aIsBf16, bool bIsBf16, uint64_t seed)
      : m(rows), n(cols), k(depth), aBf16(aIsBf16), bBf16(bIsBf16), a(m * k), b(k * n), sums(m * n), sizes(m * n) {
    const Array roundedA = random(m * k, aBf16, seed), roundedB = random(k * n, bBf16, seed + 1);
    for (long i = 0; i < m * k; i++) a[i] = roundedA[i];
    for (long i = 0; i < k * n; i++) b[i] = roundedB[i];
    for (long i = 0; i < m; i++)
      for (long p = 0; p < k; p++)
        for (long j = 0; j < n; j++) {
          const double term = a[i * k + p] * b[p * n + j];
          sums[i * n + j] += term;
          sizes[i * n + j] += std::fabs(term);
        }
  }
};

/// x [rows, cols], or its transpose.
Array laidOut(const std::vector<double>& x, long rows, long cols, bool transposed, bool bf16) {
  Array out(rows * cols, bf16);
  for (long i = 0; i < rows; i++)
    for (long j = 0; j < cols; j++) out.set(transposed ? j * rows + i : i * cols + j, x[i * cols + j]);
  return out;
}

/// What is added to the product.
struct Extras {
  enum { kNoAddend, kOther, kSelf } addend;
  enum { kNoBias, kF32, kBf16 } bias;
};
const Extras kExtras[] = {
    {Extras::kNoAddend, Extras::kNoBias}, {Extras::kOther, Extras::kBf16},   {Extras::kSelf, Extras::kNoBias}, {Extras::kNoAddend, Extras::kF32},
    {Extras::kOther, Extras::kNoBias},    {Extras::kNoAddend, Extras::kBf16}, {Extras::kSelf, Extras::kF32},
};

void compare(const KernelTable& kernels, const Product& p, bool transA, bool transB, bool cBf16, Extras extras) {
  const Array a = laidOut(p.a, p.m, p.k, transA, p.aBf16), b = laidOut(p.b, p.k, p.n, transB, p.bBf16);
  const Array addend = random(p.m * p.n, cBf16, 3), bias = random(p.n, extras.bias == Extras::kBf16, 4), c(p.m * p.n, cBf16);
  const bool hasAddend = extras.addend != Extras::kNoAddend, hasBias = extras.bias != Extras::kNoBias;
  if (extras.addend == Extras::kSelf) std::memcpy(c.data(), addend.data(), c.bytes());
  const std::string what = format("gemm %ld x %ld x %ld, %s by %s to %s%s%s, addend %d, bias %d", p.m, p.n, p.k, p.aBf16 ? "bf16" : "f32",
                                  p.bBf16 ? "bf16" : "f32", cBf16 ? "bf16" : "f32", transA ? ", A^T" : "", transB ? ", B^T" : "", extras.addend, extras.bias);
  onThreads(what.c_str(), {c}, [&] {
    const Floats added = extras.addend == Extras::kSelf ? Floats(c) : Floats(addend);
    kernels.gemm(c, a, b, p.m, p.n, p.k, transA, transB, hasAddend ? added : Floats{}, hasBias ? Floats(bias) : Floats{});
  });
  expectClose(what.c_str(), c, [&](long i) {
    const double first = hasAddend ? addend[i] : 0, second = hasBias ? bias[i % p.n] : 0;
    return Expected{p.sums[i] + first + second, p.sizes[i] + std::fabs(first) + std::fabs(second)};
  });
}

/// All layouts and dtypes of one size (a bf16 A only meets a bf16 B); `turn` takes addends and biases by turns.
void compareAll(const KernelTable& kernels, long m, long n, long k, int& turn) {
  for (const int numBf16 : {0, 1, 2}) {
    const Product p(m, n, k, numBf16 == 2, numBf16 >= 1, m + n + k);
    for (const bool transA : {false, true})
      for (const bool transB : {false, true})
        for (const bool cBf16 : {false, true}) compare(kernels, p, transA, transB, cBf16, kExtras[turn++ % 7]);
  }
}

}  // namespace

TEST(gemmOfSmallSizes) {
  int turn = 0;
  for (const long m : {1, 2, 7, 9, 17})
    for (const long n : {1, 3, 16, 49})
      for (const long k : {0, 1, 2, 31}) compareAll(kernels, m, n, k, turn);
}

TEST(gemmOfNothing) {
  const Array none(0, false), some = random(6, false, 1);
  kernels.gemm(none, none, some, 0, 2, 3, false, false, {}, {});
  kernels.gemm(none, some, none, 2, 0, 3, false, false, {}, {});
}

// More than one task of rows, panel of columns and block of depth (512 steps), none of them full at its end; then whole vectors of depth
// and whole groups of rows (8 or 32), which are packed while others are multiplied.
TEST(gemmOfSeveralTilesAndBlocks) {
  int turn = 0;
  compareAll(kernels, 131, 101, 37, turn);
  compareAll(kernels, 67, 53, 1031, turn);
  compareAll(kernels, 29, 149, 2111, turn);
  compareAll(kernels, 96, 48, 32, turn);
  compareAll(kernels, 100, 61, 1408, turn);
  compareAll(kernels, 75, 61, 341, turn);
}

// Up to eight rows, where B is not packed, and just above.
TEST(gemmOfFewRows) {
  int turn = 0;
  for (const long m : {1, 3, 5, 8, 9}) compareAll(kernels, m, 67, 1031, turn);
}

// A generated token may not depend on who else is being served.
TEST(gemmOfFewRowsGivesARowTheBitsItHasAlone) {
  const long n = 67, k = 345;
  for (const bool aBf16 : {false, true})
    for (const bool bBf16 : {false, true}) {
      if (aBf16 && !bBf16) continue;
      const Array a = random(8 * k, aBf16, 1), b = random(n * k, bBf16, 2), bias = random(n, false, 3), together(8 * n, false), alone(n, false);
      for (const long m : {2, 3, 7, 8}) {
        kernels.gemm(together, a, b, m, n, k, false, true, {}, bias);
        for (long r = 0; r < m; r++) {
          kernels.gemm(alone, a.from(r * k), b, 1, n, k, false, true, {}, bias);
          CHECK(std::memcmp(alone.data(), together.f32() + r * n, alone.bytes()) == 0);
        }
      }
    }
}
