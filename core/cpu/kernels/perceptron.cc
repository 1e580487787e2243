// A perceptron with one batch-normalised hidden layer, relu(x kernel + bias) normalised, and its linear outputs, of
// float32 vectors on a CPU. Forward and backward take two passes over x each and keep nothing of the size of the
// hidden layer, because with few inputs it is computed again in less time than memory takes to write and read it.
// A vector has one number of LANES rows, so layers of any few inputs, units and classes fill it.
#include "lanes.h"
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
    .Input("averages: k * float")
    .Output("y: float")
    .Output("mean: float")
    .Output("unbiased_variance: float")
    .Output("variance: float")
    .Attr("k: int >= 0")
    .Attr("epsilon: float")
    .SetShapeFn([](shape_inference::InferenceContext* context) {
      shape_inference::ShapeHandle y;
      const auto rows = context->Vector(context->Dim(context->input(0), 0));
      TF_RETURN_IF_ERROR(context->Concatenate(rows, context->input(6), &y));
      context->set_output(0, y);
      for (int i = 1; i < 4; ++i) context->set_output(i, context->input(2));
      return Status::OK();
    })
    .Doc("batch norm(relu(x kernel + bias)) output_kernel + output_bias; x is [rows, inputs], averages are nothing, in "
         "training, or a mean and a variance.");
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

constexpr int VECTORS = 4, ROWS = VECTORS * LANES;  // of a block, so that an instruction need not wait for the one before

Floats transposed(const float* x, int64 columns, int64 rows, const float* absent) {
  Floats out(columns * ROWS);
  transpose<ROWS>(x, columns, rows, absent, out.data());
  return out;
}

// The sizes and layers of a call.
struct Network {
  int64 rows, inputs, units, classes;
  const float *x, *kernel, *bias;

  Status read(const Tensor& points, const Tensor& weights, const Tensor& offsets, const Tensor& outputs) {
    if (points.dims() != 2 || weights.dims() != 2 || outputs.dims() != 2 || points.dim_size(1) != weights.dim_size(0) ||
        weights.dim_size(1) != outputs.dim_size(0) || offsets.NumElements() != weights.dim_size(1)) {
      return errors::InvalidArgument("A perceptron of ", weights.shape().DebugString(), " and ",
                                     outputs.shape().DebugString(), " got ", points.shape().DebugString());
    }
    rows = points.dim_size(0), inputs = weights.dim_size(0), units = weights.dim_size(1);
    classes = outputs.dim_size(1), x = data_of(points), kernel = data_of(weights), bias = data_of(offsets);
    return Status::OK();
  }

  // The block of x from row `first` on; see transpose().
  Floats points(int64 first, const float* absent) const {
    return transposed(x + first * inputs, inputs, rows - first, absent);
  }

  // The hidden layer's `unit` of the rows of a block of x.
  void hidden(const Floats& x, int64 unit, Lanes* h) const {
    for (int v = 0; v < VECTORS; ++v) h[v] = Lanes{} + bias[unit];
    for (int64 j = 0; j < inputs; ++j) {
      const float weight = kernel[j * units + unit];
      for (int v = 0; v < VECTORS; ++v) h[v] += lanes(x.data() + j * ROWS + v * LANES) * weight;
    }
    for (int v = 0; v < VECTORS; ++v) h[v] = h[v] > 0.f ? h[v] : Lanes{};
  }

  // Calls add(first row, sums) for every block of rows, which adds to vectors of LANES partial sums each.
  template <typename Add>
  std::vector<double> over_blocks(int64 size, int threads, Add add) const {
    const std::vector<double> parts = sums_over(
        (rows + ROWS - 1) / ROWS, size * LANES, threads, [=](int64 block, float* sums) { add(block * ROWS, sums); });
    std::vector<double> sums(size);
    for (int64 i = 0; i < size * LANES; ++i) sums[i / LANES] += parts[i];
    return sums;
  }
};

// The sum over the vectors of a and b, of ROWS numbers each.
inline Lanes product(const Lanes* a, const float* b) {
  Lanes sum = a[0] * lanes(b);
  for (int v = 1; v < VECTORS; ++v) sum += a[v] * lanes(b + v * LANES);
  return sum;
}

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
    const int threads = use_threads_of(context, in.rows * in.units, SMALL_ALONE);
    if (context->num_inputs() > 7) {
      std::copy_n(data_of(context->input(7)), in.units, mean);
      for (float* values : {unbiased, variance}) std::copy_n(data_of(context->input(8)), in.units, values);
    } else {
      measure(in, threads, mean, unbiased, variance);
    }
    // Normalisation is linear, so it goes into the output layer.
    Floats weights(in.classes * in.units), constant(in.classes);
    for (int64 c = 0; c < in.classes; ++c) {
      double sum = bias[c];
      for (int64 u = 0; u < in.units; ++u) {
        const double slope = gamma[u] / std::sqrt(double{variance[u]} + epsilon_);
        weights[c * in.units + u] = slope * kernel[u * in.classes + c];
        sum += (beta[u] - slope * mean[u]) * kernel[u * in.classes + c];
      }
      constant[c] = sum;
    }
    float* out = data_of(y);
    in_ranges((in.rows + ROWS - 1) / ROWS, threads, [&](int64 first, int64 last) {
      std::vector<Lanes> hidden(in.units * VECTORS);
      for (int64 block = first; block < last; ++block) {
        outputs(in, block * ROWS, weights, constant, hidden.data(), out + block * ROWS * in.classes);
      }
    });
  }

 private:
  // The squares are those of the distance to the first row: see batch_norm.cc. A row that a block lacks is the first,
  // at a distance of 0.
  static void measure(const Network& in, int threads, float* mean, float* unbiased, float* variance) {
    Floats shift(in.units);
    if (in.rows) {
      const Floats first = transposed(in.x, in.inputs, 1, in.x);
      for (int64 u = 0; u < in.units; ++u) {
        Lanes h[VECTORS];
        in.hidden(first, u, h);
        shift[u] = h[0][0];
      }
    }
    const std::vector<double> sums = in.over_blocks(2 * in.units, threads, [&](int64 first, float* sums) {
      const Floats x = in.points(first, in.x);
      for (int64 u = 0; u < in.units; ++u) {
        Lanes h[VECTORS], distances{}, squares{};
        in.hidden(x, u, h);
        for (int v = 0; v < VECTORS; ++v) {
          const Lanes distance = h[v] - shift[u];
          distances += distance;
          squares += distance * distance;
        }
        lanes(sums + 2 * u * LANES) += distances;
        lanes(sums + (2 * u + 1) * LANES) += squares;
      }
    });
    const double rows = std::max<int64>(in.rows, 1);
    for (int64 u = 0; u < in.units; ++u) {
      const double distance = sums[2 * u] / rows;
      mean[u] = shift[u] + distance;
      variance[u] = std::max(sums[2 * u + 1] / rows - distance * distance, 0.);
      unbiased[u] = variance[u] * rows / std::max(rows - 1, 1.);
    }
  }

  // The outputs of the block of rows from row `first` on; `hidden` is room for its hidden layer.
  static void outputs(const Network& in, int64 first, const Floats& weights,
                      const Floats& constant, Lanes* hidden, float* out) {
    const Floats x = in.points(first, in.x);
    for (int64 u = 0; u < in.units; ++u) in.hidden(x, u, hidden + u * VECTORS);
    const int64 rows = std::min<int64>(ROWS, in.rows - first);
    for (int64 c = 0; c < in.classes; ++c) {
      Lanes sums[VECTORS];
      for (int v = 0; v < VECTORS; ++v) sums[v] = Lanes{} + constant[c];
      for (int64 u = 0; u < in.units; ++u) {
        const float weight = weights[c * in.units + u];
        for (int v = 0; v < VECTORS; ++v) sums[v] += hidden[u * VECTORS + v] * weight;
      }
      spread(reinterpret_cast<const float*>(sums), rows, in.classes, out + c);
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
    const int threads = use_threads_of(context, in.rows * in.units, SMALL_ALONE);
    const int64 classes = in.classes, units = in.units, inputs = in.inputs;
    const Floats zeros(std::max(classes, inputs));    // of a row that a block lacks
    const auto gradients = [&](int64 first) {
      return transposed(dy + first * classes, classes, in.rows - first, zeros.data());
    };
    // With h the hidden layer: the sums of h dy for each unit and class, behind them those of dy.
    const std::vector<double> sums = in.over_blocks(classes * (units + 1), threads, [&](int64 first, float* sums) {
      const Floats x = in.points(first, zeros.data()), g = gradients(first);
      for (int64 u = 0; u <= units; ++u) {
        Lanes h[VECTORS];
        if (u < units) {
          in.hidden(x, u, h);
        } else {
          std::fill_n(h, VECTORS, Lanes{} + 1.f);
        }
        for (int64 c = 0; c < classes; ++c) {
          lanes(sums + (u * classes + c) * LANES) += product(h, g.data() + c * ROWS);
        }
      }
    });
    // h = slope * g - by_h * h - constant, of g = dy kernel^T, is the gradient at h: see batch_norm.cc.
    Floats scaled(units * classes), by_h(units), constant(units);
    for (int64 u = 0; u < units; ++u) {
      const double deviation = 1 / std::sqrt(double{variance[u]} + epsilon_), slope = gamma[u] * deviation;
      double of_gamma = 0, of_beta = 0;
      for (int64 i = u * classes, c = 0; c < classes; ++i, ++c) {
        const double sum = sums[units * classes + c], centred = sums[i] - mean[u] * sum;
        of_gamma += kernel[i] * centred * deviation;
        of_beta += kernel[i] * sum;
        out[4][i] = slope * centred + beta[u] * sum;
        scaled[i] = slope * kernel[i];
      }
      out[2][u] = of_gamma;
      out[3][u] = of_beta;
      by_h[u] = slope * deviation * of_gamma / in.rows;
      constant[u] = slope * of_beta / in.rows - by_h[u] * mean[u];
    }
    for (int64 c = 0; c < classes; ++c) out[5][c] = sums[units * classes + c];

    // The last input is 1, of which the weight is the bias; it is 0 in a row that a block lacks.
    const std::vector<double> weights = in.over_blocks(units * (inputs + 1), threads, [&](int64 first, float* sums) {
      Floats x = in.points(first, zeros.data());
      const Floats of_outputs = gradients(first);
      x.resize((inputs + 1) * ROWS);
      std::fill_n(x.data() + inputs * ROWS, std::min<int64>(ROWS, in.rows - first), 1.f);
      for (int64 u = 0; u < units; ++u) {
        Lanes h[VECTORS], g[VECTORS];
        in.hidden(x, u, h);
        for (int v = 0; v < VECTORS; ++v) g[v] = Lanes{} - constant[u] - by_h[u] * h[v];
        for (int64 c = 0; c < classes; ++c) {
          const float weight = scaled[u * classes + c];
          for (int v = 0; v < VECTORS; ++v) g[v] += lanes(of_outputs.data() + c * ROWS + v * LANES) * weight;
        }
        for (int v = 0; v < VECTORS; ++v) g[v] = h[v] > 0.f ? g[v] : Lanes{};
        for (int64 j = 0; j <= inputs; ++j) {
          lanes(sums + (u * (inputs + 1) + j) * LANES) += product(g, x.data() + j * ROWS);
        }
      }
    });
    for (int64 u = 0; u < units; ++u) {
      for (int64 j = 0; j < inputs; ++j) out[0][j * units + u] = weights[u * (inputs + 1) + j];
      out[1][u] = weights[u * (inputs + 1) + inputs];
    }
  }
};

REGISTER_KERNEL_BUILDER(Name("Perceptron").Device(DEVICE_CPU), Perceptron);
REGISTER_KERNEL_BUILDER(Name("PerceptronGrad").Device(DEVICE_CPU), PerceptronGrad);

}  // namespace
