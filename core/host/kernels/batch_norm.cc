// FusedBatchNormV3 and FusedBatchNormGradV3 of float32 NHWC images on a CPU, each in two passes over the images.
// The images are a matrix of positions by channels.
#include "threads.h"

namespace {

using namespace tensorflow;  // NOLINT: a kernel file

class BatchNorm : public OpKernel {
 public:
  explicit BatchNorm(OpKernelConstruction* context) : OpKernel(context) {
    string format;
    OP_REQUIRES_OK(context, context->GetAttr("epsilon", &epsilon_));
    OP_REQUIRES_OK(context, context->GetAttr("is_training", &is_training_));
    OP_REQUIRES_OK(context, context->GetAttr("data_format", &format));
    OP_REQUIRES(context, format == "NHWC",
                errors::InvalidArgument("Batch norm on a CPU takes NHWC images, not ", format));
  }

 protected:
  float epsilon_;
  bool is_training_;
};

// Where an output of one value per channel is; null when there is no memory, which the context then knows.
float* channels_of(OpKernelContext* context, int output, int64 channels) {
  Tensor* tensor = nullptr;
  const Status status = context->allocate_output(output, TensorShape({channels}), &tensor);
  context->SetStatus(status);
  return status.ok() ? data_of(tensor) : nullptr;
}

// Inputs x, scale, offset, mean and variance (for a test); outputs y, mean, unbiased variance, and for the gradient
// mean, variance and an unused one.
class FusedBatchNormV3 : public BatchNorm {
 public:
  using BatchNorm::BatchNorm;

  void Compute(OpKernelContext* context) override {
    const Tensor& images = context->input(0);
    const int64 channels = context->input(1).NumElements();
    OP_REQUIRES(context, images.dims() == 4 && images.dim_size(3) == channels,
                errors::InvalidArgument("Batch norm of ", channels, " channels got ", images.shape().DebugString()));
    const int64 positions = images.NumElements() / std::max<int64>(channels, 1);
    const float* x = data_of(images);
    Tensor *normalised = nullptr, *unused = nullptr;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({}, 0, images.shape(), &normalised));
    OP_REQUIRES_OK(context, context->allocate_output(5, TensorShape({}), &unused));
    *data_of(unused) = 0;
    float* y = data_of(normalised);
    float* outputs[4];
    for (int i = 0; i < 4; ++i) {
      outputs[i] = channels_of(context, 1 + i, channels);
      if (outputs[i] == nullptr) return;
    }
    float *mean = outputs[0], *variance = outputs[1], *saved_mean = outputs[2], *saved_variance = outputs[3];
    const int threads = use_threads_of(context);
    if (is_training_) {
      statistics(x, positions, channels, threads, mean, variance, saved_variance);
    } else {
      std::copy_n(data_of(context->input(3)), channels, mean);
      std::copy_n(data_of(context->input(4)), channels, variance);
      std::copy_n(variance, channels, saved_variance);
    }
    std::copy_n(mean, channels, saved_mean);
    const float *scale = data_of(context->input(1)), *offset = data_of(context->input(2));
    std::vector<float> slope(channels), constant(channels);
    for (int64 c = 0; c < channels; ++c) {
      slope[c] = scale[c] / std::sqrt(saved_variance[c] + epsilon_);
      constant[c] = offset[c] - mean[c] * slope[c];
    }
    const float *a = slope.data(), *b = constant.data();
    in_ranges(positions, threads, [=](int64 first, int64 last) {
      for (int64 i = first; i < last; ++i) {
#pragma omp simd
        for (int64 c = 0; c < channels; ++c) y[i * channels + c] = x[i * channels + c] * a[c] + b[c];
      }
    });
  }

 private:
  // The squares are those of the distance to the first position, because the variance of values far from 0 would be
  // lost in the difference of two large numbers.
  static void statistics(const float* x, int64 positions, int64 channels, int threads, float* mean, float* unbiased,
                         float* variance) {
    const std::vector<double> sums = sums_over(positions, 2 * channels, threads, [=](int64 i, float* sum) {
      float* squares = sum + channels;
#pragma omp simd
      for (int64 c = 0; c < channels; ++c) {
        const float distance = x[i * channels + c] - x[c];
        sum[c] += distance;
        squares[c] += distance * distance;
      }
    });
    for (int64 c = 0; c < channels; ++c) {
      const double shift = positions ? sums[c] / positions : 0;
      const double value = positions ? std::max(sums[channels + c] / positions - shift * shift, 0.) : 0;
      mean[c] = positions ? x[c] + shift : 0;
      variance[c] = value;
      unbiased[c] = value * positions / std::max<int64>(positions - 1, 1);
    }
  }
};

// Inputs dy, x, scale, mean, variance and an unused one; outputs the gradients of x, scale and offset, and two unused.
class FusedBatchNormGradV3 : public BatchNorm {
 public:
  using BatchNorm::BatchNorm;

  void Compute(OpKernelContext* context) override {
    const Tensor &gradient = context->input(0), &images = context->input(1);
    const int64 channels = context->input(2).NumElements();
    OP_REQUIRES(context, images.dims() == 4 && images.dim_size(3) == channels && gradient.shape() == images.shape(),
                errors::InvalidArgument("Batch norm of ", channels, " channels got ", images.shape().DebugString(),
                                        " and the gradient ", gradient.shape().DebugString()));
    const int64 positions = images.NumElements() / std::max<int64>(channels, 1);
    const float *dy = data_of(gradient), *x = data_of(images);
    const float* scale = data_of(context->input(2));
    const float *mean = data_of(context->input(3)), *variance = data_of(context->input(4));
    Tensor *input_gradient = nullptr, *unused = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, images.shape(), &input_gradient));
    float* dscale = channels_of(context, 1, channels);
    float* doffset = channels_of(context, 2, channels);
    if (dscale == nullptr || doffset == nullptr) return;
    for (int i : {3, 4}) OP_REQUIRES_OK(context, context->allocate_output(i, TensorShape({}), &unused));
    const int threads = use_threads_of(context);
    const std::vector<double> sums = sums_over(positions, 2 * channels, threads, [=](int64 i, float* sum) {
      float* products = sum + channels;
#pragma omp simd
      for (int64 c = 0; c < channels; ++c) {
        const float value = dy[i * channels + c];
        sum[c] += value;
        products[c] += value * (x[i * channels + c] - mean[c]);
      }
    });
    // dx = slope * (dy - mean of dy - (x - mean) * mean of dy * (x - mean) / variance) = a dy + b x + d
    std::vector<float> ofdy(channels), ofx(channels), constant(channels);
    for (int64 c = 0; c < channels; ++c) {
      const double deviation = 1 / std::sqrt(double{variance[c]} + epsilon_);
      dscale[c] = sums[channels + c] * deviation;
      doffset[c] = sums[c];
      const double slope = scale[c] * deviation;
      ofdy[c] = slope;
      if (is_training_) {
        const double byx = -slope * deviation * deviation * sums[channels + c] / positions;
        ofx[c] = byx;
        constant[c] = -slope * sums[c] / positions - byx * mean[c];
      }
    }
    float* dx = data_of(input_gradient);
    const float *a = ofdy.data(), *b = ofx.data(), *d = constant.data();
    in_ranges(positions, threads, [=](int64 first, int64 last) {
      for (int64 i = first; i < last; ++i) {
#pragma omp simd
        for (int64 c = 0; c < channels; ++c) {
          dx[i * channels + c] = a[c] * dy[i * channels + c] + (b[c] * x[i * channels + c] + d[c]);
        }
      }
    });
  }
};

#define OF_FLOATS .TypeConstraint<float>("T").TypeConstraint<float>("U")
REGISTER_FAST(FusedBatchNormV3, OF_FLOATS);
REGISTER_FAST(FusedBatchNormGradV3, OF_FLOATS);

}  // namespace
