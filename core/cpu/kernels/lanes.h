// Vectors of which each number belongs to another row of a matrix, for matrices of too few columns to fill a vector.
#ifndef CORE_CPU_KERNELS_LANES_H_
#define CORE_CPU_KERNELS_LANES_H_

#include "tensorflow/core/platform/types.h"

constexpr int LANES = 16;
// GCC makes instructions of this machine's vectors of it.
using Lanes = float __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

inline const Lanes& lanes(const float* x) { return *reinterpret_cast<const Lanes*>(x); }
inline Lanes& lanes(float* x) { return *reinterpret_cast<Lanes*>(x); }

// Writes [columns, ROWS] of the first ROWS of the `rows` of x, [rows, columns]; `absent` is a row for what x lacks.
template <int ROWS>
void transpose(const float* x, tensorflow::int64 columns, tensorflow::int64 rows, const float* absent, float* out) {
  for (int i = 0; i < ROWS; ++i) {
    const float* row = i < rows ? x + i * columns : absent;
    for (tensorflow::int64 j = 0; j < columns; ++j) out[j * ROWS + i] = row[j];
  }
}

#endif  // CORE_CPU_KERNELS_LANES_H_
