// Which of the compiled instruction sets this processor runs, best first. Whoever links the variants defines HAS_<variant> for each
// (scripts/build-native.mjs, test/native/run.mjs).
#pragma once
#include <vector>

#include "table.h"

#define DECLARE(variant)           \
  namespace variant {              \
  extern const KernelTable kTable; \
  }
#if defined(HAS_avx512bf16)
DECLARE(avx512bf16)
#endif
#if defined(HAS_avx512)
DECLARE(avx512)
#endif
#if defined(HAS_avx2)
DECLARE(avx2)
#endif
#if defined(HAS_neon)
DECLARE(neon)
#endif
#if defined(HAS_portable)
DECLARE(portable)
#endif
#undef DECLARE

/// Tables that this processor and its operating system can run, best first.
static inline std::vector<const KernelTable*> supportedTables() {
  std::vector<const KernelTable*> tables;
#if defined(__x86_64__)
  // These builtins also ask whether the operating system saves the wide registers.
  __builtin_cpu_init();
  [[maybe_unused]] const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                                       __builtin_cpu_supports("avx512vl");
  // A bf16 dot product does twice the work of an f32 multiply-add. Intel starts one every second cycle and multiply-adds two a cycle
  // (measured on a Xeon of family 6 model 207: 112 against 194 GFLOP/s a core), so there bf16 is faster as f32; AMD starts as many of
  // either. The maker decides, not a measurement, since the choice changes the last bits of results.
#if defined(HAS_avx512bf16)
  const bool pairs = avx512 && __builtin_cpu_supports("avx512bf16"), isAmd = __builtin_cpu_is("amd");
  if (pairs && isAmd) tables.push_back(&avx512bf16::kTable);
#endif
#if defined(HAS_avx512)
  if (avx512) tables.push_back(&avx512::kTable);
#endif
#if defined(HAS_avx512bf16)
  if (pairs && !isAmd) tables.push_back(&avx512bf16::kTable);
#endif
#if defined(HAS_avx2)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) tables.push_back(&avx2::kTable);
#endif
#endif
#if defined(HAS_neon)
  tables.push_back(&neon::kTable);  // part of every 64-bit Arm processor
#endif
#if defined(HAS_portable)
  tables.push_back(&portable::kTable);
#endif
  return tables;
}
