// MatMul of float32 matrices on a CPU, computed by oneDNN; but for tall matrices of few columns, in which it would fill
// its vectors by the smaller size.
#include "product.h"
#include "threads.h"

namespace {

using namespace tensorflow;  // NOLINT: a kernel file

const int64 FEW = 4, MANY = 1024;  // inputs or outputs, and rows

class MatMul : public OpKernel {
 public:
  explicit MatMul(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("transpose_a", &transpose_a_));
    OP_REQUIRES_OK(context, context->GetAttr("transpose_b", &transpose_b_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &a = context->input(0), &b = context->input(1);
    OP_REQUIRES(context, a.dims() == 2 && b.dims() == 2, errors::InvalidArgument("MatMul takes two matrices"));
    const int64 rows = a.dim_size(transpose_a_), inner = a.dim_size(!transpose_a_);
    const int64 columns = b.dim_size(!transpose_b_);
    OP_REQUIRES(context, b.dim_size(transpose_b_) == inner,
                errors::InvalidArgument("Matrix sizes do not match: ", a.shape().DebugString(), " and ",
                                        b.shape().DebugString()));
    Tensor* c = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({rows, columns}), &c));
    if (inner == 0) std::fill_n(data_of(c), c->NumElements(), 0.f);
    if (inner == 0 || c->NumElements() == 0) return;
    const int threads = use_threads_of(context);
    if (transpose_a_ && !transpose_b_ && std::min(rows, columns) <= FEW && inner >= MANY) {
      const bool is_narrow = columns < rows;  // b
      const float *narrow = data_of(is_narrow ? b : a), *wide = data_of(is_narrow ? a : b);
      return product_of_tall(std::min(rows, columns), std::max(rows, columns), inner, narrow, wide, threads, is_narrow,
                             data_of(c));
    }
    if (!transpose_a_ && inner <= FEW && rows >= MANY) {
      return product_of_few(rows, columns, inner, data_of(a), data_of(b), transpose_b_, threads, data_of(c));
    }
    product(transpose_a_, transpose_b_, rows, columns, inner, data_of(a), data_of(b), data_of(c));
  }

 private:
  // c = a b, [rows, columns], with few rows of b.
  static void product_of_few(int64 rows, int64 columns, int64 few, const float* a, const float* b, bool transposes,
                             int threads, float* c) {
    std::vector<float> weights(few * columns);
    for (int64 j = 0; j < few; ++j) {
      for (int64 k = 0; k < columns; ++k) weights[j * columns + k] = transposes ? b[k * few + j] : b[j * columns + k];
    }
    const float* w = weights.data();
    in_ranges(rows, threads, [=](int64 first, int64 last) {
      for (int64 i = first; i < last; ++i) {
        float x[FEW] = {};
        std::copy_n(a + i * few, few, x);
        float* y = c + i * columns;
#pragma omp simd
        for (int64 k = 0; k < columns; ++k) y[k] = x[0] * w[k];
        for (int64 j = 1; j < few; ++j) {
#pragma omp simd
          for (int64 k = 0; k < columns; ++k) y[k] += x[j] * w[j * columns + k];
        }
      }
    });
  }

  // c = narrow^T wide, [few, many], or transposed.
  static void product_of_tall(int64 few, int64 many, int64 inner, const float* narrow, const float* wide, int threads,
                              bool transposes, float* c) {
    const std::vector<double> sums = sums_over(inner, few * many, threads, [=](int64 i, float* sum) {
      for (int64 j = 0; j < few; ++j) {
        const float factor = narrow[i * few + j];
#pragma omp simd
        for (int64 k = 0; k < many; ++k) sum[j * many + k] += factor * wide[i * many + k];
      }
    });
    for (int64 j = 0; j < few; ++j) {
      for (int64 k = 0; k < many; ++k) c[transposes ? k * few + j : j * many + k] = sums[j * many + k];
    }
  }

  bool transpose_a_, transpose_b_;
};

REGISTER_FAST(MatMul, .TypeConstraint<float>("T"));

}  // namespace
