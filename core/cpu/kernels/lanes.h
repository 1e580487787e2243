// Vectors of numbers, of this machine's size: GCC takes larger ones apart, number by number.
#ifndef CORE_CPU_KERNELS_LANES_H_
#define CORE_CPU_KERNELS_LANES_H_

#include <cstring>

#include "tensorflow/core/platform/types.h"

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif
using Lanes = float __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

inline const Lanes& lanes(const float* x) { return *reinterpret_cast<const Lanes*>(x); }
inline Lanes& lanes(float* x) { return *reinterpret_cast<Lanes*>(x); }

// For matrices of too few columns to fill a vector, of which each number then belongs to another row: writes
// [columns, ROWS] of the first ROWS of the `rows` of x, [rows, columns]; `absent` is a row for what x lacks.
template <int ROWS>
void transpose(const float* x, tensorflow::int64 columns, tensorflow::int64 rows, const float* absent, float* out) {
  if (rows >= ROWS && columns < LANES) {
    // Gathered to vectors, because a vector of numbers that were written one by one cannot be read at once.
    for (tensorflow::int64 j = 0; j < columns; ++j) {
#pragma omp simd
      for (int i = 0; i < ROWS; ++i) out[j * ROWS + i] = x[i * columns + j];
    }
    return;
  }
  for (int i = 0; i < ROWS; ++i) {
    const float* row = i < rows ? x + i * columns : absent;
    for (tensorflow::int64 j = 0; j < columns; ++j) out[j * ROWS + i] = row[j];
  }
}

// The other way for one of few columns: writes the first `rows` numbers of x at distances of `columns`.
inline void spread(const float* x, tensorflow::int64 rows, tensorflow::int64 columns, float* out) {
#pragma omp simd
  for (tensorflow::int64 i = 0; i < rows; ++i) out[i * columns] = x[i];
}

template <int N>
struct Numbers {
  typedef float Type __attribute__((vector_size(4 * N)));
};

// The sum of N numbers, by halves, which fit the smaller vectors of the machine.
template <int N>
float sum_of(typename Numbers<N>::Type x) {
  typename Numbers<N / 2>::Type halves[2];
  std::memcpy(halves, &x, sizeof x);
  return sum_of<N / 2>(halves[0] + halves[1]);
}

template <>
inline float sum_of<2>(Numbers<2>::Type x) {
  return x[0] + x[1];
}

#endif  // CORE_CPU_KERNELS_LANES_H_
