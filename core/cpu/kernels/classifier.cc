// What follows the float32 logits of a classifier, [rows, classes], on a CPU: their cross entropy and what takes them
// to classes and back. TensorFlow's own kernels take several times as long where there are few classes.
#include <limits>

#include "functions.h"
#include "lanes.h"
#include "threads.h"

namespace {

using namespace tensorflow;  // NOLINT: a kernel file

// Inputs logits and labels, [rows, classes] both; outputs the loss of each row, and its gradient at the logits.
class SoftmaxCrossEntropyWithLogits : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &logits = context->input(0), &labels = context->input(1);
    OP_REQUIRES(context, logits.dims() == 2 && logits.shape() == labels.shape(),
                errors::InvalidArgument("Logits of ", logits.shape().DebugString(), " need labels of that shape, not ",
                                        labels.shape().DebugString()));
    const int64 rows = logits.dim_size(0), classes = logits.dim_size(1);
    Tensor *losses = nullptr, *gradients = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({rows}), &losses));
    OP_REQUIRES_OK(context, context->allocate_output(1, logits.shape(), &gradients));
    const float *x = data_of(logits), *p = data_of(labels);
    float *loss = data_of(losses), *dx = data_of(gradients);
    // An exponential takes about as long as eight numbers that are read and written.
    const int threads = use_threads_of(context, 8 * logits.NumElements(), SMALL_ALONE);
    in_ranges((rows + LANES - 1) / LANES, threads, [=](int64 first, int64 last) {
      Floats shifted(classes * LANES), exponentials(classes * LANES), targets(classes * LANES);
      for (int64 i = first * LANES; i < std::min(last * LANES, rows); i += LANES) {
        const int64 count = std::min<int64>(LANES, rows - i);
        transpose<LANES>(x + i * classes, classes, count, x, shifted.data());
        transpose<LANES>(p + i * classes, classes, count, p, targets.data());
        of_rows(shifted.data(), exponentials.data(), targets.data(), count, classes, loss + i, dx + i * classes);
      }
    });
  }

 private:
  // All in lanes: of `logits` the distances to the largest remain, `e` becomes their exponentials.
  static void of_rows(float* logits, float* e, const float* targets, int64 rows, int64 classes, float* loss, float* dx) {
    Lanes largest = lanes(logits), sum{}, log_sum, total{};
    for (int64 i = LANES; i < classes * LANES; i += LANES) {
      largest = largest < lanes(logits + i) ? lanes(logits + i) : largest;
    }
    for (int64 i = 0; i < classes * LANES; i += LANES) {
      lanes(logits + i) -= largest;
#pragma omp simd
      for (int64 lane = i; lane < i + LANES; ++lane) e[lane] = exponential(std::max(logits[lane], -87.f));
      sum += lanes(e + i);
    }
#pragma omp simd
    for (int lane = 0; lane < LANES; ++lane) log_sum[lane] = logarithm(sum[lane]);
    for (int64 i = 0; i < classes * LANES; i += LANES) {
      total += lanes(targets + i) * (log_sum - lanes(logits + i));
      lanes(e + i) = lanes(e + i) / sum - lanes(targets + i);
    }
    for (int64 row = 0; row < rows; ++row) {
      loss[row] = total[row];
      for (int64 c = 0; c < classes; ++c) dx[row * classes + c] = e[c * LANES + row];
    }
  }
};

// Inputs classes, [rows], depth, on_value and off_value; output [rows, depth].
template <typename Class>
class OneHot : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& classes = context->input(0);
    const int64 depth = context->input(1).scalar<int32>()();
    const float on = *data_of(context->input(2)), off = *data_of(context->input(3));
    OP_REQUIRES(context, depth >= 0, errors::InvalidArgument("depth must be non-negative, got: ", depth));
    TensorShape shape = classes.shape();
    shape.AddDim(depth);
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &out));
    const Class* of = reinterpret_cast<const Class*>(classes.tensor_data().data());
    float* y = data_of(out);
    in_ranges(classes.NumElements(), use_threads_of(context, out->NumElements(), SMALL_ALONE), [=](int64 first, int64 last) {
      std::fill(y + first * depth, y + last * depth, off);
      for (int64 i = first; i < last; ++i) {
        if (of[i] >= 0 && of[i] < depth) y[i * depth + of[i]] = on;
      }
    });
  }
};

// Inputs x, [rows, classes], and the axis, 1; output [rows], the first of the classes that have the largest number.
template <typename Class>
class ArgMax : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& in = context->input(0);
    OP_REQUIRES(context, in.dims() == 2 && in.dim_size(1) > 0,
                errors::InvalidArgument("There is no largest class of ", in.shape().DebugString()));
    const int64 classes = in.dim_size(1);
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({in.dim_size(0)}), &out));
    const float* x = data_of(in);
    Class* y = reinterpret_cast<Class*>(const_cast<char*>(out->tensor_data().data()));
    in_ranges(in.dim_size(0), use_threads_of(context, in.NumElements(), SMALL_ALONE), [=](int64 first, int64 last) {
      for (int64 i = first; i < last; ++i) {
        const float* row = x + i * classes;
        int64 best = 0;
        float largest = std::numeric_limits<float>::lowest();
        for (int64 c = 0; c < classes; ++c) {
          best = row[c] > largest ? c : best;
          largest = row[c] > largest ? row[c] : largest;
        }
        y[i] = best;
      }
    });
  }
};

// The product of [rows, 1] and [rows, classes], which is the gradient of a mean of losses at the logits.
class Mul : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &factors = context->input(0), &in = context->input(1);
    OP_REQUIRES(context, in.dims() == 2 && factors.shape() == TensorShape({in.dim_size(0), 1}),
                errors::InvalidArgument("Rows of ", in.shape().DebugString(), " need a factor each, not ",
                                        factors.shape().DebugString()));
    const int64 classes = in.dim_size(1);
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({1}, 0, in.shape(), &out));
    const float *factor = data_of(factors), *x = data_of(in);
    float* y = data_of(out);
    in_ranges(in.dim_size(0), use_threads_of(context, in.NumElements(), SMALL_ALONE), [=](int64 first, int64 last) {
      for (int64 i = first; i < last; ++i) {
        for (int64 c = i * classes; c < (i + 1) * classes; ++c) y[c] = factor[i] * x[c];
      }
    });
  }
};

REGISTER_FAST(SoftmaxCrossEntropyWithLogits, .TypeConstraint<float>("T"));
REGISTER_FAST(Mul, .TypeConstraint<float>("T"));
#define REGISTER_OF_CLASSES(TYPE)                                                                                    \
  REGISTER_KERNEL_BUILDER(Name("OneHot").Device(DEVICE_CPU).TypeConstraint<TYPE>("TI").TypeConstraint<float>("T").   \
                          Label("fast"), OneHot<TYPE>);                                                              \
  REGISTER_KERNEL_BUILDER(Name("ArgMax").Device(DEVICE_CPU).TypeConstraint<float>("T").TypeConstraint<TYPE>(         \
                          "output_type").Label("fast"), ArgMax<TYPE>)
REGISTER_OF_CLASSES(int32);
REGISTER_OF_CLASSES(int64);

}  // namespace
