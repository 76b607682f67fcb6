// A tiny test framework for kernels: tests that register themselves, arrays that end where foreign memory begins, comparison with sums
// in double precision, and the law that the number of threads changes no bit.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "../../native/table.h"
#include "../../native/threads.h"

struct Test {
  const char* name;
  void (*run)(const KernelTable& kernels);
};
std::vector<Test>& allTests();

/// TEST(name) { ... uses `kernels` ... }
#define TEST(name)                                                                               \
  static void name(const KernelTable& kernels);                                                  \
  [[maybe_unused]] static const bool name##Registered = (allTests().push_back({#name, name}), true); \
  static void name([[maybe_unused]] const KernelTable& kernels)

/// Marks the running test as failed; the first few reasons are printed.
void fail(const std::string& reason);
std::string format(const char* text, ...) __attribute__((format(printf, 1, 2)));

#define CHECK(condition) \
  if (!(condition)) fail(format("%s:%d: %s", __FILE__, __LINE__, #condition))

/// `bytes` of memory, all bits set (NaN as f32 and as bf16). Past the end lies memory that may not be touched: AddressSanitizer's, or a
/// page without access rights. Where there are bytes before the start, or between the end and the page, their change is reported.
void* allocateExact(size_t bytes, size_t alignment = 4);
void freeExact(void* p);

/// n elements of exactly sized memory.
template <class T>
class Block {
 public:
  explicit Block(long n, T value = T()) : Block(n, [&](long) { return value; }) {}
  template <class Value, class = decltype(std::declval<Value>()(0l))>
  Block(long n, Value value) : count(n), p(static_cast<T*>(allocateExact(n * sizeof(T), sizeof(T)))) {
    for (long i = 0; i < n; i++) p[i] = value(i);
  }
  ~Block() { freeExact(p); }
  Block(const Block&) = delete;
  T* data() const { return p; }
  T& operator[](long i) const { return p[i]; }
  long size() const { return count; }

 private:
  long count;
  T* p;
};

/// Values of one dtype, seen as doubles. Starts as NaN throughout: an output that is only partly written, or read first, shows.
class Array {
 public:
  Array(long n, bool bf16);
  ~Array() { freeExact(p); }
  Array(const Array&) = delete;
  Array(Array&& other) noexcept : count(other.count), isBf16(other.isBf16), p(other.p) { other.p = nullptr; }
  operator Floats() const { return {p, isBf16}; }
  /// The elements from `at` on.
  Floats from(long at) const { return {static_cast<char*>(p) + at * (isBf16 ? 2 : 4), isBf16}; }
  float* f32() const { return static_cast<float*>(p); }
  double operator[](long i) const;
  /// Rounds to nearest, ties to even.
  void set(long i, double value) const;
  long size() const { return count; }
  bool bf16() const { return isBf16; }
  void* data() const { return p; }
  size_t bytes() const { return count * (isBf16 ? 2 : 4); }

 private:
  long count;
  bool isBf16;
  void* p;
};

/// Values in [-scale, scale), the same for the same seed.
double randomValue(uint64_t seed, long i);
Array random(long n, bool bf16, uint64_t seed, double scale = 1);
Array filled(long n, bool bf16, double value);

/// What an output should be: its value, and the size of the terms that were added to make it, which bounds what rounding can do.
struct Expected {
  double value, size;
};

// The rounding of an f32 sum, relative to the sum of its terms' sizes: some 2^-24 a step, of which errors of both signs cancel. A term
// forgotten, or added twice, is larger than this in every shape tested.
constexpr double kSumError = 2e-6;

/// Fails unless actual[i] is expected(i).value within `relative` of its size, and for bf16 one unit in the last place more.
void expectClose(const char* what, const Array& actual, const std::function<Expected(long)>& expected, double relative = kSumError);

/// Runs `operation` with 1 to 4 threads, from the same contents of its outputs. All bits must be those of one thread, which stay.
class Output {
 public:
  Output(const Array& x) : p(x.data()), bytes(x.bytes()) {}
  template <class T>
  Output(const Block<T>& x) : p(x.data()), bytes(x.size() * sizeof(T)) {}
  void* p;
  size_t bytes;
};
void onThreads(const char* what, std::initializer_list<Output> outputs, const std::function<void()>& operation);
