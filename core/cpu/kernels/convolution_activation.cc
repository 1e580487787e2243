// A convolution of float32 images on a CPU and what follows it where nobody needs the numbers between: biases, batch
// norm by its averages, the sum with a residual block's shortcut, and an activation.
//
// The latter are `gamma / deviation * x + constant` a channel, so they are one pass over the outputs, or none where
// Winograd's algorithm makes these in registers.
#include "convolution.h"
#include "functions.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"

namespace {

using namespace convolutions;  // NOLINT: a kernel file

REGISTER_OP("ConvolutionActivation")
    .Input("x: float")
    .Input("kernel: float")
    .Input("biases: n * float")
    .Input("batch_norm: k * float")
    .Input("shortcut: m * float")
    .Output("y: float")
    .Attr("n: int >= 0")
    .Attr("k: int >= 0")
    .Attr("m: int >= 0")
    .Attr("strides: list(int)")
    .Attr("padding: {'SAME', 'VALID', 'EXPLICIT'}")
    .Attr("explicit_paddings: list(int) = []")
    .Attr("dilations: list(int) = [1, 1, 1, 1]")
    .Attr("data_format: {'NHWC'} = 'NHWC'")
    .Attr("epsilon: float = 0")
    .Attr("activation: {'identity', 'relu', 'leaky_relu', 'mish'}")
    .Attr("alpha: float = 0")
    .SetShapeFn(shape_inference::Conv2DShapeWithExplicitPadding)
    .Doc("activation(gamma * (convolution + bias - mean) / sqrt(variance + epsilon) + beta + shortcut); batch_norm is "
         "nothing, or gamma, beta, mean and variance.");

// What is done to the outputs of a convolution: activation(slope * y + constant + shortcut), slope and constant of each
// channel.
struct Finish {
  std::vector<float> slope, constant;
  const float* shortcut;  // null without one
};

class ConvolutionActivation : public Forward {
 public:
  explicit ConvolutionActivation(OpKernelConstruction* context) : Forward(context) {
    OP_REQUIRES_OK(context, context->GetAttr("n", &biases_));
    OP_REQUIRES_OK(context, context->GetAttr("k", &normalised_));
    OP_REQUIRES_OK(context, context->GetAttr("m", &shortcuts_));
    OP_REQUIRES_OK(context, context->GetAttr("epsilon", &epsilon_));
    OP_REQUIRES_OK(context, context->GetAttr("activation", &activation_));
    OP_REQUIRES_OK(context, context->GetAttr("alpha", &alpha_));
  }

 protected:
  void compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &kernel = context->input(1);
    Geometry g;
    OP_REQUIRES_OK(context, geometry(x.shape(), kernel.shape(), &g));
    Tensor* y = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, output_shape(g), &y));
    Finish finish;
    OP_REQUIRES_OK(context, finish_of(context, y->shape(), &finish));
    if (y->NumElements() == 0) return;
    if (activation_ == "mish") {
      run(context, g, finish, MishValue(), y);
    } else if (activation_ == "relu") {
      run(context, g, finish, ReluValue(), y);
    } else if (activation_ == "leaky_relu") {
      run(context, g, finish, LeakyReluValue{alpha_}, y);
    } else {
      run(context, g, finish, IdentityValue(), y);
    }
  }

 private:
  Status finish_of(OpKernelContext* context, const TensorShape& shape, Finish* out) const {
    const int64 channels = shape.dim_size(3);
    for (int i = 2; i < 2 + biases_ + normalised_; ++i) {
      if (context->input(i).NumElements() != channels) {
        return errors::InvalidArgument("A convolution of ", channels, " channels got ", context->input(i).NumElements(),
                                       " numbers for them");
      }
    }
    out->slope.assign(channels, 1.f);
    out->constant.assign(channels, 0.f);
    for (int i = 2; i < 2 + biases_; ++i) {
      const float* bias = data_of(context->input(i));
      for (int64 c = 0; c < channels; ++c) out->constant[c] += bias[c];
    }
    if (normalised_) {
      auto of = [&](int number) { return data_of(context->input(2 + biases_ + number)); };
      const float *gamma = of(0), *beta = of(1), *mean = of(2), *variance = of(3);
      for (int64 c = 0; c < channels; ++c) {
        out->slope[c] = gamma[c] / std::sqrt(variance[c] + epsilon_);
        out->constant[c] = beta[c] + (out->constant[c] - mean[c]) * out->slope[c];
      }
    }
    out->shortcut = nullptr;
    if (shortcuts_) {
      const Tensor& shortcut = context->input(context->num_inputs() - 1);
      if (shortcut.shape() != shape) {
        return errors::InvalidArgument("Images of ", shape.DebugString(), " got a shortcut of ",
                                       shortcut.shape().DebugString());
      }
      out->shortcut = data_of(shortcut);
    }
    return Status::OK();
  }

  template <typename Activation>
  void run(OpKernelContext* context, const Geometry& g, const Finish& finish, Activation activation, Tensor* y) {
    float* values = data_of(y);
    if (g.is_tiles()) return finish_tiles(context, g, finish, activation, values);
    convolve(context, g, values);
    const int64 channels = g.outputs;
    const float *slope = finish.slope.data(), *constant = finish.constant.data(), *shortcut = finish.shortcut;
    in_ranges(g.positions(), use_threads_of(context, y->NumElements()), [=](int64 first, int64 last) {
      const Activation own = activation;
      for (int64 start = first * channels; start < last * channels; start += channels) {
        float* row = values + start;
        const float* added = shortcut + start;
        if (shortcut) {
#pragma omp simd
          for (int64 c = 0; c < channels; ++c) row[c] = own(row[c] * slope[c] + constant[c] + added[c]);
        } else {
#pragma omp simd
          for (int64 c = 0; c < channels; ++c) row[c] = own(row[c] * slope[c] + constant[c]);
        }
      }
    });
  }

  template <typename Activation>
  void finish_tiles(OpKernelContext* context, const Geometry& g, const Finish& finish, Activation activation,
                    float* y) {
    const float *slope = finish.slope.data(), *constant = finish.constant.data(), *shortcut = finish.shortcut;
    convolve_tiles(context, g.forward(), data_of(context->input(0)), data_of(context->input(1)),
                   [=](int64 at, int64 k, Lanes value) {
      value = value * lanes(slope + k) + lanes(constant + k);
      if (shortcut) value += lanes(shortcut + at);
      lanes(y + at) = value;
#pragma omp simd
      for (int64 i = at; i < at + LANES; ++i) y[i] = activation(y[i]);
    });
  }

  float epsilon_, alpha_;
  int biases_, normalised_, shortcuts_;
  string activation_;
};

REGISTER_KERNEL_BUILDER(Name("ConvolutionActivation").Device(DEVICE_CPU), ConvolutionActivation);

}  // namespace
