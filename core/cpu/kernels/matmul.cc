// MatMul of float32 matrices on a CPU, computed by oneDNN; but for tall matrices of few columns, in which it would fill
// its vectors by the smaller size. And BiasAddGrad, the sum of a matrix's rows.
#include "lanes.h"
#include "product.h"
#include "threads.h"

namespace {

using namespace tensorflow;  // NOLINT: a kernel file

// Adds narrow^T wide to sums, [few, many], for the rows first to last of both matrices, of which there are `rows`. Sums
// of up to VECTORS * LANES columns at a time stay in registers.
template <int few>
void add_product_of_rows(int64 first, int64 last, int64 rows, int64 many, const float* narrow, const float* wide,
                         float* sums) {
  constexpr int VECTORS = 4;
  for (int64 column = 0; column < many; column += VECTORS * LANES) {
    const int64 columns = std::min<int64>(VECTORS * LANES, many - column);
    Lanes total[few][VECTORS] = {};
    for (int64 i = first; i < last; ++i) {
      const float* x = wide + i * many + column;
      float end[VECTORS * LANES];  // what a last row would be read beyond
      if (x + VECTORS * LANES > wide + rows * many) x = std::copy_n(x, columns, end) - columns;
      for (int j = 0; j < few; ++j) {
        for (int v = 0; v < VECTORS; ++v) total[j][v] += narrow[i * few + j] * lanes(x + v * LANES);
      }
    }
    for (int j = 0; j < few; ++j) {
      const float* from = reinterpret_cast<const float*>(total[j]);
      for (int64 k = 0; k < columns; ++k) sums[j * many + column + k] += from[k];
    }
  }
}

// c = a b for the rows first to last of a, of which there are `rows`. `weights` is b transposed, [few, inner], each row
// of which ends with zeros that fill its last vector.
template <int few>
void product_for_few(int64 first, int64 last, int64 rows, int64 inner, const float* a, const float* weights,
                     float* c) {
  const int64 whole = inner / LANES * LANES, padded = (inner + LANES - 1) / LANES * LANES;
  Lanes number;
  for (int lane = 0; lane < LANES; ++lane) number[lane] = lane;
  const auto is_own = number < static_cast<float>(inner - whole);
  for (int64 i = first; i < last; ++i) {
    Lanes total[few] = {};
    const float* x = a + i * inner;
    for (int64 k = 0; k < whole; k += LANES) {
      for (int j = 0; j < few; ++j) total[j] += lanes(x + k) * lanes(weights + j * padded + k);
    }
    if (whole < padded) {
      Lanes end{};
      if (x + padded <= a + rows * inner) {
        end = is_own ? lanes(x + whole) : end;  // without the next row, of which 0 times infinity is no number
      } else {
        std::copy_n(x + whole, inner - whole, reinterpret_cast<float*>(&end));
      }
      for (int j = 0; j < few; ++j) total[j] += end * lanes(weights + j * padded + whole);
    }
    for (int j = 0; j < few; ++j) c[i * few + j] = sum_of<LANES>(total[j]);
  }
}

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
      const std::vector<float> weights = few_rows(transpose_b_, inner, columns, data_of(b));
      const float *x = data_of(a), *w = weights.data();
      float* y = data_of(c);
      return in_ranges(rows, threads, [=](int64 first, int64 last) {
        product_of_few(last - first, columns, inner, x + first * inner, w, y + first * columns);
      });
    }
    if (!transpose_a_ && columns <= FEW && rows >= MANY) {
      return product_for_few_columns(rows, columns, inner, data_of(a), data_of(b), transpose_b_, threads, data_of(c));
    }
    product(transpose_a_, transpose_b_, rows, columns, inner, data_of(a), data_of(b), data_of(c));
  }

 private:
  // c = a b, [rows, columns], with few columns.
  static void product_for_few_columns(int64 rows, int64 columns, int64 inner, const float* a, const float* b,
                                      bool transposes, int threads, float* c) {
    const int64 padded = (inner + LANES - 1) / LANES * LANES;
    Floats weights(columns * padded);
    for (int64 j = 0; j < columns; ++j) {
      for (int64 k = 0; k < inner; ++k) weights[j * padded + k] = transposes ? b[j * inner + k] : b[k * columns + j];
    }
    const float* w = weights.data();
    in_ranges(rows, threads, [=](int64 first, int64 last) {
      with_few(columns, [=](auto few) { product_for_few<decltype(few)::value>(first, last, rows, inner, a, w, c); });
    });
  }

  // c = narrow^T wide, [few, many], or transposed.
  static void product_of_tall(int64 few, int64 many, int64 inner, const float* narrow, const float* wide, int threads,
                              bool transposes, float* c) {
    const std::vector<double> sums = sums_of_blocks(inner, few * many, threads, [=](int64 i, int64 last, float* sum) {
      with_few(few, [=](auto known) {
        add_product_of_rows<decltype(known)::value>(i, last, inner, many, narrow, wide, sum);
      });
    });
    for (int64 j = 0; j < few; ++j) {
      for (int64 k = 0; k < many; ++k) c[transposes ? k * few + j : j * many + k] = sums[j * many + k];
    }
  }

  bool transpose_a_, transpose_b_;
};

class BiasAddGrad : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& gradient = context->input(0);
    OP_REQUIRES(context, gradient.dims() > 1, errors::InvalidArgument("The gradient of a bias is that of a matrix"));
    const int64 channels = gradient.dim_size(gradient.dims() - 1);
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({channels}), &out));
    const float* dy = data_of(gradient);
    const int threads = use_threads_of(context, gradient.NumElements());
    const int64 rows = channels ? gradient.NumElements() / channels : 0;
    const std::vector<double> sums = sums_over(rows, channels, threads, [=](int64 i, float* sum) {
#pragma omp simd
      for (int64 c = 0; c < channels; ++c) sum[c] += dy[i * channels + c];
    });
    std::copy(sums.begin(), sums.end(), data_of(out));
  }
};

REGISTER_FAST(MatMul, .TypeConstraint<float>("T"));
REGISTER_FAST(BiasAddGrad, .TypeConstraint<float>("T"));

}  // namespace
