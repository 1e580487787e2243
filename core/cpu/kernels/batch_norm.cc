// Batch norm of float32 NHWC images on a CPU: FusedBatchNormV3 and its gradient, and BatchNormActivation, which has an
// activation behind it, and before that the sum with a residual block's shortcut. Forward and backward take two passes
// over the images each, the second from the end on, which is what the first has left in the cache.
//
// The images are a matrix of positions by channels.
#include "functions.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "threads.h"

namespace {

using namespace tensorflow;  // NOLINT: a kernel file

REGISTER_OP("BatchNormActivation")
    .Input("x: float")
    .Input("biases: n * float")
    .Input("shortcut: m * float")
    .Input("gamma: float")
    .Input("beta: float")
    .Output("y: float")
    .Output("mean: float")
    .Output("unbiased_variance: float")
    .Output("saved_mean: float")
    .Output("saved_variance: float")
    .Attr("n: int >= 0")
    .Attr("m: int >= 0")
    .Attr("epsilon: float")
    .Attr("activation: {'relu', 'leaky_relu', 'mish'}")
    .Attr("alpha: float")
    .SetShapeFn([](shape_inference::InferenceContext* context) {
      context->set_output(0, context->input(0));
      for (int i = 1; i < 5; ++i) context->set_output(i, context->input(context->num_inputs() - 1));
      return Status::OK();
    })
    .Doc("activation(gamma * normalised x + beta + shortcut). A bias changes the mean of x, and nothing else.");
REGISTER_OP("BatchNormActivationGrad")
    .Input("dy: float")
    .Input("x: float")
    .Input("shortcut: m * float")
    .Input("gamma: float")
    .Input("beta: float")
    .Input("saved_mean: float")
    .Input("saved_variance: float")
    .Output("dx: float")
    .Output("dgamma: float")
    .Output("dbeta: float")
    .Output("dshortcut: m * float")
    .Attr("m: int >= 0")
    .Attr("epsilon: float")
    .Attr("activation: {'relu', 'leaky_relu', 'mish'}")
    .Attr("alpha: float")
    .SetShapeFn([](shape_inference::InferenceContext* context) {
      context->set_output(0, context->input(1));
      for (int i = 1; i < 3; ++i) context->set_output(i, context->input(context->num_inputs() - 1));
      for (int i = 3; i < context->num_outputs(); ++i) context->set_output(i, context->input(1));
      return Status::OK();
    });

// The images of a call as a matrix, and the threads that work on it.
struct Images {
  const float* x;
  const float* shortcut = nullptr;  // as many values, which are added to the normalised images; null without one
  int64 positions, channels;
  int threads;
};

// Calls work(added), in which added(i) is what the shortcut adds to value i.
template <typename Work>
void with_shortcut(const Images& in, Work work) {
  const float* shortcut = in.shortcut;
  if (shortcut) {
    work([=](int64 i) { return shortcut[i]; });
  } else {
    work([](int64) { return 0.f; });
  }
}

Status images_of(OpKernelContext* context, const Tensor& images, const Tensor& gamma, Images* out) {
  out->channels = gamma.NumElements();
  if (images.dims() != 4 || images.dim_size(3) != out->channels) {
    return errors::InvalidArgument("Batch norm of ", out->channels, " channels got ", images.shape().DebugString());
  }
  out->x = data_of(images);
  out->positions = images.NumElements() / std::max<int64>(out->channels, 1);
  out->threads = use_threads_of(context);
  return Status::OK();
}

// Where an output of one value per channel is; null when there is no memory, which the context then knows.
float* channels_of(OpKernelContext* context, int output, int64 channels) {
  Tensor* tensor = nullptr;
  const Status status = context->allocate_output(output, TensorShape({channels}), &tensor);
  context->SetStatus(status);
  return status.ok() ? data_of(tensor) : nullptr;
}

struct Statistics {
  float *mean, *unbiased, *saved_mean, *variance;  // per channel; `variance` is the biased one
};

// Makes the outputs 1 to 4 of a call; false when there is no memory, which the context then knows.
bool allocate(OpKernelContext* context, int64 channels, Statistics* out) {
  int output = 0;
  for (float** values : {&out->mean, &out->unbiased, &out->saved_mean, &out->variance}) {
    *values = channels_of(context, ++output, channels);
    if (*values == nullptr) return false;
  }
  return true;
}

// The squares are those of the distance to the first position, because the variance of values far from 0 would be
// lost in the difference of two large numbers.
void compute(const Images& in, const Statistics& out) {
  const float* x = in.x;
  const int64 channels = in.channels, positions = in.positions;
  const std::vector<double> sums = sums_over(positions, 2 * channels, in.threads, [=](int64 i, float* sum) {
    float* squares = sum + channels;
#pragma omp simd
    for (int64 c = 0; c < channels; ++c) {
      const float distance = x[i * channels + c] - x[c];
      sum[c] += distance;
      squares[c] += distance * distance;
    }
  });
  for (int64 c = 0; c < channels; ++c) {
    const double shift = positions ? sums[c] / positions : 0;
    const double variance = positions ? std::max(sums[channels + c] / positions - shift * shift, 0.) : 0;
    out.mean[c] = out.saved_mean[c] = positions ? x[c] + shift : 0;
    out.variance[c] = variance;
    out.unbiased[c] = variance * positions / std::max<int64>(positions - 1, 1);
  }
}

// Normalisation as a line per channel: slope * x + constant.
struct Lines {
  std::vector<float> slope, constant;

  Lines(const float* gamma, const float* beta, const float* mean, const float* variance, float epsilon, int64 channels)
      : slope(channels), constant(channels) {
    for (int64 c = 0; c < channels; ++c) {
      slope[c] = gamma[c] / std::sqrt(variance[c] + epsilon);
      constant[c] = beta[c] - mean[c] * slope[c];
    }
  }
};

template <typename Value>
void normalise(const Images& in, const Lines& lines, Value value, float* y) {
  const float *x = in.x, *a = lines.slope.data(), *b = lines.constant.data();
  const int64 channels = in.channels;
  with_shortcut(in, [=](auto added) {
    in_ranges(in.positions, in.threads, [=](int64 first, int64 last) {
      const Value own = value;  // a copy that no write to y can change, or the loop would read it for each value
      for (int64 i = last; i-- > first;) {
        const int64 start = i * channels;
#pragma omp simd
        for (int64 c = 0; c < channels; ++c) y[start + c] = own(x[start + c] * a[c] + b[c] + added(start + c));
      }
    });
  });
}

struct Gradients {
  float *dx, *dgamma, *dbeta;
  float* g;  // at the sum of normalised images and shortcut; dx without a shortcut
};

// With g the gradient at the normalised images, in training
// dx = slope * (g - mean of g - (x - mean) * (mean of g * (x - mean)) / variance) = slope * g + b x + d.
// The first pass leaves g, because the slope of Mish takes longer than to write and read it.
template <typename Slope>
void differentiate(const Images& in, const float* dy, const Lines& lines, Slope slope, const float* mean,
                   const float* variance, const float* gamma, float epsilon, bool is_training, const Gradients& out) {
  const float *x = in.x, *line = lines.slope.data(), *offset = lines.constant.data();
  const int64 channels = in.channels, positions = in.positions;
  const bool is_identity = std::is_same<Slope, IdentitySlope>::value;
  float *dx = out.dx, *left = out.g;
  std::vector<double> sums;
  with_shortcut(in, [&, dy](auto added) {
    sums = sums_over(positions, 2 * channels, in.threads, [=](int64 i, float* sum) {
      float* products = sum + channels;
      const Slope own = slope;
      const int64 start = i * channels;
#pragma omp simd
      for (int64 c = 0; c < channels; ++c) {
        const float value = x[start + c];
        const float g = own(dy[start + c], value * line[c] + offset[c] + added(start + c));
        if (!is_identity) left[start + c] = g;
        sum[c] += g;
        products[c] += g * (value - mean[c]);
      }
    });
  });
  std::vector<float> of_g(channels), of_x(channels), constant(channels);
  for (int64 c = 0; c < channels; ++c) {
    const double deviation = 1 / std::sqrt(double{variance[c]} + epsilon);
    out.dgamma[c] = sums[channels + c] * deviation;
    out.dbeta[c] = sums[c];
    of_g[c] = gamma[c] * deviation;
    if (is_training) {
      const double by_x = -gamma[c] * deviation * deviation * deviation * sums[channels + c] / positions;
      of_x[c] = by_x;
      constant[c] = -gamma[c] * deviation * sums[c] / positions - by_x * mean[c];
    }
  }
  const float *a = of_g.data(), *b = of_x.data(), *d = constant.data();
  const float* g = is_identity ? dy : left;
  in_ranges(positions, in.threads, [=](int64 first, int64 last) {
    for (int64 i = last; i-- > first;) {
#pragma omp simd
      for (int64 c = 0; c < channels; ++c) {
        dx[i * channels + c] = a[c] * g[i * channels + c] + (b[c] * x[i * channels + c] + d[c]);
      }
    }
  });
}

class BatchNorm : public OpKernel {
 public:
  explicit BatchNorm(OpKernelConstruction* context) : OpKernel(context) {
    string format;
    OP_REQUIRES_OK(context, context->GetAttr("epsilon", &epsilon_));
    OP_REQUIRES_OK(context, context->GetAttr("is_training", &is_training_));
    OP_REQUIRES_OK(context, context->GetAttr("data_format", &format));
    OP_REQUIRES(context, format == "NHWC",
                errors::InvalidArgument("Batch norm on a CPU takes NHWC images, not ", format));
  }

 protected:
  float epsilon_;
  bool is_training_;
};

// Inputs x, gamma, beta, mean and variance (for a test); outputs y, mean, unbiased variance, and for the gradient mean,
// variance and an unused one.
class FusedBatchNormV3 : public BatchNorm {
 public:
  using BatchNorm::BatchNorm;

  void Compute(OpKernelContext* context) override {
    Images in;
    OP_REQUIRES_OK(context, images_of(context, context->input(0), context->input(1), &in));
    Tensor *y = nullptr, *unused = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, context->input(0).shape(), &y));
    OP_REQUIRES_OK(context, context->allocate_output(5, TensorShape({}), &unused));
    *data_of(unused) = 0;
    Statistics statistics;
    if (!allocate(context, in.channels, &statistics)) return;
    if (is_training_) {
      compute(in, statistics);
    } else {
      for (float* mean : {statistics.mean, statistics.saved_mean}) {
        std::copy_n(data_of(context->input(3)), in.channels, mean);
      }
      for (float* variance : {statistics.unbiased, statistics.variance}) {
        std::copy_n(data_of(context->input(4)), in.channels, variance);
      }
    }
    const Lines lines(data_of(context->input(1)), data_of(context->input(2)), statistics.saved_mean,
                      statistics.variance, epsilon_, in.channels);
    normalise(in, lines, IdentityValue(), data_of(y));
  }
};

// Inputs dy, x, gamma, mean, variance and an unused one; outputs the gradients of x, gamma and beta, and two unused.
class FusedBatchNormGradV3 : public BatchNorm {
 public:
  using BatchNorm::BatchNorm;

  void Compute(OpKernelContext* context) override {
    const Tensor &dy = context->input(0), &x = context->input(1), &gamma = context->input(2);
    Images in;
    OP_REQUIRES_OK(context, images_of(context, x, gamma, &in));
    OP_REQUIRES(context, dy.shape() == x.shape(),
                errors::InvalidArgument("Batch norm of ", x.shape().DebugString(), " got the gradient ",
                                        dy.shape().DebugString()));
    Tensor *dx = nullptr, *unused = nullptr;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, x.shape(), &dx));
    float *dgamma = channels_of(context, 1, in.channels), *dbeta = channels_of(context, 2, in.channels);
    if (dgamma == nullptr || dbeta == nullptr) return;
    for (int i : {3, 4}) OP_REQUIRES_OK(context, context->allocate_output(i, TensorShape({}), &unused));
    const float *mean = data_of(context->input(3)), *variance = data_of(context->input(4));
    // The slope of the identity is the same wherever it is taken, so the offset of the lines does not matter.
    const Lines lines(data_of(gamma), data_of(gamma), mean, variance, epsilon_, in.channels);
    differentiate(in, data_of(dy), lines, IdentitySlope(), mean, variance, data_of(gamma), epsilon_, is_training_,
                  {data_of(dx), dgamma, dbeta, nullptr});
  }
};

class Activated : public OpKernel {
 public:
  explicit Activated(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("epsilon", &epsilon_));
    OP_REQUIRES_OK(context, context->GetAttr("activation", &activation_));
    OP_REQUIRES_OK(context, context->GetAttr("alpha", &alpha_));
    OP_REQUIRES_OK(context, context->GetAttr("m", &shortcuts_));
  }

 protected:
  // images_of() with the shortcut, where there is one, which is the input with the number `shortcut`.
  Status all_images_of(OpKernelContext* context, const Tensor& x, const Tensor& gamma, int shortcut,
                       Images* out) const {
    if (shortcuts_) {
      const Tensor& added = context->input(shortcut);
      if (added.shape() != x.shape()) {
        return errors::InvalidArgument("Images of ", x.shape().DebugString(), " got a shortcut of ",
                                       added.shape().DebugString());
      }
      out->shortcut = data_of(added);
    }
    return images_of(context, x, gamma, out);
  }

  float epsilon_, alpha_;
  int shortcuts_;  // 0 or 1
  string activation_;
};

class BatchNormActivation : public Activated {
 public:
  using Activated::Activated;

  void Compute(OpKernelContext* context) override {
    const int inputs = context->num_inputs();
    const Tensor &x = context->input(0), &gamma = context->input(inputs - 2), &beta = context->input(inputs - 1);
    const int shortcut = inputs - 2 - shortcuts_;
    Images in;
    OP_REQUIRES_OK(context, all_images_of(context, x, gamma, shortcut, &in));
    Tensor* y = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &y));
    Statistics statistics;
    if (!allocate(context, in.channels, &statistics)) return;
    compute(in, statistics);
    for (int i = 1; i < shortcut; ++i) {
      const float* bias = data_of(context->input(i));
      for (int64 c = 0; c < in.channels; ++c) statistics.mean[c] += bias[c];
    }
    const Lines lines(data_of(gamma), data_of(beta), statistics.saved_mean, statistics.variance, epsilon_,
                      in.channels);
    if (activation_ == "mish") {
      normalise(in, lines, MishValue(), data_of(y));
    } else if (activation_ == "relu") {
      normalise(in, lines, ReluValue(), data_of(y));
    } else {
      normalise(in, lines, LeakyReluValue{alpha_}, data_of(y));
    }
  }
};

class BatchNormActivationGrad : public Activated {
 public:
  using Activated::Activated;

  void Compute(OpKernelContext* context) override {
    const int first = 2 + shortcuts_;
    const Tensor &dy = context->input(0), &x = context->input(1), &gamma = context->input(first);
    Images in;
    OP_REQUIRES_OK(context, all_images_of(context, x, gamma, 2, &in));
    OP_REQUIRES(context, dy.shape() == x.shape(),
                errors::InvalidArgument("Batch norm of ", x.shape().DebugString(), " got the gradient ",
                                        dy.shape().DebugString()));
    // The last output is g, which is the gradient of the shortcut and takes dy's memory; without one it is dx.
    Tensor *dx = nullptr, *g = nullptr;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, shortcuts_ ? 3 : 0, x.shape(), &g));
    if (shortcuts_) {
      OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &dx));
    } else {
      dx = g;
    }
    float *dgamma = channels_of(context, 1, in.channels), *dbeta = channels_of(context, 2, in.channels);
    if (dgamma == nullptr || dbeta == nullptr) return;
    const float *beta = data_of(context->input(first + 1)), *mean = data_of(context->input(first + 2)),
                *variance = data_of(context->input(first + 3));
    const Lines lines(data_of(gamma), beta, mean, variance, epsilon_, in.channels);
    auto run = [&](auto slope) {
      differentiate(in, data_of(dy), lines, slope, mean, variance, data_of(gamma), epsilon_, true,
                    {data_of(dx), dgamma, dbeta, data_of(g)});
    };
    if (activation_ == "mish") {
      run(MishSlope());
    } else if (activation_ == "relu") {
      run(ReluSlope());
    } else {
      run(LeakyReluSlope{alpha_});
    }
  }
};

#define OF_FLOATS .TypeConstraint<float>("T").TypeConstraint<float>("U")
REGISTER_FAST(FusedBatchNormV3, OF_FLOATS);
REGISTER_FAST(FusedBatchNormGradV3, OF_FLOATS);
REGISTER_KERNEL_BUILDER(Name("BatchNormActivation").Device(DEVICE_CPU), BatchNormActivation);
REGISTER_KERNEL_BUILDER(Name("BatchNormActivationGrad").Device(DEVICE_CPU), BatchNormActivationGrad);

}  // namespace
