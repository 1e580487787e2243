// Products of float32 matrices, which are stored row by row.
#ifndef CORE_CPU_KERNELS_PRODUCT_H_
#define CORE_CPU_KERNELS_PRODUCT_H_

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

#endif  // CORE_CPU_KERNELS_PRODUCT_H_
