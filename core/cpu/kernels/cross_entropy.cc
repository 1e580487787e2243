// SoftmaxCrossEntropyWithLogits of float32 logits on a CPU, in one pass.
#include "functions.h"
#include "threads.h"

namespace {

using namespace tensorflow;  // NOLINT: a kernel file

// Inputs logits and labels, [n, classes] both; outputs the loss of each row, and its gradient at the logits.
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
    const float *all_x = data_of(logits), *all_p = data_of(labels);
    float *loss = data_of(losses), *all_dx = data_of(gradients);
    // An exponential takes about as long as eight numbers that are read and written.
    in_ranges(rows, use_threads_of(context, 8 * logits.NumElements()), [=](int64 first, int64 last) {
      for (int64 i = first; i < last; ++i) {
        const float *x = all_x + i * classes, *p = all_p + i * classes;
        float* dx = all_dx + i * classes;
        float largest = x[0], sum = 0, total = 0;
        for (int64 c = 1; c < classes; ++c) largest = std::max(largest, x[c]);
        for (int64 c = 0; c < classes; ++c) sum += dx[c] = exponential(std::max(x[c] - largest, -87.f));
        const float log_sum = std::log(sum), scale = 1 / sum;
        for (int64 c = 0; c < classes; ++c) {
          total += p[c] * (log_sum - (x[c] - largest));
          dx[c] = dx[c] * scale - p[c];
        }
        loss[i] = total;
      }
    });
  }
};

REGISTER_FAST(SoftmaxCrossEntropyWithLogits, .TypeConstraint<float>("T"));

}  // namespace
