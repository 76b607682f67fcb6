#include "check.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdarg>
#include <cstdlib>
#include <map>
#include <mutex>

std::vector<Test>& allTests() {
  static std::vector<Test> tests;
  return tests;
}

std::string format(const char* text, ...) {
  char line[400];
  va_list arguments;
  va_start(arguments, text);
  std::vsnprintf(line, sizeof line, text, arguments);
  va_end(arguments);
  return line;
}

#if defined(__SANITIZE_ADDRESS__)

void* allocateExact(size_t bytes, size_t alignment) {
  void* p;
  if (posix_memalign(&p, alignment < sizeof(void*) ? sizeof(void*) : alignment, bytes) != 0) std::abort();
  std::memset(p, 0xff, bytes);
  return p;
}
void freeExact(void* p) { std::free(p); }

#else

// [pattern][the bytes][pattern, less than the alignment][page without access]
namespace {
struct Region {
  char *base, *start, *end, *guard;
};
constexpr char kPattern = 0x5a;
std::mutex regionsMutex;
std::map<void*, Region>& regions() {
  static std::map<void*, Region> all;
  return all;
}
}  // namespace

void* allocateExact(size_t bytes, size_t alignment) {
  const size_t page = sysconf(_SC_PAGESIZE), usable = (bytes + alignment + page - 1) / page * page;
  char* base = static_cast<char*>(mmap(nullptr, usable + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (base == MAP_FAILED || mprotect(base + usable, page, PROT_NONE) != 0) {
    std::perror("mmap");
    std::abort();
  }
  char* start = base + (usable - bytes) / alignment * alignment;
  std::memset(base, kPattern, usable);
  std::memset(start, 0xff, bytes);
  std::lock_guard<std::mutex> lock(regionsMutex);
  regions()[start] = {base, start, start + bytes, base + usable};
  return start;
}

void freeExact(void* p) {
  if (!p) return;
  std::lock_guard<std::mutex> lock(regionsMutex);
  const Region region = regions().at(p);
  regions().erase(p);
  for (const char* c = region.base; c < region.guard; c++)
    if ((c < region.start || c >= region.end) && *c != kPattern) {
      fail(format("memory %td bytes from the start of %td was written", c - region.start, region.end - region.start));
      break;
    }
  munmap(region.base, region.guard + sysconf(_SC_PAGESIZE) - region.base);
}

#endif

Array::Array(long n, bool bf16) : count(n), isBf16(bf16), p(allocateExact(n * (bf16 ? 2 : 4), bf16 ? 2 : 4)) {}

double Array::operator[](long i) const {
  if (!isBf16) return f32()[i];
  const uint32_t bits = uint32_t{static_cast<uint16_t*>(p)[i]} << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

void Array::set(long i, double value) const {
  const float single = (float)value;
  if (!isBf16) {
    f32()[i] = single;
    return;
  }
  uint32_t bits;
  std::memcpy(&bits, &single, 4);
  static_cast<uint16_t*>(p)[i] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

double randomValue(uint64_t seed, long i) {
  // splitmix64 (Steele et al. 2014), 53 bits of it.
  uint64_t z = (seed * 0x9e3779b97f4a7c15 + (uint64_t)i + 1) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 31) * 0x94d049bb133111eb;
  z ^= z >> 29;
  return (double)(z >> 11) / (1l << 52) - 1;
}

Array random(long n, bool bf16, uint64_t seed, double scale) {
  Array x(n, bf16);
  for (long i = 0; i < n; i++) x.set(i, scale * randomValue(seed, i));
  return x;
}

Array filled(long n, bool bf16, double value) {
  Array x(n, bf16);
  for (long i = 0; i < n; i++) x.set(i, value);
  return x;
}

void expectClose(const char* what, const Array& actual, const std::function<Expected(long)>& expected, double relative) {
  for (long i = 0; i < actual.size(); i++) {
    const Expected e = expected(i);
    const double tolerance = relative * e.size + (actual.bf16() ? std::ldexp(std::fabs(e.value), -8) : 0);
    if (std::fabs(actual[i] - e.value) <= tolerance) continue;
    return fail(format("%s: element %ld is %.9g, expected %.9g within %.2g", what, i, actual[i], e.value, tolerance));
  }
}

void onThreads(const char* what, std::initializer_list<Output> outputs, const std::function<void()>& operation) {
  const auto contents = [&] {
    std::vector<std::vector<char>> all;
    for (const Output& out : outputs) all.emplace_back(static_cast<char*>(out.p), static_cast<char*>(out.p) + out.bytes);
    return all;
  };
  const auto restore = [&](const std::vector<std::vector<char>>& all) {
    size_t i = 0;
    for (const Output& out : outputs) {
      if (out.bytes > 0) std::memcpy(out.p, all[i].data(), out.bytes);
      i++;
    }
  };
  const auto before = contents();
  setNumThreads(1);
  operation();
  const auto one = contents();
  for (int threads = 2; threads <= 4; threads++) {
    restore(before);
    setNumThreads(threads);
    operation();
    if (contents() != one) fail(format("%s: %d threads give other bits than one", what, threads));
  }
  restore(one);
}
