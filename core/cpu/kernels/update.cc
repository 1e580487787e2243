// What a training step does with float32 weights on a CPU: the gradient of weight decay, momentum and Adam. Each is one
// pass, because they are bound by the memory that they read and write.
#include "tensorflow/core/framework/common_shape_fns.h"
#include "momentum.h"
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

  // TensorFlow runs it at once, while the gradient is in the cache, and not after everything else that is ready.
  bool IsExpensive() override { return false; }

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
    const float* g = data_of(gradient);
    const MomentumRule rule(*data_of(rate), *data_of(momentum), use_nesterov_);
    in_ranges(gradient.NumElements(), use_threads_of(context, gradient.NumElements()), [=](int64 first, int64 last) {
#pragma omp simd
      for (int64 i = first; i < last; ++i) rule.apply(g[i], v + i, w + i);
    });
    context->forward_ref_input_to_ref_output(0, 0);
  }

 private:
  bool use_nesterov_;
};

// Kingma and Ba 2014, arXiv 1412.6980, in the form of the end of its section 2, which has one factor for both corrections.
class ApplyAdam : public OpKernel {
 public:
  explicit ApplyAdam(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("use_nesterov", &use_nesterov_));
  }

  void Compute(OpKernelContext* context) override {
    Tensor variables[3];  // weights, first and second moment
    const Tensor& gradient = context->input(9);
    for (int i = 0; i < 3; ++i) {
      variables[i] = context->mutable_input(i, false);
      OP_REQUIRES(context, variables[i].IsInitialized(),
                  errors::FailedPrecondition("Variable ", requested_input(i), " has no value yet"));
      OP_REQUIRES(context, variables[i].shape() == gradient.shape(),
                  errors::InvalidArgument("A variable of ", variables[i].shape().DebugString(), " got the gradient ",
                                          gradient.shape().DebugString()));
    }
    float scalars[6];  // the powers of beta1 and beta2, the learning rate, beta1, beta2, epsilon
    for (int i = 0; i < 6; ++i) {
      OP_REQUIRES(context, context->input(3 + i).NumElements() == 1,
                  errors::InvalidArgument("Input ", 3 + i, " of ApplyAdam is no scalar"));
      scalars[i] = *data_of(context->input(3 + i));
    }
    float *w = data_of(&variables[0]), *m = data_of(&variables[1]), *v = data_of(&variables[2]);
    const float *g = data_of(gradient), beta1 = scalars[3], of_g = 1 - beta1, of_g2 = 1 - scalars[4];
    const float rate = scalars[2] * std::sqrt(1 - scalars[1]) / (1 - scalars[0]), epsilon = scalars[5];
    // Nesterov's rule looks a step ahead: beta1 m + (1 - beta1) g in the place of m.
    const float ahead_g = use_nesterov_ ? of_g : 0, ahead_m = use_nesterov_ ? beta1 : 1;
    in_ranges(gradient.NumElements(), use_threads_of(context, gradient.NumElements()), [=](int64 first, int64 last) {
#pragma omp simd
      for (int64 i = first; i < last; ++i) {
        m[i] += of_g * (g[i] - m[i]);
        v[i] += of_g2 * (g[i] * g[i] - v[i]);
        w[i] -= rate * (ahead_m * m[i] + ahead_g * g[i]) / (std::sqrt(v[i]) + epsilon);
      }
    });
    context->forward_ref_input_to_ref_output(0, 0);
  }

 private:
  bool use_nesterov_;
};

REGISTER_KERNEL_BUILDER(Name("AddWeightDecay").Device(DEVICE_CPU), AddWeightDecay);
REGISTER_FAST(ApplyMomentum, .TypeConstraint<float>("T"));
REGISTER_FAST(ApplyAdam, .TypeConstraint<float>("T"));

}  // namespace
