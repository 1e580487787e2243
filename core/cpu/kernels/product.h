// Products of float32 matrices, which are stored row by row.
#ifndef CORE_CPU_KERNELS_PRODUCT_H_
#define CORE_CPU_KERNELS_PRODUCT_H_

#include <algorithm>
#include <type_traits>
#include <vector>

#include "dnnl.h"

// c = a b, with c of `rows` by `columns`, after a and b are transposed where said.
inline void product(bool transpose_a, bool transpose_b, dnnl_dim_t rows, dnnl_dim_t columns, dnnl_dim_t inner,
                    const float* a, const float* b, float* c) {
  dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', rows, columns, inner, 1.f, a,
             transpose_a ? rows : inner, b, transpose_b ? inner : columns, 0.f, c, columns);
}

// A matrix whose rows lie `stride` numbers apart.
struct Rows {
  const float* first;
  dnnl_dim_t stride;
};

// c = c + a b, as above.
inline void add_product(bool transpose_a, bool transpose_b, dnnl_dim_t rows, dnnl_dim_t columns, dnnl_dim_t inner,
                        Rows a, Rows b, Rows c) {
  dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', rows, columns, inner, 1.f, a.first, a.stride, b.first,
             b.stride, 1.f, const_cast<float*>(c.first), c.stride);
}

// A product of many rows and few inputs, in which oneDNN would fill its vectors by the inputs.
constexpr dnnl_dim_t FEW = 4, MANY = 1024;

// c = a b for `rows` rows of a, [rows, few], with b of [few, columns].
template <int few>
void product_of(dnnl_dim_t rows, dnnl_dim_t columns, const float* a, const float* b, float* c) {
  for (dnnl_dim_t i = 0; i < rows; ++i) {
    float x[few];
    std::copy_n(a + i * few, few, x);
    float* y = c + i * columns;
#pragma omp simd
    for (dnnl_dim_t k = 0; k < columns; ++k) {
      float sum = x[0] * b[k];
      for (int j = 1; j < few; ++j) sum += x[j] * b[j * columns + k];
      y[k] = sum;
    }
  }
}

// Calls work(std::integral_constant<int, few>()), with few from 1 to FEW: a number that the compiler knows.
template <typename Work>
void with_few(dnnl_dim_t few, Work work) {
  switch (few) {
    case 1: return work(std::integral_constant<int, 1>());
    case 2: return work(std::integral_constant<int, 2>());
    case 3: return work(std::integral_constant<int, 3>());
    default: return work(std::integral_constant<int, FEW>());
  }
}

// product_of() with few from 1 to FEW.
inline void product_of_few(dnnl_dim_t rows, dnnl_dim_t columns, dnnl_dim_t few, const float* a, const float* b,
                           float* c) {
  with_few(few, [=](auto known) { product_of<decltype(known)::value>(rows, columns, a, b, c); });
}

// b as [few, columns]; transposes: whether it lies as [columns, few].
inline std::vector<float> few_rows(bool transposes, dnnl_dim_t few, dnnl_dim_t columns, const float* b) {
  std::vector<float> rows(b, b + few * columns);
  for (dnnl_dim_t i = 0; transposes && i < few * columns; ++i) rows[i % few * columns + i / few] = b[i];
  return rows;
}

#endif  // CORE_CPU_KERNELS_PRODUCT_H_
