// What follows the float32 logits of a classifier, [rows, classes], on a CPU: their cross entropy, and the
// labels of classes. TensorFlow's own kernels take several times as long where there are few classes.
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
      // std::max would take the address of a number, at which GCC gives up its vectors.
#pragma omp simd
      for (int64 lane = i; lane < i + LANES; ++lane) e[lane] = exponential(logits[lane] < -87.f ? -87.f : logits[lane]);
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

REGISTER_FAST(SoftmaxCrossEntropyWithLogits, .TypeConstraint<float>("T"));
#define REGISTER_ONE_HOT(TYPE)                                                                                       \
  REGISTER_KERNEL_BUILDER(Name("OneHot").Device(DEVICE_CPU).TypeConstraint<TYPE>("TI").TypeConstraint<float>("T").   \
                          Label("fast"), OneHot<TYPE>)
REGISTER_ONE_HOT(int32);
REGISTER_ONE_HOT(int64);

}  // namespace
