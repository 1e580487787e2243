// Rounding of float32 tensors to the values of a narrower type, in one pass that also sees what leaves the type's range,
// and the look at that range alone.
// The reference is round_to() of core/ascend/emulation/emulation.py, in TensorFlow's own operators; the bits are the same.
#include <atomic>
#include <cstring>

#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "threads.h"

namespace {

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

// As bits of a float32: inf, NaN, 2^-126, 2^-14, 2^16.
const int32 INFINITE = 0x7f800000, NOT_A_NUMBER = 0x7fc00000;
const int32 SMALLEST_NORMAL = 0x00800000, SMALLEST_NORMAL_HALF = 0x38800000, BEYOND_HALF = 0x47800000;

template <typename To, typename From>
inline To bits_of(From from) {
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

// Rounds `size` values; returns the largest magnitude among them as bits, which for NaN is above that of infinity.
// A float16 has the fraction of an HF32, and exponents of its own.
template <int bits_lost, bool is_half, bool saturates>
int32 round_all(const float* x, float* y, int64 size, int32 limit) {
  int32 most = 0;
#pragma omp simd reduction(max : most)
  for (int64 i = 0; i < size; ++i) {
    const int32 bits = bits_of<int32>(x[i]), magnitude = bits & 0x7fffffff;
    most = std::max(most, magnitude);
    const bool is_nan = magnitude > INFINITE;
    const int32 sign = bits & ~0x7fffffff;
    int32 kept = magnitude;
    if (saturates) {
      // TensorFlow's threads take denormal operands for 0, so its minimum and maximum give 0.
      kept = is_nan || magnitude < SMALLEST_NORMAL ? 0 : std::min(kept, limit);
    }
    const uint32 last = 1u << bits_lost, odd = (static_cast<uint32>(kept) >> bits_lost) & 1;
    int32 rounded = static_cast<int32>((static_cast<uint32>(kept) + (last / 2 - 1) + odd) & ~(last - 1));
    if (is_half) {
      // Next to .5 the values of a float32 are as far apart as the denormal ones of a float16.
      const int32 denormal = bits_of<int32>((bits_of<float>(kept) + .5f) - .5f);
      rounded = kept < SMALLEST_NORMAL_HALF ? denormal : rounded;
      rounded = rounded >= BEYOND_HALF ? INFINITE : rounded;
    }
    if (!saturates) rounded = is_nan ? (is_half ? NOT_A_NUMBER : magnitude) : rounded;
    y[i] = bits_of<float>(sign | rounded);
  }
  return most;
}

// The largest magnitude as bits. A function of its own, because a loop over what a lambda refers to is a slow one.
int32 largest_of(const float* x, int64 size) {
  int32 most = 0;
#pragma omp simd reduction(max : most)
  for (int64 i = 0; i < size; ++i) most = std::max(most, bits_of<int32>(x[i]) & 0x7fffffff);
  return most;
}

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
    if (dtype == "float16") {
      round_ = saturates ? round_all<13, true, true> : round_all<13, true, false>;
    } else if (dtype == "bfloat16") {
      round_ = saturates ? round_all<16, false, true> : round_all<16, false, false>;
    } else {
      round_ = saturates ? round_all<13, false, true> : round_all<13, false, false>;
    }
  }


 protected:
  // Rounds `size` values of x into y; returns whether one leaves the range.
  bool round(OpKernelContext* context, const float* x, float* y, int64 size) const {
    std::atomic<bool> leaves(false);
    in_ranges(size, use_threads_of(context, size), [&](int64 first, int64 last) {
      if (round_(x + first, y + first, last - first, limit_) > limit_) leaves = true;
    });
    return leaves;
  }

 private:
  int32 limit_;
  int32 (*round_)(const float*, float*, int64, int32);
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
    in_ranges(in.NumElements(), use_threads_of(context, in.NumElements()), [&](int64 first, int64 last) {
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
