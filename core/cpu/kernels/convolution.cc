// Conv2D, Conv2DBackpropInput and Conv2DBackpropFilter of float32 images on a CPU, computed by oneDNN and, where it takes
// fewer products, by Winograd's algorithm.
//
// Images are NHWC and kernels HWIO, as TensorFlow has them. oneDNN reads images as they are and has its own order for
// kernels, so a kernel (or its gradient) is reordered in each call; where a convolution is a matrix product, because
// each output position reads one input position of its own, nothing is reordered. Images of a few positions, as deep
// layers have them, are matrix products, too: one for each output position and row of kernel taps, over the batch.
#include "convolution.h"

namespace {

using namespace convolutions;  // NOLINT: a kernel file
using dnnl::convolution_backward_data;
using dnnl::convolution_backward_weights;

const int64 MOST_SUMS = 1 << 20;  // numbers of a thread's sums, which a core's cache holds part of

class Conv2D : public Forward {
 public:
  using Forward::Forward;

  void compute(OpKernelContext* context) override {
    Geometry g;
    OP_REQUIRES_OK(context, geometry(context->input(0).shape(), context->input(1).shape(), &g));
    Tensor* y = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, output_shape(g), &y));
    if (y->NumElements() != 0) convolve(context, g, data_of(y));
  }
};

class Conv2DBackpropInput : public Convolution {
 public:
  using Convolution::Convolution;

  void compute(OpKernelContext* context) override {
    const Tensor &sizes = context->input(0), &kernel = context->input(1), &dy = context->input(2);
    TensorShape shape;
    OP_REQUIRES_OK(context, TensorShapeUtils::MakeShape(sizes.vec<int32>(), &shape));
    Geometry g;
    OP_REQUIRES_OK(context, geometry(shape, kernel.shape(), &g));
    OP_REQUIRES(context, dy.shape() == output_shape(g),
                errors::InvalidArgument("The gradient has the shape ", dy.shape().DebugString(), ", the output ",
                                        output_shape(g).DebugString()));
    Tensor* dx = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &dx));
    if (dx->NumElements() == 0) return;
    use_threads_of(context);
    if (g.is_product()) {
      return product(false, true, g.positions(), g.inputs, g.outputs, data_of(dy), data_of(kernel) + g.first_tap(),
                     data_of(dx));
    }
    if (g.is_few_products()) {
      std::fill_n(data_of(dx), dx->NumElements(), 0.f);
      return for_few_products(g, data_of(dx), data_of(kernel), data_of(dy), [&](int64 taps, Rows x, Rows k, Rows y) {
        add_product(false, true, g.batch, taps * g.inputs, g.outputs, y, k, x);
      });
    }
    if (g.is_tiles()) return tiles(context, g, data_of(kernel), data_of(dy), data_of(dx));
    mutex_lock lock(prepared_.lock);
    prepare(g, shapes_of(shape, kernel.shape()));
    Tensor reordered;
    OP_REQUIRES_OK(context, temporary(context, prepared_.desc.weights_desc(), &reordered));
    dnnl::stream stream(cpu());
    auto weights = over(prepared_.desc.weights_desc(), data_of(reordered));
    auto from = over(g.kernel(), data_of(kernel) + g.first_tap());
    prepared_.reorder.execute(stream, from, weights);
    prepared_.primitive.execute(stream, {{DNNL_ARG_DIFF_DST, over(g.output(), data_of(dy))},
                                         {DNNL_ARG_WEIGHTS, weights},
                                         {DNNL_ARG_DIFF_SRC, over(g.input(), data_of(dx))}});
    stream.wait();
  }

 private:
  // By Winograd's algorithm: the convolution of dy with the kernel turned round.
  static void tiles(OpKernelContext* context, const Geometry& g, const float* kernel, const float* dy, float* dx) {
    Tensor turned;  // [3, 3, outputs, inputs], its taps from the last to the first
    OP_REQUIRES_OK(context, context->allocate_temp(DT_FLOAT, TensorShape({9, g.outputs, g.inputs}), &turned));
    float* to = data_of(&turned);
    const int64 inputs = g.inputs, outputs = g.outputs;
    in_ranges(outputs / LANES, use_threads_of(context), [=](int64 first, int64 last) {
      for (int64 tap = 0; tap < 9; ++tap) {
        const float* from = kernel + (8 - tap) * inputs * outputs;
        float* turned = to + tap * inputs * outputs;
        for (int64 start = first * LANES; start < last * LANES; start += LANES) {
          for (int64 c = 0; c < inputs; ++c) {
            for (int64 k = start; k < start + LANES; ++k) turned[k * inputs + c] = from[c * outputs + k];
          }
        }
      }
    });
    convolve_tiles(context, g.backward(), dy, to, [=](int64 at, int64, Lanes value) {
      lanes(dx + at) = value;
    });
  }

  void prepare(const Geometry& g, std::vector<int64> shapes) {
    if (shapes == prepared_.shapes) return;
    prepared_.desc = convolution_backward_data::primitive_desc(
        cpu(), dnnl::algorithm::convolution_direct, g.input(), g.any_kernel(), g.output(), g.strides(), g.dilations(),
        g.before(), g.after(), forward_of(g));
    prepared_.primitive = convolution_backward_data(prepared_.desc);
    prepared_.reorder = dnnl::reorder({cpu(), g.kernel(), cpu(), prepared_.desc.weights_desc()});
    prepared_.shapes = std::move(shapes);
  }

  Prepared<convolution_backward_data> prepared_;
};

class Conv2DBackpropFilter : public Convolution {
 public:
  using Convolution::Convolution;

  void compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &sizes = context->input(1), &dy = context->input(2);
    TensorShape shape;
    OP_REQUIRES_OK(context, TensorShapeUtils::MakeShape(sizes.vec<int32>(), &shape));
    Geometry g;
    OP_REQUIRES_OK(context, geometry(x.shape(), shape, &g));
    OP_REQUIRES(context, dy.shape() == output_shape(g),
                errors::InvalidArgument("The gradient has the shape ", dy.shape().DebugString(), ", the output ",
                                        output_shape(g).DebugString()));
    Tensor* dk = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &dk));
    if (dk->NumElements() == 0) return;
    if (!g.uses_all_taps() || dy.NumElements() == 0 || g.is_few_products()) {
      std::fill_n(data_of(dk), dk->NumElements(), 0.f);
    }
    if (dy.NumElements() == 0) return;
    use_threads_of(context);
    if (g.is_product()) {
      return product(true, false, g.inputs, g.outputs, g.positions(), data_of(x), data_of(dy),
                     data_of(dk) + g.first_tap());
    }
    if (g.is_few_products()) {
      return for_few_products(g, data_of(x), data_of(dk), data_of(dy), [&](int64 taps, Rows x, Rows k, Rows y) {
        add_product(true, false, taps * g.inputs, g.outputs, g.batch, x, y, k);
      });
    }
    if (g.is_tiles()) return tiles(context, g.forward(), data_of(x), data_of(dy), data_of(dk));
    mutex_lock lock(prepared_.lock);
    prepare(g, shapes_of(x.shape(), shape));
    Tensor reordered;
    OP_REQUIRES_OK(context, temporary(context, prepared_.desc.diff_weights_desc(), &reordered));
    dnnl::stream stream(cpu());
    auto weights = over(prepared_.desc.diff_weights_desc(), data_of(reordered));
    auto to = over(g.kernel(), data_of(dk) + g.first_tap());
    prepared_.primitive.execute(stream, {{DNNL_ARG_SRC, over(g.input(), data_of(x))},
                                         {DNNL_ARG_DIFF_DST, over(g.output(), data_of(dy))},
                                         {DNNL_ARG_DIFF_WEIGHTS, weights}});
    prepared_.reorder.execute(stream, weights, to);
    stream.wait();
  }

 private:
  // By Winograd's algorithm. Threads share out the tiles, and the outputs, too, where the sums are large, because threads
  // that share out tiles have sums of their own.
  static void tiles(OpKernelContext* context, const winograd::Sizes& sizes, const float* x, const float* dy, float* dk) {
    const int threads = use_threads_of(context);
    const int64 size = winograd::POINTS * sizes.inputs * sizes.outputs, vectors = sizes.outputs / LANES;
    int64 shares = std::min<int64>((size - 1) / MOST_SUMS + 1, threads);
    while (threads % shares) ++shares;
    const int64 parts = std::min<int64>(threads / shares, sizes.tiles());
    Tensor all;
    OP_REQUIRES_OK(context, context->allocate_temp(DT_FLOAT, TensorShape({parts, size}), &all));
    float* sums = data_of(&all);
    in_ranges(parts * shares, parts * shares, [=](int64 number, int64) {
      const int64 part = number / shares, share = number % shares;
      winograd::differentiate(sizes, x, dy, sizes.tiles() * part / parts, sizes.tiles() * (part + 1) / parts,
                              vectors * share / shares * LANES, vectors * (share + 1) / shares * LANES,
                              sums + part * size);
    });
    in_ranges(sizes.inputs, threads, [=](int64 first, int64 last) {
      winograd::kernel_gradients(sizes, sums, parts, first, last, dk);
    });
  }

  void prepare(const Geometry& g, std::vector<int64> shapes) {
    if (shapes == prepared_.shapes) return;
    prepared_.desc = convolution_backward_weights::primitive_desc(
        cpu(), dnnl::algorithm::convolution_direct, g.input(), g.any_kernel(), g.output(), g.strides(), g.dilations(),
        g.before(), g.after(), forward_of(g));
    prepared_.primitive = convolution_backward_weights(prepared_.desc);
    prepared_.reorder = dnnl::reorder({cpu(), prepared_.desc.diff_weights_desc(), cpu(), g.kernel()});
    prepared_.shapes = std::move(shapes);
  }

  Prepared<convolution_backward_weights> prepared_;
};

REGISTER_FAST(Conv2D, .TypeConstraint<float>("T"));
REGISTER_FAST(Conv2DBackpropInput, .TypeConstraint<float>("T"));
REGISTER_FAST(Conv2DBackpropFilter, .TypeConstraint<float>("T"));

}  // namespace
