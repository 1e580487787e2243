// Biases and activations of float32 tensors on a CPU, and their gradients, each in one pass.
#include "functions.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "threads.h"

namespace {

using namespace tensorflow;  // NOLINT: a kernel file

REGISTER_OP("Mish")
    .Input("x: float")
    .Output("y: float")
    .SetShapeFn(shape_inference::UnchangedShape)
    .Doc("x * tanh(softplus(x)), elementwise (Misra 2019, arXiv 1908.08681).");
REGISTER_OP("MishGrad")
    .Input("gradients: float")
    .Input("features: float")
    .Output("backprops: float")
    .SetShapeFn(shape_inference::MergeBothInputsShapeFn)
    .Doc("The gradient of Mish at `features`, times `gradients`.");

template <typename Function>
void set_attributes(OpKernelConstruction*, Function*) {}

void set_attributes(OpKernelConstruction* context, LeakyReluValue* function) {
  OP_REQUIRES_OK(context, context->GetAttr("alpha", &function->alpha));
}

void set_attributes(OpKernelConstruction* context, LeakyReluSlope* function) {
  OP_REQUIRES_OK(context, context->GetAttr("alpha", &function->alpha));
}

template <typename Function>
class Activation : public OpKernel {
 public:
  explicit Activation(OpKernelConstruction* context) : OpKernel(context) { set_attributes(context, &function_); }

  void Compute(OpKernelContext* context) override {
    const Tensor& in = context->input(0);
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, in.shape(), &out));
    const float* x = data_of(in);
    float* y = data_of(out);
    const Function function = function_;
    in_ranges(in.NumElements(), use_threads_of(context, in.NumElements()), [=](int64 first, int64 last) {
      const Function own = function;  // a copy that no write can change, so that the loop need not read it again
#pragma omp simd
      for (int64 i = first; i < last; ++i) y[i] = own(x[i]);
    });
  }

 private:
  Function function_;
};

template <typename Function>
class ActivationGradient : public OpKernel {
 public:
  explicit ActivationGradient(OpKernelConstruction* context) : OpKernel(context) {
    set_attributes(context, &function_);
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &gradient = context->input(0), &features = context->input(1);
    OP_REQUIRES(context, gradient.NumElements() == features.NumElements(),
                errors::InvalidArgument("An activation of ", features.shape().DebugString(), " got the gradient ",
                                        gradient.shape().DebugString()));
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0, 1}, 0, gradient.shape(), &out));
    const float *dy = data_of(gradient), *x = data_of(features);
    float* dx = data_of(out);
    const Function function = function_;
    in_ranges(gradient.NumElements(), use_threads_of(context, gradient.NumElements()), [=](int64 first, int64 last) {
      const Function own = function;  // a copy that no write can change, so that the loop need not read it again
#pragma omp simd
      for (int64 i = first; i < last; ++i) dx[i] = own(dy[i], x[i]);
    });
  }

 private:
  Function function_;
};

class Bias : public OpKernel {
 public:
  explicit Bias(OpKernelConstruction* context) : OpKernel(context) {
    string format;
    OP_REQUIRES_OK(context, context->GetAttr("data_format", &format));
    OP_REQUIRES(context, format == "NHWC",
                errors::InvalidArgument("A bias on a CPU belongs to the last axis, which ", format, " does not say"));
  }
};

class BiasAdd : public Bias {
 public:
  using Bias::Bias;

  void Compute(OpKernelContext* context) override {
    const Tensor &in = context->input(0), &bias = context->input(1);
    const int64 channels = bias.NumElements();
    OP_REQUIRES(context, bias.dims() == 1 && in.dims() >= 2 && in.dim_size(in.dims() - 1) == channels,
                errors::InvalidArgument("A bias of ", bias.shape().DebugString(), " cannot be added to ",
                                        in.shape().DebugString()));
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, in.shape(), &out));
    if (channels == 0) return;
    const float *x = data_of(in), *b = data_of(bias);
    float* y = data_of(out);
    in_ranges(in.NumElements() / channels, use_threads_of(context, in.NumElements()), [=](int64 first, int64 last) {
      for (int64 i = first; i < last; ++i) {
#pragma omp simd
        for (int64 c = 0; c < channels; ++c) y[i * channels + c] = x[i * channels + c] + b[c];
      }
    });
  }
};

class BiasAddGrad : public Bias {
 public:
  using Bias::Bias;

  void Compute(OpKernelContext* context) override {
    const Tensor& gradient = context->input(0);
    OP_REQUIRES(context, gradient.dims() >= 2,
                errors::InvalidArgument("The gradient of a bias needs two axes, not ", gradient.dims()));
    const int64 channels = gradient.dim_size(gradient.dims() - 1);
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({channels}), &out));
    if (channels == 0) return;
    const float* dy = data_of(gradient);
    const std::vector<double> sums = sums_over(
        gradient.NumElements() / channels, channels, use_threads_of(context, gradient.NumElements()),
        [=](int64 i, float* sum) {
#pragma omp simd
          for (int64 c = 0; c < channels; ++c) sum[c] += dy[i * channels + c];
        });
    std::copy(sums.begin(), sums.end(), data_of(out));
  }
};

using Mish = Activation<MishValue>;
using MishGrad = ActivationGradient<MishSlope>;
using Relu = Activation<ReluValue>;
using ReluGrad = ActivationGradient<ReluSlope>;
using LeakyRelu = Activation<LeakyReluValue>;
using LeakyReluGrad = ActivationGradient<LeakyReluSlope>;

REGISTER_KERNEL_BUILDER(Name("Mish").Device(DEVICE_CPU), Mish);
REGISTER_KERNEL_BUILDER(Name("MishGrad").Device(DEVICE_CPU), MishGrad);
REGISTER_FAST(Relu, .TypeConstraint<float>("T"));
REGISTER_FAST(ReluGrad, .TypeConstraint<float>("T"));
REGISTER_FAST(LeakyRelu, .TypeConstraint<float>("T"));
REGISTER_FAST(LeakyReluGrad, .TypeConstraint<float>("T"));
REGISTER_FAST(BiasAdd, .TypeConstraint<float>("T"));
REGISTER_FAST(BiasAddGrad, .TypeConstraint<float>("T"));

}  // namespace
