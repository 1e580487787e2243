// A perceptron with one batch-normalised hidden layer, relu(x kernel + bias) normalised, and its linear outputs, of
// float32 vectors on a CPU. Forward and backward take two passes over x each and keep nothing of the size of the
// hidden layer, because with few inputs it is computed again in less time than memory takes to write and read it.
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "threads.h"

namespace {

using namespace tensorflow;  // NOLINT: a kernel file

REGISTER_OP("Perceptron")
    .Input("x: float")
    .Input("kernel: float")
    .Input("bias: float")
    .Input("gamma: float")
    .Input("beta: float")
    .Input("output_kernel: float")
    .Input("output_bias: float")
    .Output("y: float")
    .Output("mean: float")
    .Output("unbiased_variance: float")
    .Output("variance: float")
    .Attr("epsilon: float")
    .SetShapeFn([](shape_inference::InferenceContext* context) {
      shape_inference::ShapeHandle y;
      const auto rows = context->Vector(context->Dim(context->input(0), 0));
      TF_RETURN_IF_ERROR(context->Concatenate(rows, context->input(6), &y));
      context->set_output(0, y);
      for (int i = 1; i < 4; ++i) context->set_output(i, context->input(2));
      return Status::OK();
    })
    .Doc("batch norm(relu(x kernel + bias)) output_kernel + output_bias, in training; x is [n, k].");
REGISTER_OP("PerceptronGrad")
    .Input("dy: float")
    .Input("x: float")
    .Input("kernel: float")
    .Input("bias: float")
    .Input("gamma: float")
    .Input("beta: float")
    .Input("output_kernel: float")
    .Input("mean: float")
    .Input("variance: float")
    .Output("dkernel: float")
    .Output("dbias: float")
    .Output("dgamma: float")
    .Output("dbeta: float")
    .Output("doutput_kernel: float")
    .Output("doutput_bias: float")
    .Attr("epsilon: float")
    .SetShapeFn([](shape_inference::InferenceContext* context) {
      for (int i = 0; i < 5; ++i) context->set_output(i, context->input(i + 2));
      context->set_output(5, context->Vector(context->Dim(context->input(6), 1)));
      return Status::OK();
    });

constexpr int LANES = 16, GROUP = 4, BLOCK = 64;  // values of a vector, sums that stay in registers, rows between sums
// GCC makes instructions of this machine's vectors of it.
using Lanes = float __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

inline const Lanes& lanes(const float* x) { return *reinterpret_cast<const Lanes*>(x); }
inline Lanes& lanes(float* x) { return *reinterpret_cast<Lanes*>(x); }
inline int64 in_full(int64 size, int64 part) { return (size + part - 1) / part * part; }

// [rows, columns] with zeros up to `width` columns.
std::vector<float> padded(const float* x, int64 rows, int64 columns, int64 width) {
  std::vector<float> all(rows * width);
  for (int64 i = 0; i < rows; ++i) std::copy_n(x + i * columns, columns, all.data() + i * width);
  return all;
}

// The sizes of a call, and the hidden layer with zeros up to whole vectors of units.
struct Network {
  int64 rows, inputs, units, classes, width;
  const float* x;
  std::vector<float> kernel, bias;

  Status read(const Tensor& points, const Tensor& weights, const Tensor& offsets, const Tensor& outputs) {
    if (points.dims() != 2 || weights.dims() != 2 || outputs.dims() != 2 || points.dim_size(1) != weights.dim_size(0) ||
        weights.dim_size(1) != outputs.dim_size(0) || offsets.NumElements() != weights.dim_size(1)) {
      return errors::InvalidArgument("A perceptron of ", weights.shape().DebugString(), " and ",
                                     outputs.shape().DebugString(), " got ", points.shape().DebugString());
    }
    rows = points.dim_size(0), inputs = weights.dim_size(0), units = weights.dim_size(1);
    classes = outputs.dim_size(1), width = in_full(units, LANES), x = data_of(points);
    kernel = padded(data_of(weights), inputs, units, width);
    bias = padded(data_of(offsets), 1, units, width);
    return Status::OK();
  }

  // The units from `unit` on of row i.
  Lanes hidden(int64 i, int64 unit) const {
    Lanes z = lanes(bias.data() + unit);
    for (int64 j = 0; j < inputs; ++j) z += x[i * inputs + j] * lanes(kernel.data() + j * width + unit);
    return z > 0.f ? z : Lanes{};
  }

  // Calls add(first row, end, sums) for every block of rows and returns the sums over all of them.
  template <typename Add>
  std::vector<double> over_blocks(int64 size, int threads, Add add) const {
    const int64 rows = this->rows;
    return sums_over((rows + BLOCK - 1) / BLOCK, size, threads, [=](int64 block, float* sums) {
      add(block * BLOCK, std::min(rows, (block + 1) * BLOCK), sums);
    });
  }
};

class Normalised : public OpKernel {
 public:
  explicit Normalised(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("epsilon", &epsilon_));
  }

 protected:
  float epsilon_;
};

class Perceptron : public Normalised {
 public:
  using Normalised::Normalised;

  void Compute(OpKernelContext* context) override {
    Network in;
    OP_REQUIRES_OK(context, in.read(context->input(0), context->input(1), context->input(2), context->input(5)));
    const float *gamma = data_of(context->input(3)), *beta = data_of(context->input(4));
    const float *kernel = data_of(context->input(5)), *bias = data_of(context->input(6));
    Tensor *y = nullptr, *of_units[3];
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({in.rows, in.classes}), &y));
    for (int i = 0; i < 3; ++i) {
      OP_REQUIRES_OK(context, context->allocate_output(i + 1, TensorShape({in.units}), &of_units[i]));
    }
    float *mean = data_of(of_units[0]), *unbiased = data_of(of_units[1]), *variance = data_of(of_units[2]);
    const int threads = use_threads_of(context, in.rows * in.units);
    measure(in, threads, mean, unbiased, variance);
    // Normalisation is linear, so it goes into the output layer.
    const int64 width = in_full(in.classes, GROUP);
    std::vector<float> weights(in.units * width), constant(width);
    for (int64 c = 0; c < in.classes; ++c) {
      double sum = bias[c];
      for (int64 u = 0; u < in.units; ++u) {
        const double slope = gamma[u] / std::sqrt(double{variance[u]} + epsilon_);
        weights[u * width + c] = slope * kernel[u * in.classes + c];
        sum += (beta[u] - slope * mean[u]) * kernel[u * in.classes + c];
      }
      constant[c] = sum;
    }
    float* out = data_of(y);
    in_ranges(in.rows, threads, [&](int64 first, int64 last) {
      std::vector<float> x(in.inputs * LANES), hidden(in.units * LANES);
      for (int64 i = first; i < last; i += LANES) {
        outputs(in, i, std::min<int64>(LANES, last - i), weights, constant, width, x.data(), hidden.data(), out);
      }
    });
  }

 private:
  // The squares are those of the distance to the first row: see batch_norm.cc.
  static void measure(const Network& in, int threads, float* mean, float* unbiased, float* variance) {
    std::vector<float> shift(in.width);
    for (int64 unit = 0; in.rows && unit < in.width; unit += LANES) lanes(shift.data() + unit) = in.hidden(0, unit);
    const int64 width = in.width;
    const std::vector<double> sums = in.over_blocks(2 * width, threads, [&](int64 first, int64 end, float* sum) {
      for (int64 unit = 0; unit < width; unit += LANES) {
        Lanes distances{}, squares{};
        for (int64 i = first; i < end; ++i) {
          const Lanes distance = in.hidden(i, unit) - lanes(shift.data() + unit);
          distances += distance;
          squares += distance * distance;
        }
        lanes(sum + unit) += distances;
        lanes(sum + width + unit) += squares;
      }
    });
    const double rows = std::max<int64>(in.rows, 1);
    for (int64 u = 0; u < in.units; ++u) {
      const double distance = sums[u] / rows;
      mean[u] = shift[u] + distance;
      variance[u] = std::max(sums[width + u] / rows - distance * distance, 0.);
      unbiased[u] = variance[u] * rows / std::max(rows - 1, 1.);
    }
  }

  // The outputs of `count` rows from row i on, a row in each lane; x and hidden are room for them.
  static void outputs(const Network& in, int64 i, int64 count, const std::vector<float>& weights,
                      const std::vector<float>& constant, int64 width, float* x, float* hidden, float* out) {
    for (int64 j = 0; j < in.inputs; ++j) {
      for (int64 row = 0; row < count; ++row) x[j * LANES + row] = in.x[(i + row) * in.inputs + j];
    }
    for (int64 u = 0; u < in.units; ++u) {
      Lanes z = Lanes{} + in.bias[u];
      for (int64 j = 0; j < in.inputs; ++j) z += lanes(x + j * LANES) * in.kernel[j * in.width + u];
      lanes(hidden + u * LANES) = z > 0.f ? z : Lanes{};
    }
    for (int64 c = 0; c < in.classes; c += GROUP) {
      Lanes sums[GROUP];
      for (int g = 0; g < GROUP; ++g) sums[g] = Lanes{} + constant[c + g];
      for (int64 u = 0; u < in.units; ++u) {
        for (int g = 0; g < GROUP; ++g) sums[g] += lanes(hidden + u * LANES) * weights[u * width + c + g];
      }
      for (int64 g = 0; g < std::min<int64>(GROUP, in.classes - c); ++g) {
        for (int64 row = 0; row < count; ++row) out[(i + row) * in.classes + c + g] = sums[g][row];
      }
    }
  }
};

class PerceptronGrad : public Normalised {
 public:
  using Normalised::Normalised;

  void Compute(OpKernelContext* context) override {
    Network in;
    OP_REQUIRES_OK(context, in.read(context->input(1), context->input(2), context->input(3), context->input(6)));
    const float *dy = data_of(context->input(0)), *gamma = data_of(context->input(4));
    const float *beta = data_of(context->input(5)), *kernel = data_of(context->input(6));
    const float *mean = data_of(context->input(7)), *variance = data_of(context->input(8));
    OP_REQUIRES(context, context->input(0).NumElements() == in.rows * in.classes,
                errors::InvalidArgument("A perceptron got the gradient ", context->input(0).shape().DebugString()));
    float* out[6];
    for (int i = 0; i < 6; ++i) {
      Tensor* tensor = nullptr;
      const TensorShape shape = i < 5 ? context->input(i + 2).shape() : TensorShape({in.classes});
      OP_REQUIRES_OK(context, context->allocate_output(i, shape, &tensor));
      out[i] = data_of(tensor);
    }
    const int threads = use_threads_of(context, in.rows * in.units);
    const int64 classes = in_full(in.classes, GROUP), width = in.width;
    // With h the hidden layer: the sums of h dy for each unit and class, behind them those of dy.
    const std::vector<double> sums = in.over_blocks(
        classes * (width + 1), threads, [&](int64 first, int64 end, float* sum) {
          const std::vector<float> all = padded(dy + first * in.classes, end - first, in.classes, classes);
          const float* gradients = all.data() - first * classes;
          for (int64 c = 0; c < classes; c += GROUP) {
            for (int64 unit = 0; unit < width; unit += LANES) {
              Lanes products[GROUP] = {};
              for (int64 i = first; i < end; ++i) {
                const Lanes h = in.hidden(i, unit);
                for (int g = 0; g < GROUP; ++g) products[g] += h * gradients[i * classes + c + g];
              }
              for (int g = 0; g < GROUP; ++g) lanes(sum + (c + g) * width + unit) += products[g];
            }
          }
          for (int64 i = first; i < end; ++i) {
            for (int64 c = 0; c < classes; ++c) sum[classes * width + c] += gradients[i * classes + c];
          }
        });
    // h = slope * g - by_h * h - constant, of g = dy kernel^T, is the gradient at h: see batch_norm.cc.
    std::vector<float> slopes(width), by_h(width), constant(width), transposed(classes * width);
    for (int64 u = 0; u < in.units; ++u) {
      const double deviation = 1 / std::sqrt(double{variance[u]} + epsilon_), slope = gamma[u] * deviation;
      double of_gamma = 0, of_beta = 0;
      for (int64 c = 0; c < in.classes; ++c) {
        const double product = sums[c * width + u], sum = sums[classes * width + c];
        const double weight = transposed[c * width + u] = kernel[u * in.classes + c];
        of_gamma += weight * (product - mean[u] * sum) * deviation;
        of_beta += weight * sum;
        out[4][u * in.classes + c] = slope * (product - mean[u] * sum) + beta[u] * sum;
      }
      out[2][u] = of_gamma;
      out[3][u] = of_beta;
      slopes[u] = slope;
      by_h[u] = slope * deviation * of_gamma / in.rows;
      constant[u] = slope * of_beta / in.rows - by_h[u] * mean[u];
    }
    for (int64 c = 0; c < in.classes; ++c) out[5][c] = sums[classes * width + c];

    // The last input is 1, of which the weight is the bias.
    const int64 inputs = in_full(in.inputs + 1, GROUP);
    const std::vector<double> weights = in.over_blocks(
        inputs * width, threads, [&](int64 first, int64 end, float* sum) {
          std::vector<float> all = padded(in.x + first * in.inputs, end - first, in.inputs, inputs);
          for (int64 i = 0; i < end - first; ++i) all[i * inputs + in.inputs] = 1;
          const float* x = all.data() - first * inputs;
          for (int64 j = 0; j < inputs; j += GROUP) {
            for (int64 unit = 0; unit < width; unit += LANES) {
              Lanes products[GROUP] = {};
              for (int64 i = first; i < end; ++i) {
                const Lanes h = in.hidden(i, unit);
                Lanes g{};
                for (int64 c = 0; c < in.classes; ++c) {
                  g += dy[i * in.classes + c] * lanes(transposed.data() + c * width + unit);
                }
                g = lanes(slopes.data() + unit) * g - lanes(by_h.data() + unit) * h - lanes(constant.data() + unit);
                g = h > 0.f ? g : Lanes{};
                for (int k = 0; k < GROUP; ++k) products[k] += g * x[i * inputs + j + k];
              }
              for (int k = 0; k < GROUP; ++k) lanes(sum + (j + k) * width + unit) += products[k];
            }
          }
        });
    for (int64 u = 0; u < in.units; ++u) {
      for (int64 j = 0; j < in.inputs; ++j) out[0][j * in.units + u] = weights[j * width + u];
      out[1][u] = weights[in.inputs * width + u];
    }
  }
};

REGISTER_KERNEL_BUILDER(Name("Perceptron").Device(DEVICE_CPU), Perceptron);
REGISTER_KERNEL_BUILDER(Name("PerceptronGrad").Device(DEVICE_CPU), PerceptronGrad);

}  // namespace
