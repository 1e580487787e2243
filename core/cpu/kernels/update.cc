// What a training step does with float32 weights on a CPU: the gradient of weight decay, and momentum. Each is one
// pass, because they are bound by the memory that they read and write.
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "threads.h"

namespace {

using namespace tensorflow;  // NOLINT: a kernel file

REGISTER_OP("AddWeightDecay")
    .Input("gradients: float")
    .Input("weights: float")
    .Input("rate: float")
    .Output("sum: float")
    .SetShapeFn(shape_inference::MergeBothInputsShapeFn)
    .Doc("gradients + rate * weights, with a scalar rate. Writes into the gradients where nothing else reads them.");

class AddWeightDecay : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &gradient = context->input(0), &weights = context->input(1), &rate = context->input(2);
    OP_REQUIRES(context, gradient.shape() == weights.shape() && rate.NumElements() == 1,
                errors::InvalidArgument("Weights of ", weights.shape().DebugString(), " got the gradient ",
                                        gradient.shape().DebugString(), " and the rate ", rate.shape().DebugString()));
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, gradient.shape(), &out));
    const float *g = data_of(gradient), *w = data_of(weights), r = *data_of(rate);
    float* sum = data_of(out);
    in_ranges(gradient.NumElements(), use_threads_of(context, gradient.NumElements()), [=](int64 first, int64 last) {
#pragma omp simd
      for (int64 i = first; i < last; ++i) sum[i] = g[i] + r * w[i];
    });
  }
};

class ApplyMomentum : public OpKernel {
 public:
  explicit ApplyMomentum(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("use_nesterov", &use_nesterov_));
  }

  void Compute(OpKernelContext* context) override {
    Tensor weights = context->mutable_input(0, false), velocity = context->mutable_input(1, false);
    const Tensor &rate = context->input(2), &gradient = context->input(3), &momentum = context->input(4);
    OP_REQUIRES(context, weights.IsInitialized() && velocity.IsInitialized(),
                errors::FailedPrecondition("Variable ", requested_input(0), " has no value yet"));
    OP_REQUIRES(context, weights.shape() == gradient.shape() && weights.shape() == velocity.shape() &&
                rate.NumElements() == 1 && momentum.NumElements() == 1,
                errors::InvalidArgument("Weights of ", weights.shape().DebugString(), " got the gradient ",
                                        gradient.shape().DebugString()));
    float *w = data_of(&weights), *v = data_of(&velocity);
    const float *g = data_of(gradient), r = *data_of(rate), m = *data_of(momentum);
    // Nesterov's rule looks a step ahead: r (g + m v) in the place of r v.
    const float of_g = use_nesterov_ ? r : 0, of_v = use_nesterov_ ? r * m : r;
    in_ranges(gradient.NumElements(), use_threads_of(context, gradient.NumElements()), [=](int64 first, int64 last) {
#pragma omp simd
      for (int64 i = first; i < last; ++i) {
        v[i] = m * v[i] + g[i];
        w[i] -= of_g * g[i] + of_v * v[i];
      }
    });
    context->forward_ref_input_to_ref_output(0, 0);
  }

 private:
  bool use_nesterov_;
};

REGISTER_KERNEL_BUILDER(Name("AddWeightDecay").Device(DEVICE_CPU), AddWeightDecay);
REGISTER_FAST(ApplyMomentum, .TypeConstraint<float>("T"));

}  // namespace
