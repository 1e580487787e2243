// Rounding of float32 tensors to the values of a narrower type, in one pass that also sees what leaves the type's range,
// and the look at that range alone.
#include "rounding.h"

#include <atomic>

#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "threads.h"

namespace {

using namespace rounding;    // NOLINT: a kernel file
using namespace tensorflow;  // NOLINT: a kernel file

REGISTER_OP("RoundTo")
    .Input("x: float")
    .Output("y: float")
    .Output("leaves_range: bool")
    .Attr("dtype: {'float16', 'bfloat16', 'hf32'}")
    .Attr("largest: float")
    .Attr("saturates: bool")
    .SetShapeFn([](shape_inference::InferenceContext* context) {
      context->set_output(0, context->input(0));
      context->set_output(1, context->Scalar());
      return Status::OK();
    })
    .Doc("x rounded to the nearest value of a type with ties to even, and whether a value is beyond +-largest or NaN.");

REGISTER_OP("RoundVariable")
    .Input("variable: Ref(float)")
    .Attr("dtype: {'float16', 'bfloat16', 'hf32'}")
    .Attr("largest: float")
    .Attr("saturates: bool")
    .SetShapeFn(shape_inference::NoOutputs)
    .Doc("RoundTo for the values of a variable, in their place.");
REGISTER_OP("IsWithin")
    .Input("x: float")
    .Output("is_within: bool")
    .Attr("largest: float")
    .Attr("may_be_largest: bool")
    .SetShapeFn(shape_inference::ScalarShape)
    .Doc("Whether all magnitudes of x are at most `largest`, or smaller; NaN is not.");

class Rounding : public OpKernel {
 public:
  explicit Rounding(OpKernelConstruction* context) : OpKernel(context) {
    string dtype;
    float largest;
    bool saturates;
    OP_REQUIRES_OK(context, context->GetAttr("dtype", &dtype));
    OP_REQUIRES_OK(context, context->GetAttr("largest", &largest));
    OP_REQUIRES_OK(context, context->GetAttr("saturates", &saturates));
    limit_ = bits_of<int32>(largest);
    round_ = round_of(dtype, saturates);
  }

 protected:
  // Rounds `size` values of x into y; returns whether one leaves the range.
  bool round(OpKernelContext* context, const float* x, float* y, int64 size) const {
    std::atomic<bool> leaves(false);
    // Another thread is worth its start for more numbers than elsewhere, because one takes a few instructions.
    in_ranges(size, use_threads_of(context, size / 4), [&](int64 first, int64 last) {
      if (round_(x + first, y + first, last - first, limit_) > limit_) leaves = true;
    });
    return leaves;
  }

 private:
  int32 limit_;
  Round round_;
};

class RoundTo : public Rounding {
 public:
  using Rounding::Rounding;

  void Compute(OpKernelContext* context) override {
    const Tensor& in = context->input(0);
    Tensor *out = nullptr, *leaves_range = nullptr;
    const float* x = data_of(in);
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, in.shape(), &out));
    OP_REQUIRES_OK(context, context->allocate_output(1, TensorShape({}), &leaves_range));
    leaves_range->scalar<bool>()() = round(context, x, data_of(out), in.NumElements());
  }
};

class RoundVariable : public Rounding {
 public:
  using Rounding::Rounding;

  void Compute(OpKernelContext* context) override {
    Tensor variable = context->mutable_input(0, false);
    OP_REQUIRES(context, variable.IsInitialized(),
                errors::FailedPrecondition("Variable ", requested_input(0), " has no value yet"));
    float* values = data_of(&variable);
    round(context, values, values, variable.NumElements());
  }
};

class IsWithin : public OpKernel {
 public:
  explicit IsWithin(OpKernelConstruction* context) : OpKernel(context) {
    float largest;
    bool may_be_largest;
    OP_REQUIRES_OK(context, context->GetAttr("largest", &largest));
    OP_REQUIRES_OK(context, context->GetAttr("may_be_largest", &may_be_largest));
    limit_ = bits_of<int32>(largest) - !may_be_largest;
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& in = context->input(0);
    const float* x = data_of(in);
    Tensor* is_within = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({}), &is_within));
    std::atomic<bool> leaves(false);
    in_ranges(in.NumElements(), use_threads_of(context, in.NumElements() / 8), [&](int64 first, int64 last) {
      if (largest_of(x + first, last - first) > limit_) leaves = true;
    });
    is_within->scalar<bool>()() = !leaves;
  }

 private:
  int32 limit_;
};

REGISTER_KERNEL_BUILDER(Name("RoundTo").Device(DEVICE_CPU), RoundTo);
REGISTER_KERNEL_BUILDER(Name("RoundVariable").Device(DEVICE_CPU), RoundVariable);
REGISTER_KERNEL_BUILDER(Name("IsWithin").Device(DEVICE_CPU), IsWithin);

}  // namespace
