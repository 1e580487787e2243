// Pixels on their way from a file to a batch: an image scaled, boxes of images pasted into others, and colours
// normalised, each in one pass and with the bits of TensorFlow's own operators, so that a run may go on where there are
// no kernels. The callers have both forms: data/images.py, data/cutmix.py and launchers/networks/cifar10.py.
//
// A kernel works in the thread that calls it, because the input pipeline loads several images at the same time.
#include <cstring>

#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "threads.h"

// A product and the sum that it goes into are rounded one after the other, as by TensorFlow's wheel.
#pragma GCC optimize("fp-contract=off")

namespace {

using namespace tensorflow;  // NOLINT: a kernel file

const int CHANNELS = 3;
typedef float Pixel __attribute__((vector_size(16), aligned(4)));  // and one value more, which goes nowhere

REGISTER_OP("ScaledImage")
    .Input("image: uint8")
    .Input("is_mirrored: bool")
    .Output("scaled: uint8")
    .Attr("height: int >= 1")
    .Attr("width: int >= 1")
    .SetShapeFn([](shape_inference::InferenceContext* context) {
      int64 height, width;
      TF_RETURN_IF_ERROR(context->GetAttr("height", &height));
      TF_RETURN_IF_ERROR(context->GetAttr("width", &width));
      context->set_output(0, context->MakeShape({height, width, CHANNELS}));
      return Status::OK();
    })
    .Doc("An image [height, width, 3] as ScaleAndTranslate scales it by an antialiased triangle, rounded, perhaps then "
         "with its columns reversed.");

REGISTER_OP("PastedBoxes")
    .Input("images: uint8")
    .Input("boxes: int32")
    .Input("partner: int32")
    .Output("pasted: uint8")
    .SetShapeFn([](shape_inference::InferenceContext* context) {
      context->set_output(0, context->input(0));
      return Status::OK();
    })
    .Doc("Images [n, height, width, 3], in each a box (first row, end, first column, end) of its partner.");

REGISTER_OP("NormalizedColors")
    .Input("images: uint8")
    .Input("mean: float")
    .Input("scale: float")
    .Output("normalized: float")
    .SetShapeFn(shape_inference::UnchangedShape)
    .Doc("(images - mean) * scale, images [..., 3].");

// For each pixel of a scaled row or column, which pixels it is made of and their weights.
struct Spans {
  int taps;                    // pixels of the longest span; the weights of a shorter one end with zeros
  std::vector<int> first, count;
  std::vector<float> weights;  // `taps` for each span

  Spans(int size, int wanted) : taps(0), first(wanted), count(wanted) {
    const float scale = static_cast<float>(wanted) / static_cast<float>(size), step = 1.0 / scale;
    const float radius = std::max(step, 1.f), inverse = 1.f / radius;
    const int most = std::min(2 * static_cast<int>(std::ceil(radius)) + 1, size);
    std::vector<float> found(static_cast<size_t>(most) * wanted);
    for (int i = 0; i < wanted; ++i) {
      const float centre = (i + .5f) * step;
      const int start = std::min<int64>(std::max<int64>(std::ceil(centre - radius - .5f), 0), size - 1);
      const int end = std::min<int64>(std::max<int64>(std::floor(centre + radius - .5f), 0), size - 1) + 1;
      float* own = &found[static_cast<size_t>(most) * i];
      float sum = 0;
      for (int from = start; from < end; ++from) {
        const float distance = std::abs((static_cast<float>(from) + .5f - centre) * inverse);
        sum += own[from - start] = std::max(1.f - distance, 0.f);
      }
      const float share = 1.f / sum;
      for (int k = 0; k < end - start; ++k) own[k] *= share;
      first[i] = start;
      count[i] = end - start;
      taps = std::max(taps, count[i]);
    }
    weights.resize(static_cast<size_t>(taps) * wanted);
    for (int i = 0; i < wanted; ++i) std::copy_n(&found[static_cast<size_t>(most) * i], taps, &weights[taps * i]);
  }
};

// The weighted sum of `count` rows of `size` values.
void add_rows(const uint8* rows, int64 size, int count, const float* weights, float* sum) {
  std::fill_n(sum, size, 0.f);
  for (int k = 0; k < count; k += 2) {  // two at a time, because the sum is written and read again
    const bool is_last = k + 1 == count;
    const uint8 *one = rows + k * size, *other = is_last ? one : one + size;
    const float weight = weights[k], other_weight = is_last ? 0 : weights[k + 1];
    for (int64 i = 0; i < size; ++i) {
      sum[i] = sum[i] + weight * static_cast<float>(one[i]) + other_weight * static_cast<float>(other[i]);
    }
  }
}

// The weighted sums of the pixels of a row, which goes on with zeros.
void add_columns(const float* row, const Spans& spans, int width, bool is_mirrored, float* sums) {
  for (int x = 0; x < width; ++x) {
    const int own = is_mirrored ? width - 1 - x : x;
    const float* weights = &spans.weights[static_cast<size_t>(spans.taps) * own];
    const float* pixels = row + spans.first[own] * CHANNELS;
    Pixel sum = {};
    for (int k = 0; k < spans.taps; ++k) sum += weights[k] * *reinterpret_cast<const Pixel*>(pixels + k * CHANNELS);
    *reinterpret_cast<Pixel*>(sums + x * CHANNELS) = sum;
  }
}

// The nearest pixels; of two the even one.
void round_row(const float* row, int size, uint8* pixels) {
  for (int i = 0; i < size; ++i) {
    pixels[i] = static_cast<uint8>(static_cast<int32>(std::min(std::max(std::rint(row[i]), 0.f), 255.f)));
  }
}

class ScaledImage : public OpKernel {
 public:
  explicit ScaledImage(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("height", &height_));
    OP_REQUIRES_OK(context, context->GetAttr("width", &width_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& image = context->input(0);
    OP_REQUIRES(context, image.dims() == 3 && image.dim_size(2) == CHANNELS && image.NumElements() > 0,
                errors::InvalidArgument("no image [height, width, 3]: ", image.shape().DebugString()));
    const bool is_mirrored = context->input(1).scalar<bool>()();
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({height_, width_, CHANNELS}), &out));
    const uint8* pixels = reinterpret_cast<const uint8*>(image.tensor_data().data());
    uint8* scaled = reinterpret_cast<uint8*>(const_cast<char*>(out->tensor_data().data()));
    const int64 stride = image.dim_size(1) * CHANNELS;
    const Spans of_rows(image.dim_size(0), height_), of_columns(image.dim_size(1), width_);
    std::vector<float> wide(stride + (of_columns.taps + 1) * CHANNELS), row(width_ * CHANNELS + 1);
    for (int64 y = 0; y < height_; ++y) {
      add_rows(pixels + of_rows.first[y] * stride, stride, of_rows.count[y], &of_rows.weights[of_rows.taps * y],
               wide.data());
      add_columns(wide.data(), of_columns, width_, is_mirrored, row.data());
      round_row(row.data(), width_ * CHANNELS, scaled + y * width_ * CHANNELS);
    }
  }

 private:
  int height_, width_;
};

class PastedBoxes : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& images = context->input(0);
    const auto boxes = context->input(1).matrix<int32>();
    const auto partner = context->input(2).vec<int32>();
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, images.shape(), &out));
    const char* from = images.tensor_data().data();
    char* to = const_cast<char*>(out->tensor_data().data());
    std::memcpy(to, from, images.tensor_data().size());
    const int64 height = images.dim_size(1), stride = images.dim_size(2) * CHANNELS;
    for (int64 i = 0; i < images.dim_size(0); ++i) {
      const int64 begin = boxes(i, 2) * CHANNELS, bytes = boxes(i, 3) * CHANNELS - begin;
      for (int64 row = boxes(i, 0); row < boxes(i, 1); ++row) {
        std::memcpy(to + (i * height + row) * stride + begin, from + (partner(i) * height + row) * stride + begin,
                    bytes);
      }
    }
  }
};

class NormalizedColors : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& images = context->input(0);
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, images.shape(), &out));
    // A multiple of the vectors' sizes and of the channels.
    const int BLOCK = 16 * CHANNELS;
    float mean[BLOCK], scale[BLOCK];
    for (int i = 0; i < BLOCK; ++i) {
      mean[i] = data_of(context->input(1))[i % CHANNELS];
      scale[i] = data_of(context->input(2))[i % CHANNELS];
    }
    const uint8* pixels = reinterpret_cast<const uint8*>(images.tensor_data().data());
    float* normalized = data_of(out);
    const int64 size = images.NumElements();
    for (int64 start = 0; start < size; start += BLOCK) {
      const int count = std::min<int64>(BLOCK, size - start);
      for (int i = 0; i < count; ++i) {
        normalized[start + i] = (static_cast<float>(pixels[start + i]) - mean[i]) * scale[i];
      }
    }
  }
};

REGISTER_KERNEL_BUILDER(Name("ScaledImage").Device(DEVICE_CPU), ScaledImage);
REGISTER_KERNEL_BUILDER(Name("PastedBoxes").Device(DEVICE_CPU), PastedBoxes);
REGISTER_KERNEL_BUILDER(Name("NormalizedColors").Device(DEVICE_CPU), NormalizedColors);

}  // namespace
