// Vectors of W floats, W by instruction set, over the compilers' vector extensions: arithmetic and comparison are plain operators,
// `mask ? a : b` selects. Everything is in the variant's own namespace and inlined, so that no code of one instruction set can be
// linked into another. No fast-math: an expression is evaluated as written, and only fma() fuses.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "table.h"
#include "threads.h"

#define INLINE static inline __attribute__((always_inline))

namespace CONTINUO_VARIANT {

#if defined(__AVX512F__)
constexpr int W = 16;
#elif defined(__AVX2__)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif

typedef float vf __attribute__((vector_size(W * 4)));
typedef int32_t vi __attribute__((vector_size(W * 4)));
typedef uint32_t vu __attribute__((vector_size(W * 4)));
typedef uint16_t vh __attribute__((vector_size(W * 2)));
typedef uint16_t bf16;

template <class T>
INLINE T minOf(T a, T b) {
  return a < b ? a : b;
}
template <class T>
INLINE T maxOf(T a, T b) {
  return a > b ? a : b;
}
INLINE long divideUp(long a, long b) { return (a + b - 1) / b; }
INLINE long roundUp(long a, long b) { return divideUp(a, b) * b; }

INLINE vf splat(float x) {
#if defined(__AVX512F__)
  return (vf)_mm512_set1_ps(x);
#elif defined(__AVX2__)
  return (vf)_mm256_set1_ps(x);
#else
  return vf{x, x, x, x};
#endif
}

INLINE vi lanes() {
  vi v;
  for (int i = 0; i < W; i++) v[i] = i;
  return v;
}

INLINE vf fma(vf a, vf b, vf c) {
#if defined(__AVX512F__)
  return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
  return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
  return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}

INLINE vf squareRoot(vf a) {
#if defined(__AVX512F__)
  return (vf)_mm512_sqrt_ps((__m512)a);
#elif defined(__AVX2__)
  return (vf)_mm256_sqrt_ps((__m256)a);
#elif defined(__x86_64__)
  return (vf)_mm_sqrt_ps((__m128)a);
#elif defined(__aarch64__)
  return (vf)vsqrtq_f32((float32x4_t)a);
#else
  for (int i = 0; i < W; i++) a[i] = __builtin_sqrtf(a[i]);
  return a;
#endif
}

/// The larger of each pair; b where either is NaN.
INLINE vf maximum(vf a, vf b) {
#if defined(__AVX512F__)
  return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return a > b ? a : b;
#endif
}

INLINE vf load(const float* p) {
  vf v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
INLINE void store(float* p, vf v) { std::memcpy(p, &v, sizeof v); }

INLINE vf load(const bf16* p) {
#if defined(__AVX512F__)  // what g++ 12 makes of the general form takes three times the instructions
  return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16);
#elif defined(__AVX2__)
  return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16);
#else
  vh h;
  std::memcpy(&h, p, sizeof h);
  return (vf)(__builtin_convertvector(h, vu) << 16);
#endif
}

/// f32 bits rounded to the nearest bf16, ties to even; NaN stays NaN.
INLINE vu roundToBf16(vf v) {
  const vu bits = (vu)v;
  const vu rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return v == v ? rounded : (bits >> 16 | 0x40);
}
INLINE void store(bf16* p, vf v) {
  const vh h = __builtin_convertvector(roundToBf16(v), vh);
  std::memcpy(p, &h, sizeof h);
}

/// The first n < W elements; the other lanes are zero.
template <class T>
INLINE vf loadPart(const T* p, int n) {
  T part[W] = {};
  std::memcpy(part, p, n * sizeof(T));
  return load(part);
}
template <class T>
INLINE void storePart(T* p, vf v, int n) {
  T part[W];
  store(part, v);
  std::memcpy(p, part, n * sizeof(T));
}

// Over either dtype. The branch costs nothing beside the memory that these ops wait for, and saves a copy of each op a dtype.
INLINE vf load(const Floats& x, size_t at) {
  return x.bf16 ? load(static_cast<const bf16*>(x.p) + at) : load(static_cast<const float*>(x.p) + at);
}
INLINE vf loadPart(const Floats& x, size_t at, int n) {
  return x.bf16 ? loadPart(static_cast<const bf16*>(x.p) + at, n) : loadPart(static_cast<const float*>(x.p) + at, n);
}
INLINE void store(const Floats& x, size_t at, vf v) {
  if (x.bf16)
    store(static_cast<bf16*>(x.p) + at, v);
  else
    store(static_cast<float*>(x.p) + at, v);
}
INLINE void storePart(const Floats& x, size_t at, vf v, int n) {
  if (x.bf16)
    storePart(static_cast<bf16*>(x.p) + at, v, n);
  else
    storePart(static_cast<float*>(x.p) + at, v, n);
}

/// Loads or stores min(n, W) elements.
template <class... Args>
INLINE vf loadUpTo(int n, Args... args) {
  return __builtin_expect(n >= W, 1) ? load(args...) : loadPart(args..., n);
}
INLINE void storeUpTo(int n, const Floats& x, size_t at, vf v) {
  if (__builtin_expect(n >= W, 1))
    store(x, at, v);
  else
    storePart(x, at, v, n);
}
INLINE void storeUpTo(int n, float* p, vf v) {
  if (__builtin_expect(n >= W, 1))
    store(p, v);
  else
    storePart(p, v, n);
}

/// Sum of the lanes as a balanced tree, so that its order is the same everywhere.
INLINE float sum(vf v) {
  float x[W];
  store(x, v);
  for (int half = W / 2; half > 0; half /= 2)
    for (int i = 0; i < half; i++) x[i] += x[i + half];
  return x[0];
}
INLINE float largest(vf v) {
  float x = v[0];
  for (int i = 1; i < W; i++) x = maxOf(x, v[i]);
  return x;
}

/// e^x to about 1 ulp for x <= 88.37; below -87.33 it stays at e^-87.33, the smallest normal number, so what must vanish is the
/// caller's to clear. NaN stays NaN. x = n ln2 + r with |r| <= ln2/2; e^r = 1 + r + r^2 q(r), q of degree 4 fitted at Chebyshev points
/// (relative error 4e-9 before rounding).
INLINE vf exponentialAtMost88(vf x) {
  x = maximum(splat(-87.33f), x);
  const vf magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer that then sits in the low bits
  const vf shifted = fma(x, splat(1.44269504088896341f), magic);
  const vf n = shifted - magic;
  vf r = fma(n, splat(-0.693359375f), x);
  r = fma(n, splat(2.12194440e-4f), r);
  vf p = splat(0.00137514074f);
  p = fma(p, r, splat(0.00836891588f));
  p = fma(p, r, splat(0.0416695327f));
  p = fma(p, r, splat(0.166665182f));
  p = fma(p, r, splat(0.499999881f));
  p = fma(p, r, splat(1.0f));
  p = fma(p, r, splat(1.0f));
  return (vf)((vu)p + ((vu)shifted << 23));
}

/// e^x for every x: 0 below -87.33, the largest finite power above 88.37; NaN stays NaN.
INLINE vf exponential(vf x) {
  const vf high = splat(88.37f);
  const vf result = exponentialAtMost88(x > high ? high : x);
  return x < splat(-87.33f) ? splat(0) : result;
}

/// tanh within 2 ulp; NaN stays NaN. Near 0 an odd polynomial (Cephes' tanhf), since 1 - 2/(e^2x + 1) would cancel there.
INLINE vf hyperbolicTangent(vf x) {
  const vi sign = (vi)x & (vi)splat(-0.0f);
  vf size = (vf)((vi)x ^ sign);
  const vf square = x * x;
  vf p = splat(-5.70498872745e-3f);
  p = fma(p, square, splat(2.06390887954e-2f));
  p = fma(p, square, splat(-5.37397155531e-2f));
  p = fma(p, square, splat(1.33314422036e-1f));
  p = fma(p, square, splat(-3.33332819422e-1f));
  const vf near = fma(p * square, size, size);
  // tanh(10) is 1 in f32 already.
  const vf far = splat(1) - splat(2) / (exponentialAtMost88(splat(2) * (size > splat(10) ? splat(10) : size)) + splat(1));
  size = size < splat(0.625f) ? near : far;
  return (vf)((vi)size | sign);
}

/// erfc(x), given e^(-x^2), which the callers need as well: within 2e-7, and within 7e-7 of its value where |x| < 3 (beyond, the rounding
/// of x^2 grows). Up to 0.7 it is 1 - x p(x^2), beyond e^(-x^2) t q(t) with t = 1 / (1 + 0.45 |x|); p and q of degree 4 and 9 are fitted
/// at Chebyshev points (errors 3e-8 before rounding).
INLINE vf complementaryError(vf x, vf gaussian) {
  const vf size = x < splat(0) ? -x : x, square = x * x;
  vf p = splat(0.004286855924874544f);
  p = fma(p, square, splat(-0.026479465886950493f));
  p = fma(p, square, splat(0.11277153342962265f));
  p = fma(p, square, splat(-0.3761223554611206f));
  p = fma(p, square, splat(1.1283791065216064f));
  const vf near = fma(-x, p, splat(1));
  const vf t = splat(1) / fma(size, splat(0.45f), splat(1));
  vf q = splat(-0.04163855f);
  q = fma(q, t, splat(0.19167575f));
  q = fma(q, t, splat(-0.30220538f));
  q = fma(q, t, splat(0.14381753f));
  q = fma(q, t, splat(-0.023065826f));
  q = fma(q, t, splat(0.12015375f));
  q = fma(q, t, splat(0.1752202f));
  q = fma(q, t, splat(0.22827406f));
  q = fma(q, t, splat(0.2538831f));
  q = fma(q, t, splat(0.25388533f));
  const vf tail = q * t * gaussian;
  return size < splat(0.7f) ? near : x < splat(0) ? splat(2) - tail : tail;
}

/// Whether any lane is set.
INLINE bool any(vi mask) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#else
  int32_t seen = 0;
  for (int i = 0; i < W; i++) seen |= mask[i];
  return seen != 0;
#endif
}

/// 2^x to about 1 ulp; 0 below -126 (a subnormal result costs the processor some 200 cycles), at least 2^127 from 127 on; NaN stays NaN.
/// 2^x = 2^n 2^f, n the integer below x; 2^f by a polynomial of least relative error (8e-8 before rounding) that is 1 at 0.
template <int N>
INLINE void power2(vf (&x)[N]) {
  vf f[N], p[N];
#if defined(__AVX512DQ__)
#pragma GCC unroll 8
  for (int i = 0; i < N; i++) f[i] = (vf)_mm512_reduce_ps((__m512)x[i], 1);
#else
  vu n[N];  // unsigned: in lanes that are not chosen in the end the sum may overflow
  const vf magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer that then sits in the low bits
#pragma GCC unroll 8
  for (int i = 0; i < N; i++) {
    x[i] = x[i] > splat(127) ? splat(127) : x[i];
    const vf shifted = (x[i] - splat(0.5f)) + magic;
    f[i] = x[i] - (shifted - magic);
    n[i] = (vu)shifted << 23;
  }
#endif
#pragma GCC unroll 8
  for (int i = 0; i < N; i++) p[i] = fma(splat(0.00186713005f), f[i], splat(0.00901703071f));
  constexpr float kCoefficients[] = {0.0557999127f, 0.240164444f, 0.693151295f, 1.0f};
#pragma GCC unroll 4
  for (int k = 0; k < 4; k++)
#pragma GCC unroll 8
    for (int i = 0; i < N; i++) p[i] = fma(p[i], f[i], splat(kCoefficients[k]));
#pragma GCC unroll 8
  for (int i = 0; i < N; i++)
#if defined(__AVX512DQ__)
    x[i] = (vf)_mm512_maskz_scalef_ps(_mm512_cmp_ps_mask((__m512)x[i], _mm512_set1_ps(-126), _CMP_NLT_US), (__m512)p[i], (__m512)x[i]);
#else
    x[i] = x[i] < splat(-126) ? splat(0) : (vf)((vu)p[i] + n[i]);
#endif
}
INLINE vf power2(vf x) {
  vf one[1] = {x};
  power2(one);
  return one[0];
}

template <int... I>
struct Indices {};
template <int N, int... I>
struct MakeIndices : MakeIndices<N - 1, N - 1, I...> {};
template <int... I>
struct MakeIndices<0, I...> {
  typedef Indices<I...> type;
};
template <int... I>
INLINE vf zipHalf(vf a, vf b, bool high, Indices<I...>) {
#if defined(__clang__)
  return high ? __builtin_shufflevector(a, b, (W / 2 + I / 2 + I % 2 * W)...) : __builtin_shufflevector(a, b, (I / 2 + I % 2 * W)...);
#else
  return high ? __builtin_shuffle(a, b, vi{(W / 2 + I / 2 + I % 2 * W)...}) : __builtin_shuffle(a, b, vi{(I / 2 + I % 2 * W)...});
#endif
}

/// Interleaves N vectors by log2(N) perfect shuffles: element j of vector i moves to place j * N + i of all. N = W transposes.
template <int N>
INLINE void interleave(vf (&r)[N]) {
  typedef typename MakeIndices<W>::type All;
#pragma GCC unroll 4
  for (int round = 1; round < N; round *= 2) {
    vf t[N];
#pragma GCC unroll 16
    for (int i = 0; i < N / 2; i++) {
      t[2 * i] = zipHalf(r[i], r[i + N / 2], false, All());
      t[2 * i + 1] = zipHalf(r[i], r[i + N / 2], true, All());
    }
#pragma GCC unroll 16
    for (int i = 0; i < N; i++) r[i] = t[i];
  }
}

}  // namespace CONTINUO_VARIANT
