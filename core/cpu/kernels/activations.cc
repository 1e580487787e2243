// Mish and Softplus of float32 tensors on a CPU and the gradients of Mish and ReLU, each in one pass.
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
class Activation : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& in = context->input(0);
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, in.shape(), &out));
    const float* x = data_of(in);
    float* y = data_of(out);
    in_ranges(in.NumElements(), use_threads_of(context, in.NumElements()), [=](int64 first, int64 last) {
      const Function function{};
#pragma omp simd
      for (int64 i = first; i < last; ++i) y[i] = function(x[i]);
    });
  }
};

template <typename Function>
class ActivationGradient : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &gradient = context->input(0), &features = context->input(1);
    OP_REQUIRES(context, gradient.NumElements() == features.NumElements(),
                errors::InvalidArgument("An activation of ", features.shape().DebugString(), " got the gradient ",
                                        gradient.shape().DebugString()));
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0, 1}, 0, gradient.shape(), &out));
    const float *dy = data_of(gradient), *x = data_of(features);
    float* dx = data_of(out);
    in_ranges(gradient.NumElements(), use_threads_of(context, gradient.NumElements()), [=](int64 first, int64 last) {
      const Function function{};
#pragma omp simd
      for (int64 i = first; i < last; ++i) dx[i] = function(dy[i], x[i]);
    });
  }
};

using Mish = Activation<MishValue>;
using Softplus = Activation<SoftplusValue>;
using MishGrad = ActivationGradient<MishSlope>;
using ReluGrad = ActivationGradient<ReluSlope>;

REGISTER_KERNEL_BUILDER(Name("Mish").Device(DEVICE_CPU), Mish);
REGISTER_KERNEL_BUILDER(Name("MishGrad").Device(DEVICE_CPU), MishGrad);
REGISTER_FAST(Softplus, .TypeConstraint<float>("T"));
REGISTER_FAST(ReluGrad, .TypeConstraint<float>("T"));

}  // namespace
