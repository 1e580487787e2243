// DescendingOrder: the order of a training epoch's samples, by one random number of each.
//
// The numbers are uniform, so their leading bits share them out among as many buckets, of which each holds a few. Others
// would be sorted as well, more slowly.
#include <algorithm>
#include <utility>
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
    int bits = 0;
    while (bits < 24 && (int64{4} << bits) < count) ++bits;
    const auto bucket = [=](int64 number) { return ((int64{1} << bits) - 1) - (number >> (63 - bits)); };
    std::vector<int64> end((int64{1} << bits) + 1);  // of each bucket, once it is filled; its first position before
    for (int64 i = 0; i < count; ++i) ++end[bucket(numbers(i)) + 1];
    for (size_t b = 1; b < end.size(); ++b) end[b] += end[b - 1];
    std::vector<std::pair<int64, int64>> sorted(count);  // the largest number has the smallest complement
    for (int64 i = 0; i < count; ++i) sorted[end[bucket(numbers(i))]++] = {~numbers(i), i};
    int64 first = 0;
    for (size_t b = 0; b + 1 < end.size(); first = end[b++]) {
      std::sort(sorted.begin() + first, sorted.begin() + end[b]);
    }
    for (int64 i = 0; i < count; ++i) order(i) = sorted[i].second;
  }
};

REGISTER_KERNEL_BUILDER(Name("DescendingOrder").Device(DEVICE_CPU), DescendingOrder);

}  // namespace
