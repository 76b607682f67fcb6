// The vector functions of simd.h against the C library in double: prints what is too far off, or nothing.
#include <cmath>
#include <cstdio>
#include <initializer_list>

#include "../../native/simd.h"

using namespace CONTINUO_VARIANT;

static bool failed = false;

/// Error in units in the last place of the result.
static double ulps(float actual, double expected) {
  const float rounded = (float)expected;
  if (std::isnan(expected)) return std::isnan(actual) ? 0 : 1e9;
  if (actual == rounded) return 0;
  const double unit = std::nextafter(std::fabs(rounded), INFINITY) - std::fabs(rounded);
  return std::fabs(actual - expected) / unit;
}

static void check(const char* name, float x, float actual, double error, double limit) {
  if (error <= limit) return;
  if (!failed) std::printf("%s(%.9g) = %.9g is off by %g, more than %g\n", name, x, actual, error, limit);
  failed = true;
}

static void checkAt(float x) {
  check("exponential", x, exponential(splat(x))[0], x < -87.3f || x > 88.3f ? 0 : ulps(exponential(splat(x))[0], std::exp((double)x)), 2);
  check("tanh", x, hyperbolicTangent(splat(x))[0], ulps(hyperbolicTangent(splat(x))[0], std::tanh((double)x)), 2);
  const vf v = splat(x);
  const float erfc = complementaryError(v, exponential(-(v * v)))[0];
  check("erfc", x, erfc, std::isnan(x) ? !std::isnan(erfc) : std::fabs(erfc - std::erfc((double)x)), 2e-7);
  // The smallest normal number is reached at 9.3.
  if (std::fabs(x) < 3) check("erfc, relative", x, erfc, std::fabs(erfc / std::erfc((double)x) - 1), 7e-7);
  else if (std::fabs(x) < 9) check("erfc, relative", x, erfc, std::fabs(erfc / std::erfc((double)x) - 1), 6e-6);
}

int main() {
  for (int i = -200000; i <= 200000; i++) checkAt((float)(i * 1e-4));
  // Every power of two, and near it, down to the subnormal numbers.
  for (int e = -149; e < 128; e++)
    for (float m : {1.0f, 1.0000001f, 1.3f, 1.9999999f})
      for (float sign : {1.0f, -1.0f}) checkAt(sign * std::ldexp(m, e));
  for (float x : {0.0f, -0.0f, INFINITY, -INFINITY, NAN}) checkAt(x);
  return failed;
}
