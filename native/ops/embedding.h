// Rows of a table by id, scaled, and their gradient: each task owns some columns of the table and adds all tokens to them in order, so that
// tokens with the same id never meet on two threads.
#pragma once
#include "norm.h"

namespace CONTINUO_VARIANT {

static void embeddingForward(Floats out, Floats table, const int32_t* ids, long t, long d, float scale) {
  const long rows = 64;
  const vf factor = splat(scale);
  parallelFor(divideUp(t, rows), [&](long task) {
    for (long r = task * rows; r < minOf(t, (task + 1) * rows); r++)
      forVectors(d, [&](long i, int n) { storeUpTo(n, out, r * d + i, loadUpTo(n, table, (size_t)ids[r] * d + i) * factor); });
  });
}

static void embeddingBackward(float* dTable, Floats dOut, const int32_t* ids, long t, long d, float scale) {
  const long columns = 64;
  const vf factor = splat(scale);
  parallelFor(divideUp(d, columns), [&](long task) {
    const long from = task * columns, width = minOf(columns, d - from);
    for (long r = 0; r < t; r++) {
      float* row = dTable + (size_t)ids[r] * d + from;
      forVectors(width,
                 [&](long i, int n) { storeUpTo(n, row + i, loadUpTo(n, row + i) + loadUpTo(n, dOut, r * d + from + i) * factor); });
    }
  });
}

}  // namespace CONTINUO_VARIANT
