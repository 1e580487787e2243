// Products of float32 matrices, which are stored row by row.
#ifndef CORE_HOST_KERNELS_PRODUCT_H_
#define CORE_HOST_KERNELS_PRODUCT_H_

#include "dnnl.h"

// c = a b, with c of `rows` by `columns`, after a and b are transposed where said.
inline void product(bool transpose_a, bool transpose_b, dnnl_dim_t rows, dnnl_dim_t columns, dnnl_dim_t inner,
                    const float* a, const float* b, float* c) {
  dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', rows, columns, inner, 1.f, a,
             transpose_a ? rows : inner, b, transpose_b ? inner : columns, 0.f, c, columns);
}

#endif  // CORE_HOST_KERNELS_PRODUCT_H_
