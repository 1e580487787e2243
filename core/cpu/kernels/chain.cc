// A chain of elementwise operators and roundings of float32 tensors on a CPU, in one pass over memory: each instruction
// computes a block that stays in a core's cache. core/cpu/kernels/chains.py makes chains of graphs that an emulation has
// rewritten. An instruction does what an operator of TensorFlow does, and no more, so that the bits are the same.
#include <immintrin.h>

#include <atomic>
#include <memory>

#include "product.h"
#include "rounding.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "threads.h"

namespace {

using namespace tensorflow;  // NOLINT: a kernel file

REGISTER_OP("Chain")
    .Input("x: n * float")
    .Output("y: float")
    .Output("flags: m * bool")
    .Attr("n: int >= 1")
    .Attr("m: int >= 0")
    .Attr("program: list(int)")
    .Attr("dtypes: list(string)")
    .Attr("largest: list(float)")
    .Attr("saturates: list(bool)")
    .Attr("shape: shape")
    .SetShapeFn([](shape_inference::InferenceContext* context) {
      PartialTensorShape shape;
      shape_inference::ShapeHandle y;
      TF_RETURN_IF_ERROR(context->GetAttr("shape", &shape));
      TF_RETURN_IF_ERROR(context->MakeShapeFromPartialTensorShape(shape, &y));
      context->set_output(0, y);
      for (int i = 1; i < context->num_outputs(); ++i) context->set_output(i, context->Scalar());
      return Status::OK();
    })
    .Doc("What the last instruction of `program` makes of tensors of y's size, of vectors along its last axis, of tensors "
         "of one number for each such vector, of scalars, and of the factors of products of few inputs. An instruction "
         "is (code, operand, operand, register of the result, flag or -1); registers are those of the inputs and then "
         "others; -1 is y.");

enum Code { MULTIPLY, ADD, SUBTRACT, NEGATE, RELU, RELU_GRADIENT, ROUND, IS_WITHIN, PRODUCT, PRODUCT_TRANSPOSED };
constexpr int WORDS = 5;       // of an instruction
constexpr int64 BLOCK = 1024;  // numbers, at most, but for longer vectors

struct Look {
  int64 largest = 0, flag = -1;  // the largest bits of a magnitude; no flag: there is no look
};

struct Instruction {
  int64 code, a, b, to, flag;  // b of ROUND: which type; of IS_WITHIN: as Look::largest
  Look before, after;          // of ROUND, which finds the largest magnitude anyway

  bool is_product() const { return code >= PRODUCT; }
};

// The same program, in which a look at what is rounded next, or was rounded last, is a part of that instruction.
std::vector<Instruction> with_joined_looks(const std::vector<Instruction>& program) {
  std::vector<Instruction> joined;
  Look waiting;
  for (size_t i = 0; i < program.size(); ++i) {
    Instruction one = program[i];
    const Look look{one.b, one.flag};
    const Instruction* next = i + 1 < program.size() ? &program[i + 1] : nullptr;
    if (one.code == ROUND) std::swap(one.before, waiting);
    if (one.code != IS_WITHIN) {
      joined.push_back(one);
    } else if (!joined.empty() && joined.back().code == ROUND && joined.back().to == one.a &&
               joined.back().after.flag < 0) {
      joined.back().after = look;
    } else if (next && next->code == ROUND && next->a == one.a) {
      waiting = look;
    } else {
      joined.push_back(one);
    }
  }
  return joined;
}

template <typename Function>
inline void each(int64 size, float* to, Function function) {
#pragma omp simd
  for (int64 i = 0; i < size; ++i) to[i] = function(i);
}

class Chain : public OpKernel {
 public:
  explicit Chain(OpKernelConstruction* context) : OpKernel(context) {
    std::vector<int64> words;
    std::vector<string> dtypes;
    std::vector<bool> saturates;
    OP_REQUIRES_OK(context, context->GetAttr("program", &words));
    OP_REQUIRES_OK(context, context->GetAttr("dtypes", &dtypes));
    OP_REQUIRES_OK(context, context->GetAttr("largest", &largest_));
    OP_REQUIRES_OK(context, context->GetAttr("saturates", &saturates));
    OP_REQUIRES_OK(context, context->GetAttr("shape", &shape_));
    OP_REQUIRES_OK(context, context->GetAttr("n", &inputs_));
    registers_ = inputs_;
    for (size_t i = 0; i < words.size(); i += WORDS) {
      program_.push_back({words[i], words[i + 1], words[i + 2], words[i + 3], words[i + 4]});
      registers_ = std::max(registers_, static_cast<int>(words[i + 3]) + 1);
    }
    program_ = with_joined_looks(program_);
    for (size_t i = 0; i < dtypes.size(); ++i) round_.push_back(rounding::round_of(dtypes[i], saturates[i]));
  }

  void Compute(OpKernelContext* context) override {
    const int64 size = shape_.num_elements();
    const int64 width = shape_.dims() ? std::max<int64>(shape_.dim_size(shape_.dims() - 1), 1) : 1;
    std::vector<const float*> x;
    for (int i = 0; i < inputs_; ++i) x.push_back(data_of(context->input(i)));
    std::vector<bool> is_factor(inputs_);
    std::vector<std::vector<float>> weights(program_.size());  // of the instructions that are products
    for (size_t i = 0; i < program_.size(); ++i) {
      const Instruction& one = program_[i];
      if (!one.is_product()) continue;
      const int64 numbers = context->input(one.b).NumElements(), few = numbers / width;
      OP_REQUIRES(context, few >= 1 && few <= FEW && numbers == few * width &&
                               context->input(one.a).NumElements() == size / width * few,
                  errors::InvalidArgument("A chain of ", shape_.DebugString(), " got factors of ",
                                          context->input(one.a).shape().DebugString(), " and ",
                                          context->input(one.b).shape().DebugString()));
      is_factor[one.a] = is_factor[one.b] = true;
      weights[i] = few_rows(one.code == PRODUCT_TRANSPOSED, few, width, x[one.b]);
    }
    std::vector<int> whole, may_become_y, vectors, of_vectors;
    for (int i = 0; i < inputs_; ++i) {
      const Tensor& input = context->input(i);
      const int64 numbers = input.NumElements();
      if (numbers == size) {
        whole.push_back(i);
        if (!is_factor[i]) may_become_y.push_back(i);
      } else if (numbers == size / width && input.dims() > 1) {
        of_vectors.push_back(i);
      } else if (numbers == 1 || numbers == width) {
        vectors.push_back(i);
      } else {
        OP_REQUIRES(context, is_factor[i], errors::InvalidArgument("A chain of ", shape_.DebugString(), " got ",
                                                                   input.shape().DebugString()));
      }
    }
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output(may_become_y, 0, shape_, &out));
    float* y = data_of(out);
    const int64 block = std::min(std::max<int64>(BLOCK / width, 1) * width, size);
    std::vector<int32> vector_of(of_vectors.empty() ? 0 : block);
    for (size_t k = 0; k < vector_of.size(); ++k) vector_of[k] = k / width;
    const int64 flags = context->num_outputs() - 1;
    const std::unique_ptr<std::atomic<bool>[]> leaves(new std::atomic<bool>[flags]());
    const int threads = use_threads_of(context, size * program_.size() / 4);
    in_ranges((size + block - 1) / block, threads, [&](int64 first, int64 last) {
      // As TensorFlow's threads do: denormal numbers are 0.
      const unsigned before = _mm_getcsr();
      _mm_setcsr(before | 0x8040);
      Floats room(registers_ * block);
      std::vector<const float*> at(registers_);
      for (int i = 0; i < registers_; ++i) at[i] = room.data() + i * block;
      for (int i : vectors) {
        float *const to = room.data() + i * block, *const end = to + block;
        if (context->input(i).NumElements() == 1) std::fill(to, end, *x[i]);
        else for (float* row = to; row < end; row += width) std::copy_n(x[i], width, row);
      }
      for (int64 start = first * block; start < std::min(last * block, size); start += block) {
        const int64 numbers = std::min(block, size - start);
        for (int i : whole) at[i] = x[i] + start;
        for (int i : of_vectors) {
          const float* from = x[i] + start / width;
          const int32* of = vector_of.data();
          each(numbers, room.data() + i * block, [=](int64 k) { return from[of[k]]; });
        }
        run(numbers, at, room.data(), block, y + start, leaves.get(), [&](size_t i, float* to) {
          const int64 rows = numbers / width, few = weights[i].size() / width;
          product_of_few(rows, width, few, x[program_[i].a] + start / width * few, weights[i].data(), to);
        });
      }
      _mm_setcsr(before);
    });
    // A look tells whether all is within its range, a rounding whether it is not.
    for (const Instruction& one : program_) {
      set_flag(context, one.before.flag, leaves.get(), false);
      set_flag(context, one.flag, leaves.get(), one.code == ROUND);
      set_flag(context, one.after.flag, leaves.get(), false);
    }
  }

 private:
  static void set_flag(OpKernelContext* context, int64 number, const std::atomic<bool>* leaves, bool when_it_leaves) {
    if (number < 0) return;
    Tensor* flag = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(1 + number, TensorShape({}), &flag));
    flag->scalar<bool>()() = leaves[number] == when_it_leaves;
  }

  // multiply(i, to) computes the product that is instruction number i.
  template <typename Multiply>
  void run(int64 size, std::vector<const float*>& at, float* room, int64 block, float* y, std::atomic<bool>* leaves,
           Multiply multiply) const {
    for (const Instruction& one : program_) {
      if (one.is_product()) {
        multiply(&one - program_.data(), one.to < 0 ? y : room + one.to * block);
        continue;
      }
      const bool is_binary = one.code < NEGATE || one.code == RELU_GRADIENT;
      const float *a = one.a < 0 ? y : at[one.a], *b = is_binary ? at[one.b] : nullptr;
      if (one.code == IS_WITHIN) {
        look({one.b, one.flag}, rounding::largest_of(a, size), leaves);
        continue;
      }
      float* to = one.to < 0 ? y : room + one.to * block;
      switch (one.code) {
        case MULTIPLY: each(size, to, [=](int64 i) { return a[i] * b[i]; }); break;
        case ADD: each(size, to, [=](int64 i) { return a[i] + b[i]; }); break;
        case SUBTRACT: each(size, to, [=](int64 i) { return a[i] - b[i]; }); break;
        case NEGATE: each(size, to, [=](int64 i) { return -a[i]; }); break;
        case RELU: each(size, to, [=](int64 i) { return a[i] < 0 ? 0 : a[i]; }); break;
        case RELU_GRADIENT: each(size, to, [=](int64 i) { return b[i] > 0 ? a[i] : 0; }); break;
        default: {
          const int32 limit = rounding::bits_of<int32>(largest_[one.b]);
          const int32 most = round_[one.b](a, to, size, limit);
          look({limit, one.flag}, most, leaves);
          look(one.before, most, leaves);
          if (one.after.flag >= 0) look(one.after, largest_after(one, most, limit, to, size), leaves);
        }
      }
    }
  }

  static void look(Look at, int32 most, std::atomic<bool>* leaves) {
    if (at.flag >= 0 && most > at.largest) leaves[at.flag] = true;
  }

  // The largest magnitude of the `size` numbers to which `one` has rounded, where `most` was the largest before.
  int32 largest_after(const Instruction& one, int32 most, int32 limit, const float* rounded, int64 size) const {
    if (most > rounding::INFINITE) return rounding::largest_of(rounded, size);  // NaN may have become 0
    float largest = rounding::bits_of<float>(most);
    round_[one.b](&largest, &largest, 1, limit);   // a larger number is not rounded to a smaller one
    return rounding::bits_of<int32>(largest);
  }

  int inputs_, registers_;
  std::vector<Instruction> program_;
  std::vector<rounding::Round> round_;
  std::vector<float> largest_;
  TensorShape shape_;
};

REGISTER_KERNEL_BUILDER(Name("Chain").Device(DEVICE_CPU), Chain);

}  // namespace
