// Rounding of float32 numbers to the values of a narrower type, and the look at its range.
// The reference is round_to() of core/ascend/emulation/emulation.py, in TensorFlow's own operators; the bits are the same.
#ifndef CORE_CPU_KERNELS_ROUNDING_H_
#define CORE_CPU_KERNELS_ROUNDING_H_

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstring>

#include "tensorflow/core/platform/types.h"

namespace rounding {

using tensorflow::int32;
using tensorflow::int64;
using tensorflow::uint32;

// As bits of a float32: inf, NaN, 2^-126, 2^-14, 2^16.
constexpr int32 INFINITE = 0x7f800000, NOT_A_NUMBER = 0x7fc00000;
constexpr int32 SMALLEST_NORMAL = 0x00800000, SMALLEST_NORMAL_HALF = 0x38800000, BEYOND_HALF = 0x47800000;

template <typename To, typename From>
inline To bits_of(From from) {
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

// Rounds `size` values; returns the largest magnitude among them as bits, which for NaN is above that of infinity.
// A float16 has the fraction of an HF32, and exponents of its own.
template <int bits_lost, bool is_half, bool saturates>
int32 round_all(const float* x, float* y, int64 size, int32 limit) {
  int32 most = 0;
#pragma omp simd reduction(max : most)
  for (int64 i = 0; i < size; ++i) {
    const int32 bits = bits_of<int32>(x[i]), magnitude = bits & 0x7fffffff;
    most = std::max(most, magnitude);
    const bool is_nan = magnitude > INFINITE;
    const int32 sign = bits & ~0x7fffffff;
    int32 kept = magnitude;
    if (saturates) {
      // TensorFlow's threads take denormal operands for 0, so its minimum and maximum give 0.
      kept = is_nan || magnitude < SMALLEST_NORMAL ? 0 : std::min(kept, limit);
    }
    const uint32 last = 1u << bits_lost, odd = (static_cast<uint32>(kept) >> bits_lost) & 1;
    int32 rounded = static_cast<int32>((static_cast<uint32>(kept) + (last / 2 - 1) + odd) & ~(last - 1));
    if (is_half) {
      // Next to .5 the values of a float32 are as far apart as the denormal ones of a float16.
      const int32 denormal = bits_of<int32>((bits_of<float>(kept) + .5f) - .5f);
      rounded = kept < SMALLEST_NORMAL_HALF ? denormal : rounded;
      rounded = rounded >= BEYOND_HALF ? INFINITE : rounded;
    }
    if (!saturates) rounded = is_nan ? (is_half ? NOT_A_NUMBER : magnitude) : rounded;
    y[i] = bits_of<float>(sign | rounded);
  }
  return most;
}

#if defined(__AVX512F__)
// round_all() to float16 by the conversions of the CPU, which take half the time.
template <bool saturates>
int32 round_to_half(const float* x, float* y, int64 size, int32 limit) {
  const __m512i sign = _mm512_set1_epi32(~0x7fffffff), infinite = _mm512_set1_epi32(INFINITE);
  const __m512i most_kept = _mm512_set1_epi32(saturates ? limit : INFINITE);
  __m512i most = _mm512_setzero_si512();
  int64 i = 0;
  for (; i + 16 <= size; i += 16) {
    const __m512i bits = _mm512_loadu_si512(x + i), magnitude = _mm512_andnot_si512(sign, bits);
    most = _mm512_max_epi32(most, magnitude);
    const __mmask16 is_number = _mm512_cmple_epi32_mask(magnitude, infinite);
    const __m512i kept = _mm512_maskz_min_epi32(is_number, magnitude, most_kept);
    const __m512 half = _mm512_cvtph_ps(_mm512_cvtps_ph(_mm512_castsi512_ps(kept), _MM_FROUND_TO_NEAREST_INT));
    __m512i rounded = _mm512_castps_si512(half);
    if (!saturates) rounded = _mm512_mask_mov_epi32(_mm512_set1_epi32(NOT_A_NUMBER), is_number, rounded);
    _mm512_storeu_si512(y + i, _mm512_or_si512(rounded, _mm512_and_si512(sign, bits)));
  }
  const int32 of_rest = round_all<13, true, saturates>(x + i, y + i, size - i, limit);
  return std::max(_mm512_reduce_max_epi32(most), of_rest);
}
#else
template <bool saturates>
int32 round_to_half(const float* x, float* y, int64 size, int32 limit) {
  return round_all<13, true, saturates>(x, y, size, limit);
}
#endif

// The largest magnitude as bits. A function of its own, because a loop over what a lambda refers to is a slow one.
inline int32 largest_of(const float* x, int64 size) {
  int32 most = 0;
#pragma omp simd reduction(max : most)
  for (int64 i = 0; i < size; ++i) most = std::max(most, bits_of<int32>(x[i]) & 0x7fffffff);
  return most;
}

using Round = int32 (*)(const float*, float*, int64, int32);

// round_all() for a type by its name, float16, bfloat16 or hf32.
inline Round round_of(const tensorflow::string& dtype, bool saturates) {
  if (dtype == "float16") return saturates ? round_to_half<true> : round_to_half<false>;
  if (dtype == "bfloat16") return saturates ? round_all<16, false, true> : round_all<16, false, false>;
  return saturates ? round_all<13, false, true> : round_all<13, false, false>;
}

}  // namespace rounding

#endif  // CORE_CPU_KERNELS_ROUNDING_H_
