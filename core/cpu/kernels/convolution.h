// What the convolutions of this library share: the geometry of a call, and the primitives of oneDNN.
#ifndef CORE_CPU_KERNELS_CONVOLUTION_H_
#define CORE_CPU_KERNELS_CONVOLUTION_H_

#include "dnnl.hpp"
#include "product.h"
#include "threads.h"
#include "winograd.h"

namespace convolutions {

using namespace tensorflow;  // NOLINT: a kernel file
using dnnl::memory;
using Dims = memory::dims;

inline const dnnl::engine& cpu() {
  static const dnnl::engine* engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

// One image axis, without the kernel taps that read nothing but padding.
struct Axis {
  int64 size, output, stride, dilation, before, after;
  int64 first, taps;  // the taps in use are first, ..., first + taps - 1
  int64 all_taps;

  bool is_pointwise() const { return taps == 1 && stride == 1 && before == 0 && after == 0; }

  // The taps in use that read an input for an output, counted from `first`, and the input that the first of them reads.
  struct Taps {
    int64 first, end, input;
  };
  Taps taps_of(int64 position) const {  // without dilation
    const int64 start = position * stride - before, first_tap = std::max<int64>(-start, 0);
    return {first_tap, std::min(taps, size - start), start + first_tap};
  }
};

const int64 MOST_POSITIONS = 4, SMALLEST_BATCH = 16;
const int64 LEAST_TILES = 64;  // for which the transform of the kernels takes little of the time

struct Geometry {
  int64 batch, inputs, outputs;  // images, channels of an input and of an output
  Axis rows, columns;

  bool is_product() const { return rows.is_pointwise() && columns.is_pointwise(); }
  // oneDNN's loops run along a row of an image, and multiply with the padding, too, which is most of a small image.
  bool is_few_products() const {
    return rows.output * columns.output <= MOST_POSITIONS && batch >= SMALLEST_BATCH && rows.dilation == 1 &&
           columns.dilation == 1;
  }
  // Winograd's algorithm is for what it takes fewer products for.
  bool is_tiles() const {
    return rows.all_taps == 3 && columns.all_taps == 3 && uses_all_taps() && rows.stride == 1 && columns.stride == 1 &&
           rows.dilation == 1 && columns.dilation == 1 && winograd::is_for(inputs, outputs) && !is_few_products() &&
           forward().tiles() >= LEAST_TILES;
  }
  winograd::Sizes forward() const {
    return {batch, rows.size, columns.size, inputs, rows.output, columns.output, outputs, rows.before, columns.before};
  }
  // The gradient of the images is a convolution, too, of dy with the kernel turned round.
  winograd::Sizes backward() const {
    return {batch,  rows.output, columns.output,  outputs,           rows.size, columns.size,
            inputs, 2 - rows.before, 2 - columns.before};
  }
  int64 positions() const { return batch * rows.output * columns.output; }
  int64 first_tap() const { return (rows.first * columns.all_taps + columns.first) * inputs * outputs; }
  bool uses_all_taps() const { return rows.taps == rows.all_taps && columns.taps == columns.all_taps; }
  Dims strides() const { return {rows.stride, columns.stride}; }
  Dims dilations() const { return {rows.dilation - 1, columns.dilation - 1}; }
  Dims before() const { return {rows.before, columns.before}; }
  Dims after() const { return {rows.after, columns.after}; }

  memory::desc input() const {
    return {{batch, inputs, rows.size, columns.size}, memory::data_type::f32, memory::format_tag::nhwc};
  }
  memory::desc output() const {
    return {{batch, outputs, rows.output, columns.output}, memory::data_type::f32, memory::format_tag::nhwc};
  }
  Dims kernel_dims() const { return {outputs, inputs, rows.taps, columns.taps}; }
  memory::desc any_kernel() const { return {kernel_dims(), memory::data_type::f32, memory::format_tag::any}; }
  memory::desc kernel() const {  // the taps in use of an HWIO kernel, from its first one on
    return {kernel_dims(), memory::data_type::f32,
            Dims{1, outputs, columns.all_taps * inputs * outputs, inputs * outputs}};
  }
};

class Convolution : public OpKernel {
 public:
  void Compute(OpKernelContext* context) final {
    try {
      compute(context);
    } catch (const dnnl::error& error) {
      context->CtxFailure(errors::Internal("oneDNN: ", error.what()));
    }
  }

  explicit Convolution(OpKernelConstruction* context) : OpKernel(context) {
    string format, padding;
    OP_REQUIRES_OK(context, context->GetAttr("strides", &strides_));
    OP_REQUIRES_OK(context, context->GetAttr("dilations", &dilations_));
    OP_REQUIRES_OK(context, context->GetAttr("padding", &padding_));
    OP_REQUIRES_OK(context, context->GetAttr("explicit_paddings", &paddings_));
    OP_REQUIRES_OK(context, context->GetAttr("data_format", &format));
    OP_REQUIRES(context, format == "NHWC",
                errors::InvalidArgument("A convolution on a CPU takes NHWC images, not ", format));
  }

 protected:
  virtual void compute(OpKernelContext* context) = 0;

  Status geometry(const TensorShape& input, const TensorShape& kernel, Geometry* out) const {
    if (input.dims() != 4 || kernel.dims() != 4) {
      return errors::InvalidArgument("A convolution takes 4-dimensional images and kernels");
    }
    if (input.dim_size(3) != kernel.dim_size(2)) {
      return errors::InvalidArgument("The images have ", input.dim_size(3), " channels, the kernel has ",
                                     kernel.dim_size(2));
    }
    out->batch = input.dim_size(0);
    out->inputs = kernel.dim_size(2);
    out->outputs = kernel.dim_size(3);
    out->rows = axis(1, input.dim_size(1), kernel.dim_size(0));
    out->columns = axis(2, input.dim_size(2), kernel.dim_size(1));
    if (out->rows.output < 1 || out->columns.output < 1) {
      return errors::InvalidArgument("The kernel is larger than the padded images");
    }
    return Status::OK();
  }

  // Calls multiply(taps, x, kernel, y) for each output position and row of taps: the inputs of `taps` neighbouring
  // positions from x on, times the kernel from its first tap on, are a part of the output y. Rows are a batch apart.
  template <typename Multiply>
  static void for_few_products(const Geometry& g, const float* x, const float* kernel, const float* y,
                               Multiply multiply) {
    const int64 row = g.columns.size * g.inputs, image = g.rows.size * row, tap = g.inputs * g.outputs;
    const int64 positions = g.rows.output * g.columns.output;
    for (int64 position = 0; position < positions; ++position) {
      const Axis::Taps rows = g.rows.taps_of(position / g.columns.output);
      const Axis::Taps columns = g.columns.taps_of(position % g.columns.output);
      for (int64 i = rows.first; i < rows.end && columns.first < columns.end; ++i) {
        multiply(columns.end - columns.first,
                 Rows{x + (rows.input + i - rows.first) * row + columns.input * g.inputs, image},
                 Rows{kernel + g.first_tap() + (i * g.columns.all_taps + columns.first) * tap, g.outputs},
                 Rows{y + position * g.outputs, positions * g.outputs});
      }
    }
  }

  // Winograd's convolution of x with a kernel [3, 3, inputs, outputs]; see winograd::convolve().
  template <typename Finish>
  static void convolve_tiles(OpKernelContext* context, const winograd::Sizes& sizes, const float* x,
                             const float* kernel, Finish finish) {
    Tensor transformed;
    OP_REQUIRES_OK(context, context->allocate_temp(
        DT_FLOAT, TensorShape({winograd::POINTS, sizes.inputs, sizes.outputs}), &transformed));
    const int threads = use_threads_of(context);
    float* u = data_of(&transformed);
    in_ranges(sizes.inputs, threads, [=](int64 first, int64 last) {
      winograd::transform_kernels(kernel, sizes.inputs, sizes.outputs, first, last, u);
    });
    in_ranges(sizes.tiles(), threads, [=](int64 first, int64 last) {
      winograd::convolve(sizes, x, u, first, last, finish);
    });
  }

  static TensorShape output_shape(const Geometry& g) {
    return TensorShape({g.batch, g.rows.output, g.columns.output, g.outputs});
  }

 private:
  Axis axis(int number, int64 size, int64 taps) const {
    Axis a;
    a.size = size;
    a.stride = strides_[number];
    a.dilation = dilations_[number];
    a.all_taps = taps;
    const int64 reach = (taps - 1) * a.dilation + 1;
    if (padding_ == "SAME") {
      a.output = (size + a.stride - 1) / a.stride;
      a.before = std::max<int64>((a.output - 1) * a.stride + reach - size, 0) / 2;
    } else {
      a.before = padding_ == "EXPLICIT" ? paddings_[2 * number] : 0;
      const int64 after = padding_ == "EXPLICIT" ? paddings_[2 * number + 1] : 0;
      a.output = (size + a.before + after - reach + a.stride) / a.stride;
    }
    a.first = 0;
    a.taps = taps;
    if (a.dilation == 1 && a.output > 0) {
      a.first = std::min(std::max<int64>(a.before - a.stride * (a.output - 1), 0), taps - 1);
      a.taps = std::max<int64>(std::min(a.before + size, taps) - a.first, 1);
      a.before -= a.first;
    }
    a.after = (a.output - 1) * a.stride + (a.taps - 1) * a.dilation + 1 - size - a.before;
    return a;
  }

  std::vector<int32> strides_, dilations_;
  std::vector<int64> paddings_;
  string padding_;
};

// A oneDNN primitive for the last shapes that a kernel was called with. oneDNN caches compiled primitives by itself.
template <typename Primitive>
struct Prepared {
  std::vector<int64> shapes;
  typename Primitive::primitive_desc desc;
  Primitive primitive;
  dnnl::reorder reorder;  // of the kernel into oneDNN's order, or of its gradient out of it
  mutex lock;
};

inline std::vector<int64> shapes_of(const TensorShape& input, const TensorShape& kernel) {
  std::vector<int64> shapes;
  for (int i = 0; i < 4; ++i) shapes.insert(shapes.end(), {input.dim_size(i), kernel.dim_size(i)});
  return shapes;
}

inline memory over(const memory::desc& desc, const float* data) { return {desc, cpu(), const_cast<float*>(data)}; }

// A tensor for what `desc` describes, for the time of one call.
inline Status temporary(OpKernelContext* context, const memory::desc& desc, Tensor* out) {
  return context->allocate_temp(DT_FLOAT, TensorShape({static_cast<int64>(desc.get_size() / sizeof(float))}), out);
}

// The forward pass, for which oneDNN also asks as a hint when it makes a gradient.
inline dnnl::convolution_forward::primitive_desc forward_of(const Geometry& g) {
  return {cpu(), dnnl::prop_kind::forward_training, dnnl::algorithm::convolution_direct, g.input(), g.any_kernel(),
          g.output(), g.strides(), g.dilations(), g.before(), g.after()};
}

class Forward : public Convolution {
 public:
  using Convolution::Convolution;

 protected:
  // y becomes the convolution of the inputs 0, the images, and 1, the kernel.
  void convolve(OpKernelContext* context, const Geometry& g, float* y) {
    const Tensor &images = context->input(0), &kernel = context->input(1);
    const float *x = data_of(images), *first = data_of(kernel) + g.first_tap();
    use_threads_of(context);
    if (g.is_product()) return product(false, false, g.positions(), g.outputs, g.inputs, x, first, y);
    if (g.is_few_products()) {
      std::fill_n(y, g.positions() * g.outputs, 0.f);
      return for_few_products(g, x, data_of(kernel), y, [&](int64 taps, Rows x, Rows k, Rows y) {
        add_product(false, false, g.batch, g.outputs, taps * g.inputs, x, k, y);
      });
    }
    if (g.is_tiles()) {
      return convolve_tiles(context, g.forward(), x, first, [=](int64 at, int64, Lanes value) {
        lanes(y + at) = value;
      });
    }
    mutex_lock lock(prepared_.lock);
    prepare(g, shapes_of(images.shape(), kernel.shape()));
    Tensor reordered;
    OP_REQUIRES_OK(context, temporary(context, prepared_.desc.weights_desc(), &reordered));
    dnnl::stream stream(cpu());
    auto weights = over(prepared_.desc.weights_desc(), data_of(reordered));
    auto from = over(g.kernel(), first);
    prepared_.reorder.execute(stream, from, weights);
    prepared_.primitive.execute(stream, {{DNNL_ARG_SRC, over(g.input(), x)},
                                         {DNNL_ARG_WEIGHTS, weights},
                                         {DNNL_ARG_DST, over(g.output(), y)}});
    stream.wait();
  }

 private:
  void prepare(const Geometry& g, std::vector<int64> shapes) {
    if (shapes == prepared_.shapes) return;
    prepared_.desc = forward_of(g);
    prepared_.primitive = dnnl::convolution_forward(prepared_.desc);
    prepared_.reorder = dnnl::reorder({cpu(), g.kernel(), cpu(), prepared_.desc.weights_desc()});
    prepared_.shapes = std::move(shapes);
  }

  Prepared<dnnl::convolution_forward> prepared_;
};

}  // namespace convolutions

#endif  // CORE_CPU_KERNELS_CONVOLUTION_H_
