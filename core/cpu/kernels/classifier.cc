// What follows the float32 logits of a classifier, [rows, classes], on a CPU: their cross entropy, the logarithms of
// their softmax, labels of classes, which is the largest, and whether it is right. TensorFlow's own kernels take several
// times as long where there are few classes.
#include <cstring>
#include <limits>

#include "functions.h"
#include "lanes.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "threads.h"

namespace {

using namespace tensorflow;  // NOLINT: a kernel file

// Whole numbers in lanes, as many as a comparison of Lanes has.
using Ints = decltype(Lanes{} < Lanes{});

// Copies the first `count` lanes of four bytes each, to a vector or from it.
inline void copy_lanes(const void* from, int64 count, void* to) {
  if (count == LANES) {
    std::memcpy(to, from, 4 * LANES);  // one instruction
  } else {
    std::memcpy(to, from, 4 * count);
  }
}

// The first class of each of LANES rows of logits, [classes, LANES], that is the largest and larger than `most`, which
// it then becomes; 0 for a row without one.
inline Ints largest_of(const float* logits, int64 classes, Lanes* most) {
  Ints largest{};
  for (int64 c = 0; c < classes; ++c) {
    const Lanes x = lanes(logits + c * LANES);
    largest = x > *most ? Ints{} + static_cast<int32>(c) : largest;
    *most = x > *most ? x : *most;
  }
  return largest;
}

// Of LANES rows of logits, [classes, LANES].
struct Softmax {
  Lanes sum{}, log_sum;  // of the exponentials of the distances to the largest; its logarithm
  Ints largest{};        // the first class of the largest logit

  // Of `logits` the distances to the largest remain, `e` becomes their exponentials.
  Softmax(float* logits, float* e, int64 classes) {
    Lanes most = Lanes{} - std::numeric_limits<float>::infinity();
    largest = largest_of(logits, classes, &most);
    for (int64 i = 0; i < classes * LANES; i += LANES) {
      lanes(logits + i) -= most;
      // std::max would take the address of a number, at which GCC gives up its vectors.
#pragma omp simd
      for (int64 lane = i; lane < i + LANES; ++lane) e[lane] = exponential(logits[lane] < -87.f ? -87.f : logits[lane]);
      sum += lanes(e + i);
    }
#pragma omp simd
    for (int lane = 0; lane < LANES; ++lane) log_sum[lane] = logarithm(sum[lane]);
    log_sum = sum == sum ? log_sum : sum;  // not a number stays one
  }
};

// Calls work(i, count, columns) for the `count` rows of logits, [rows, classes], from row i on, LANES at most. `columns`
// has them as [classes, LANES], the first of so many `matrices` of that size; the others are room for the work.
template <typename Work>
void for_blocks(const float* logits, int64 rows, int64 classes, int matrices, int threads, Work work) {
  in_ranges((rows + LANES - 1) / LANES, threads, [=](int64 first, int64 last) {
    Floats columns(matrices * classes * LANES);
    for (int64 i = first * LANES; i < std::min(last * LANES, rows); i += LANES) {
      const int64 count = std::min<int64>(LANES, rows - i);
      transpose<LANES>(logits + i * classes, classes, count, logits, columns.data());
      work(i, count, columns.data());
    }
  });
}

// Calls work(i, count, softmax, distances, exponentials, room) for each such block. The last three are [classes, LANES];
// distances are those to the largest logit.
template <typename Work>
void for_rows(const float* logits, int64 rows, int64 classes, int threads, Work work) {
  for_blocks(logits, rows, classes, 3, threads, [=](int64 i, int64 count, float* distances) {
    float *exponentials = distances + classes * LANES, *room = exponentials + classes * LANES;
    const Softmax softmax(distances, exponentials, classes);
    work(i, count, softmax, distances, exponentials, room);
  });
}

// How many threads for_rows() is worth: an exponential takes about as long as eight numbers that are read and written.
inline int threads_for(OpKernelContext* context, const Tensor& logits, int64 small) {
  return use_threads_of(context, 8 * logits.NumElements(), small);
}

// Writes [classes, LANES] as LANES rows, of which there are so many.
inline void copy_rows(const float* from, int64 rows, int64 classes, float* to) {
  if (classes < LANES) {
    for (int64 c = 0; c < classes; ++c) spread(from + c * LANES, rows, classes, to + c);
  } else {
    for (int64 row = 0; row < rows; ++row) {
      for (int64 c = 0; c < classes; ++c) to[row * classes + c] = from[c * LANES + row];
    }
  }
}

class LogSoftmax : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& logits = context->input(0);
    OP_REQUIRES(context, logits.dims() > 0, errors::InvalidArgument("logits must have at least one dimension"));
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, logits.shape(), &out));
    const int64 classes = logits.dim_size(logits.dims() - 1), rows = classes ? logits.NumElements() / classes : 0;
    float* y = data_of(out);
    for_rows(data_of(logits), rows, classes, threads_for(context, logits, SMALL),
             [=](int64 i, int64 count, const Softmax& softmax, float* distances, float*, float*) {
               for (int64 c = 0; c < classes; ++c) lanes(distances + c * LANES) -= softmax.log_sum;
               copy_rows(distances, count, classes, y + i * classes);
             });
  }
};

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
    const float* p = data_of(labels);
    float *loss = data_of(losses), *dx = data_of(gradients);
    for_rows(data_of(logits), rows, classes, threads_for(context, logits, SMALL_ALONE),
             [=](int64 i, int64 count, const Softmax& softmax, const float* distances, float* e, float* targets) {
               transpose<LANES>(p + i * classes, classes, count, p, targets);
               Lanes total{};
               for (int64 k = 0; k < classes * LANES; k += LANES) {
                 total += lanes(targets + k) * (softmax.log_sum - lanes(distances + k));
                 lanes(e + k) = lanes(e + k) / softmax.sum - lanes(targets + k);
               }
               copy_lanes(&total, count, loss + i);
               copy_rows(e, count, classes, dx + i * classes);
             });
  }
};

// Inputs logits, [..., classes], and the number of the last axis; output the class of the largest logit, [...].
template <typename Class>
class ArgMax : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& logits = context->input(0);
    TensorShape shape = logits.shape();
    OP_REQUIRES(context, shape.dims() > 0 && shape.dim_size(shape.dims() - 1) > 0,
                errors::InvalidArgument("Reduction axis is empty in shape ", shape.DebugString()));
    const int64 classes = shape.dim_size(shape.dims() - 1);
    shape.RemoveLastDims(1);
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &out));
    const int64 rows = shape.num_elements();
    Class* y = reinterpret_cast<Class*>(const_cast<char*>(out->tensor_data().data()));
    const int threads = use_threads_of(context, logits.NumElements(), SMALL_ALONE);
    for_blocks(data_of(logits), rows, classes, 1, threads, [=](int64 i, int64 count, const float* columns) {
      Lanes most = Lanes{} + std::numeric_limits<float>::lowest();  // where TensorFlow starts
      const Ints largest = largest_of(columns, classes, &most);
      for (int64 row = 0; row < count; ++row) y[i + row] = largest[row];
    });
  }
};

REGISTER_OP("ClassScores")
    .Input("logits: float")
    .Input("classes: int32")
    .Output("losses: float")
    .Output("right: float")
    .SetShapeFn([](shape_inference::InferenceContext* context) {
      for (int i = 0; i < 2; ++i) context->set_output(i, context->input(1));
      return Status::OK();
    })
    .Doc("The cross entropy of logits, [rows, classes], and their true classes, [rows], and 1 where the largest logit "
         "is that of the true class, else 0. The loss of a class that there is not is 0, as its one-hot label is.");

class ClassScores : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &logits = context->input(0), &labels = context->input(1);
    OP_REQUIRES(context, logits.dims() == 2 && labels.shape() == TensorShape({logits.dim_size(0)}),
                errors::InvalidArgument("Logits of ", logits.shape().DebugString(), " need a class each, not ",
                                        labels.shape().DebugString()));
    const int64 rows = logits.dim_size(0), classes = logits.dim_size(1);
    Tensor* out[2];
    for (int i = 0; i < 2; ++i) OP_REQUIRES_OK(context, context->allocate_output(i, labels.shape(), &out[i]));
    const int32* of = reinterpret_cast<const int32*>(labels.tensor_data().data());
    float *loss = data_of(out[0]), *right = data_of(out[1]);
    for_rows(data_of(logits), rows, classes, threads_for(context, logits, SMALL_ALONE),
             [=](int64 i, int64 count, const Softmax& softmax, const float* distances, float*, float*) {
               Ints own{};
               copy_lanes(of + i, count, &own);
               Lanes distance = softmax.log_sum;
               for (int64 c = 0; c < classes; ++c) {
                 distance = own == static_cast<int32>(c) ? lanes(distances + c * LANES) : distance;
               }
               const Lanes losses = softmax.log_sum - distance;
               const Lanes is_right = softmax.largest == own ? Lanes{} + 1.f : Lanes{};
               copy_lanes(&losses, count, loss + i);
               copy_lanes(&is_right, count, right + i);
             });
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
    const int threads = use_threads_of(context, out->NumElements(), SMALL_ALONE);
    in_ranges(classes.NumElements(), threads, [=](int64 first, int64 last) {
      std::fill(y + first * depth, y + last * depth, off);
      for (int64 i = first; i < last; ++i) {
        if (of[i] >= 0 && of[i] < depth) y[i * depth + of[i]] = on;
      }
    });
  }
};

REGISTER_KERNEL_BUILDER(Name("ClassScores").Device(DEVICE_CPU), ClassScores);
REGISTER_FAST(LogSoftmax, .TypeConstraint<float>("T"));
REGISTER_FAST(SoftmaxCrossEntropyWithLogits, .TypeConstraint<float>("T"));
#define REGISTER_ONE_HOT(TYPE)                                                                                       \
  REGISTER_KERNEL_BUILDER(Name("OneHot").Device(DEVICE_CPU).TypeConstraint<TYPE>("TI").TypeConstraint<float>("T").   \
                          Label("fast"), OneHot<TYPE>)
REGISTER_ONE_HOT(int32);
REGISTER_ONE_HOT(int64);
#define REGISTER_ARG_MAX(TYPE)                                                                            \
  REGISTER_KERNEL_BUILDER(Name("ArgMax").Device(DEVICE_CPU).TypeConstraint<float>("T").                   \
                          TypeConstraint<TYPE>("output_type").Label("fast"), ArgMax<TYPE>)
REGISTER_ARG_MAX(int32);
REGISTER_ARG_MAX(int64);

}  // namespace
