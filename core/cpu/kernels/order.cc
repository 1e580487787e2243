// The samples of a training epoch: their order, by one random number of each, and the rows of a batch.
//
// The leading bits of a number and its index are one word. Each round shares the words out by BITS of these bits, from the
// last to the leading ones; the few numbers whose leading bits are all alike are compared afterwards.
#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace {

using namespace tensorflow;  // NOLINT: a kernel file

REGISTER_OP("DescendingOrder")
    .Input("numbers: int64")
    .Output("order: int64")
    .SetShapeFn(shape_inference::UnchangedShape)
    .Doc("The indices of `numbers`, a vector of non-negative ones, from the largest to the smallest; equal ones keep "
         "their order. tf.argsort gives the same.");

REGISTER_OP("TakenRows")
    .Input("table: T")
    .Input("index: int64")
    .Output("rows: T")
    .Attr("T: {numbertype, bool}")
    .SetShapeFn([](shape_inference::InferenceContext* context) {
      shape_inference::ShapeHandle row, rows;
      TF_RETURN_IF_ERROR(context->Subshape(context->input(0), 1, &row));
      TF_RETURN_IF_ERROR(context->Concatenate(context->input(1), row, &rows));
      context->set_output(0, rows);
      return Status::OK();
    })
    .Doc("The rows of a table, [rows, ...], that a vector of indices names, as tf.gather takes them.");

constexpr int BITS = 8, ROUNDS = 3, BUCKETS = 1 << BITS;
constexpr int INDEX = 64 - ROUNDS * BITS;  // bits of a word that are the index

int bucket(uint64 word, int round) { return word >> (INDEX + BITS * round) & (BUCKETS - 1); }

class DescendingOrder : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& in = context->input(0);
    const auto numbers = in.flat<int64>();
    const int64 count = numbers.size();
    OP_REQUIRES(context, std::all_of(numbers.data(), numbers.data() + count, [](int64 number) { return number >= 0; }),
                errors::InvalidArgument("The numbers to be put in order have a negative one"));
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, in.shape(), &out));
    auto order = out->flat<int64>();
    std::vector<uint64> words(count), shared_out(count);
    std::array<std::array<int64, BUCKETS + 1>, ROUNDS> starts{};  // of each round's buckets
    for (int64 i = 0; i < count; ++i) {
      words[i] = ~(static_cast<uint64>(numbers(i)) >> (63 - ROUNDS * BITS)) << INDEX | i;
      for (int round = 0; round < ROUNDS; ++round) ++starts[round][bucket(words[i], round) + 1];
    }
    for (int round = 0; round < ROUNDS; ++round) {
      auto& start = starts[round];
      for (size_t b = 1; b < start.size(); ++b) start[b] += start[b - 1];
      for (uint64 word : words) shared_out[start[bucket(word, round)]++] = word;
      words.swap(shared_out);
    }
    for (int64 i = 0; i < count; ++i) order(i) = words[i] & ((uint64{1} << INDEX) - 1);
    for (int64 first = 0, last; first < count; first = last) {
      for (last = first + 1; last < count && words[last] >> INDEX == words[first] >> INDEX;) ++last;
      if (last - first == 1) continue;
      std::stable_sort(order.data() + first, order.data() + last,
                       [&](int64 a, int64 b) { return numbers(a) > numbers(b); });
    }
  }
};

// Copies `count` rows of `size` bytes, which the caller may know when it is compiled. A step evicts the table from the
// caches of a core, and memory answers late, so that several rows are asked for before they are copied.
template <typename Size>
void take(const char* table, const int64* index, int64 count, Size size, char* rows) {
  constexpr int64 AHEAD = 16;
  for (int64 i = 0; i < count; ++i) {
    if (i + AHEAD < count) __builtin_prefetch(table + index[i + AHEAD] * size);
    std::memcpy(rows + i * size, table + index[i] * size, size);
  }
}

class TakenRows : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &table = context->input(0), &index = context->input(1);
    const int64 *first = index.flat<int64>().data(), *last = first + index.NumElements();
    const int64 count = table.dim_size(0);
    OP_REQUIRES(context, std::all_of(first, last, [=](int64 i) { return i >= 0 && i < count; }),
                errors::InvalidArgument("An index is none of the ", count, " rows"));
    TensorShape shape = table.shape();
    shape.set_dim(0, last - first);
    Tensor* rows = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &rows));
    if (first == last) return;
    const char* from = table.tensor_data().data();
    char* to = const_cast<char*>(rows->tensor_data().data());
    const int64 size = rows->TotalBytes() / (last - first);
    if (size == 4) {
      take(from, first, last - first, std::integral_constant<int64, 4>(), to);
    } else if (size == 8) {
      take(from, first, last - first, std::integral_constant<int64, 8>(), to);
    } else {
      take(from, first, last - first, size, to);
    }
  }
};

REGISTER_KERNEL_BUILDER(Name("DescendingOrder").Device(DEVICE_CPU), DescendingOrder);
REGISTER_KERNEL_BUILDER(Name("TakenRows").Device(DEVICE_CPU), TakenRows);

}  // namespace
