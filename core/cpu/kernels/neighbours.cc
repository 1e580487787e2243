// MaxPoolGrad, LRN and LRNGrad of float32 NHWC images on a CPU: what each value gets from its neighbours, those of a
// pooling window or those in the channels beside it.
#include "threads.h"

namespace {

using namespace tensorflow;  // NOLINT: a kernel file

// The first of the largest values of a window gets the window's gradient, as in TensorFlow's own kernel.
class MaxPoolGrad : public OpKernel {
 public:
  explicit MaxPoolGrad(OpKernelConstruction* context) : OpKernel(context) {
    string format;
    OP_REQUIRES_OK(context, context->GetAttr("ksize", &size_));
    OP_REQUIRES_OK(context, context->GetAttr("strides", &strides_));
    OP_REQUIRES_OK(context, context->GetAttr("padding", &padding_));
    OP_REQUIRES_OK(context, context->GetAttr("data_format", &format));
    OP_REQUIRES(context, format == "NHWC" && size_[0] == 1 && size_[3] == 1,
                errors::Unimplemented("Max-pooling on a CPU takes NHWC images and pools over an image"));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &images = context->input(0), &pooled = context->input(1), &gradient = context->input(2);
    OP_REQUIRES(context, images.dims() == 4 && pooled.dims() == 4 && pooled.shape() == gradient.shape(),
                errors::InvalidArgument("Max-pooling of ", images.shape().DebugString(), " to ",
                                        pooled.shape().DebugString(), " got the gradient ",
                                        gradient.shape().DebugString()));
    Tensor* input_gradient = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, images.shape(), &input_gradient));
    const float *x = data_of(images), *y = data_of(pooled), *dy = data_of(gradient);
    float* dx = data_of(input_gradient);
    const int64 rows = images.dim_size(1), columns = images.dim_size(2), channels = images.dim_size(3);
    const int64 out_rows = pooled.dim_size(1), out_columns = pooled.dim_size(2);
    const int64 top = before(1, rows, out_rows), left = before(2, columns, out_columns);
    in_ranges(images.dim_size(0), use_threads_of(context), [=](int64 first, int64 last) {
      std::vector<int32> is_given(channels);
      for (int64 n = first; n < last; ++n) {
        const int64 image = n * rows * columns * channels;
        std::fill_n(dx + image, rows * columns * channels, 0.f);
        for (int64 i = 0; i < out_rows * out_columns; ++i) {
          const int64 row = i / out_columns * strides_[1] - top, column = i % out_columns * strides_[2] - left;
          const int64 window = (n * out_rows * out_columns + i) * channels;
          std::fill(is_given.begin(), is_given.end(), 0);
          for (int64 r = std::max<int64>(row, 0); r < std::min<int64>(row + size_[1], rows); ++r) {
            for (int64 c = std::max<int64>(column, 0); c < std::min<int64>(column + size_[2], columns); ++c) {
              give(channels, x + image + (r * columns + c) * channels, y + window, dy + window, is_given.data(),
                   dx + image + (r * columns + c) * channels);
            }
          }
        }
      }
    });
  }

 private:
  static void give(int64 channels, const float* x, const float* y, const float* dy, int32* is_given, float* dx) {
#pragma omp simd
    for (int64 c = 0; c < channels; ++c) {
      const int32 gets = (x[c] == y[c]) & (is_given[c] == 0);
      dx[c] += gets ? dy[c] : 0.f;
      is_given[c] |= gets;
    }
  }

  int64 before(int axis, int64 size, int64 output) const {
    if (padding_ == "VALID") return 0;
    return std::max<int64>((output - 1) * strides_[axis] + size_[axis] - size, 0) / 2;
  }

  std::vector<int32> size_, strides_;
  string padding_;
};

// y = x s^-beta with s = bias + alpha * (sum of the squares in the channels that are at most `radius` away).
class Normalisation : public OpKernel {
 public:
  explicit Normalisation(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("depth_radius", &radius_));
    OP_REQUIRES_OK(context, context->GetAttr("bias", &bias_));
    OP_REQUIRES_OK(context, context->GetAttr("alpha", &alpha_));
    OP_REQUIRES_OK(context, context->GetAttr("beta", &beta_));
  }

 protected:
  // A row has the values of one position in all channels, with `radius` zeros at either end.
  std::vector<float> row(int64 channels) const { return std::vector<float>(channels + 2 * radius_); }

  void squares_sum(const float* x, int64 channels, float* squares, float* s) const {
#pragma omp simd
    for (int64 c = 0; c < channels; ++c) squares[radius_ + c] = x[c] * x[c];
    sum_neighbours(squares, channels, s);
#pragma omp simd
    for (int64 c = 0; c < channels; ++c) s[c] = bias_ + alpha_ * s[c];
  }

  void sum_neighbours(const float* row, int64 channels, float* sums) const {
    std::copy_n(row, channels, sums);
    for (int64 k = 1; k <= 2 * radius_; ++k) {
#pragma omp simd
      for (int64 c = 0; c < channels; ++c) sums[c] += row[c + k];
    }
  }

  // The power with vector instructions for the exponent of AlexNet.
  void power(const float* s, int64 channels, float* out) const {
    if (beta_ == .75f) {
#pragma omp simd
      for (int64 c = 0; c < channels; ++c) {
        const float root = std::sqrt(s[c]);
        out[c] = 1 / (root * std::sqrt(root));
      }
    } else {
      for (int64 c = 0; c < channels; ++c) out[c] = std::pow(s[c], -beta_);
    }
  }

  int64 radius_;
  float bias_, alpha_, beta_;
};

class LRN : public Normalisation {
 public:
  using Normalisation::Normalisation;

  void Compute(OpKernelContext* context) override {
    const Tensor& images = context->input(0);
    OP_REQUIRES(context, images.dims() == 4, errors::InvalidArgument("LRN takes images of 4 dimensions"));
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, images.shape(), &out));
    const int64 channels = images.dim_size(3);
    if (images.NumElements() == 0) return;
    const float* x = data_of(images);
    float* y = data_of(out);
    in_ranges(images.NumElements() / channels, use_threads_of(context), [=](int64 first, int64 last) {
      std::vector<float> squares = row(channels), s(channels);
      for (int64 i = first * channels; i < last * channels; i += channels) {
        squares_sum(x + i, channels, squares.data(), s.data());
        power(s.data(), channels, s.data());
#pragma omp simd
        for (int64 c = 0; c < channels; ++c) y[i + c] = x[i + c] * s[c];
      }
    });
  }
};

// dx = dy s^-beta - 2 alpha beta x * (sum of dy y / s over the same channels).
class LRNGrad : public Normalisation {
 public:
  using Normalisation::Normalisation;

  void Compute(OpKernelContext* context) override {
    const Tensor &gradient = context->input(0), &images = context->input(1), &normalised = context->input(2);
    OP_REQUIRES(context, images.dims() == 4 && gradient.shape() == images.shape() &&
                             normalised.shape() == images.shape(),
                errors::InvalidArgument("The gradient of LRN takes three tensors of one shape"));
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, images.shape(), &out));
    const int64 channels = images.dim_size(3);
    if (images.NumElements() == 0) return;
    const float *dy = data_of(gradient), *x = data_of(images), *y = data_of(normalised);
    float* dx = data_of(out);
    const float factor = -2 * alpha_ * beta_;
    in_ranges(images.NumElements() / channels, use_threads_of(context), [=](int64 first, int64 last) {
      std::vector<float> padded = row(channels), s(channels), sums(channels);
      for (int64 i = first * channels; i < last * channels; i += channels) {
        squares_sum(x + i, channels, padded.data(), s.data());
#pragma omp simd
        for (int64 c = 0; c < channels; ++c) padded[radius_ + c] = dy[i + c] * y[i + c] / s[c];
        sum_neighbours(padded.data(), channels, sums.data());
        power(s.data(), channels, s.data());
#pragma omp simd
        for (int64 c = 0; c < channels; ++c) dx[i + c] = dy[i + c] * s[c] + factor * x[i + c] * sums[c];
      }
    });
  }
};

REGISTER_FAST(MaxPoolGrad, .TypeConstraint<float>("T"));
REGISTER_FAST(LRN, .TypeConstraint<float>("T"));
REGISTER_FAST(LRNGrad, .TypeConstraint<float>("T"));

}  // namespace
