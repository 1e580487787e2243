// SharedExchange: the sums or means of tensors over ranks that are processes of one machine, or what they are on rank 0,
// through shared memory. SharedMomentum: the update of weights by the mean of the ranks' gradients, which it computes in
// the same pass, so that nobody writes and reads the mean.
#include "exchange.h"
#include "momentum.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"

namespace {

using namespace ranks;  // NOLINT: a kernel file

REGISTER_OP("SharedExchange")
    .Input("tensors: n * T")
    .Output("results: n * T")
    .Attr("n: int >= 1")
    .Attr("T: type")
    .Attr("what: {'sum', 'mean', 'broadcast'}")
    .Attr("descriptor: int")
    .Attr("offset: int")
    .Attr("rank: int")
    .Attr("ranks: int")
    .SetIsStateful()
    .SetShapeFn([](shape_inference::InferenceContext* context) {
      for (int i = 0; i < context->num_inputs(); ++i) context->set_output(i, context->input(i));
      return Status::OK();
    })
    .Doc("The sum or the mean over the ranks of each of the tensors, or what it is on rank 0. The ranks share the memory "
         "of `descriptor`; the region of this operator starts at `offset`, a multiple of the page size.");

REGISTER_OP("SharedMomentum")
    .Input("weights: Ref(n * float)")
    .Input("velocities: Ref(n * float)")
    .Input("rate: float")
    .Input("gradients: n * float")
    .Input("momentum: float")
    .Input("decays: n * float")
    .Attr("n: int >= 1")
    .Attr("use_nesterov: bool")
    .Attr("descriptor: int")
    .Attr("offset: int")
    .Attr("rank: int")
    .Attr("ranks: int")
    .SetIsStateful()
    .SetShapeFn(shape_inference::NoOutputs)
    .Doc("What ApplyMomentum does with each of the weights and the mean over the ranks of its gradient, which "
         "SharedExchange would compute, where each rank adds decay * weights to its gradient, unless the decay is 0.");

template <typename T>
void add(const std::vector<const char*>& slots, int64 count, bool is_mean, char* to) {
  const auto numbers = [&slots](size_t i) { return reinterpret_cast<const T*>(slots[i]); };
  T* total = reinterpret_cast<T*>(to);
  const T divisor = static_cast<T>(is_mean ? static_cast<float>(slots.size()) : 1.f);
  if (slots.size() == 2) {
    const T *first = numbers(0), *second = numbers(1);
#pragma omp simd
    for (int64 i = 0; i < count; ++i) total[i] = (first[i] + second[i]) / divisor;
    return;
  }
  const int64 BLOCK = 4096;
  T block[BLOCK];
  for (int64 start = 0; start < count; start += BLOCK) {
    const int64 length = std::min(BLOCK, count - start);
    std::copy_n(numbers(0) + start, length, block);
    for (size_t other = 1; other < slots.size(); ++other) {
      const T* values = numbers(other) + start;
#pragma omp simd
      for (int64 i = 0; i < length; ++i) block[i] += values[i];
    }
#pragma omp simd
    for (int64 i = 0; i < length; ++i) total[start + i] = block[i] / divisor;
  }
}

Add adds(DataType type) {  // nullptr for a type that has no sums
  switch (type) {
    case DT_FLOAT: return add<float>;
    case DT_DOUBLE: return add<double>;
    case DT_HALF: return add<Eigen::half>;
    case DT_INT32: return add<int32>;
    case DT_INT64: return add<int64>;
    default: return nullptr;
  }
}

class SharedExchange : public ExchangeKernel {
 public:
  explicit SharedExchange(OpKernelConstruction* context) : ExchangeKernel(context) {
    string what;
    OP_REQUIRES_OK(context, context->GetAttr("T", &type_));
    OP_REQUIRES_OK(context, context->GetAttr("what", &what));
    is_mean_ = what == "mean";
    add_ = what == "broadcast" ? nullptr : adds(type_);
    OP_REQUIRES(context, add_ || what == "broadcast",
                errors::Unimplemented("ranks cannot add up tensors of ", DataTypeString(type_)));
  }

  void ComputeAsync(OpKernelContext* context, DoneCallback done) override {
    std::vector<int64> sizes;
    std::vector<const char*> own;
    std::vector<char*> results;
    for (int i = 0; i < context->num_inputs(); ++i) {
      const Tensor& tensor = context->input(i);
      Tensor* result = nullptr;
      OP_REQUIRES_OK_ASYNC(context, context->forward_input_or_allocate_output({i}, i, tensor.shape(), &result), done);
      sizes.push_back(tensor.NumElements());
      own.push_back(tensor.tensor_data().data());
      results.push_back(const_cast<char*>(result->tensor_data().data()));
    }
    const int64 width = DataTypeSize(type_);
    const auto write = [=](size_t i, char* slot) { stream(own[i], sizes[i] * width, slot); };
    const auto take = [=](size_t i, int64 first, int64 count, const std::vector<const char*>& slots) {
      char* result = results[i] + first * width;
      slots.size() == 1 ? void(std::copy_n(slots[0], count * width, result)) : add_(slots, count, is_mean_, result);
    };
    exchange(context, type_, add_, is_mean_, sizes, write, take, std::move(done));
  }

 private:
  DataType type_;
  bool is_mean_;
  Add add_;
};

class SharedMomentum : public ExchangeKernel {
 public:
  explicit SharedMomentum(OpKernelConstruction* context) : ExchangeKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("n", &n_));
    OP_REQUIRES_OK(context, context->GetAttr("use_nesterov", &use_nesterov_));
  }

  void ComputeAsync(OpKernelContext* context, DoneCallback done) override {
    const Tensor &rate = context->input(2 * n_), &momentum = context->input(3 * n_ + 1);
    OP_REQUIRES_ASYNC(context, rate.NumElements() == 1 && momentum.NumElements() == 1,
                      errors::InvalidArgument("The rate and the momentum have to be scalars"), done);
    std::vector<int64> sizes;
    std::vector<Update> updates;
    for (int i = 0; i < n_; ++i) {
      Tensor weights = context->mutable_input(i, false), velocities = context->mutable_input(n_ + i, false);
      const Tensor &gradient = context->input(2 * n_ + 1 + i), &decay = context->input(3 * n_ + 2 + i);
      OP_REQUIRES_ASYNC(context, weights.IsInitialized() && velocities.IsInitialized(),
                        errors::FailedPrecondition("Variable ", requested_input(i), " has no value yet"), done);
      OP_REQUIRES_ASYNC(context, weights.shape() == gradient.shape() && velocities.shape() == gradient.shape() &&
                        decay.NumElements() == 1,
                        errors::InvalidArgument("Weights of ", weights.shape().DebugString(), " got the gradient ",
                                                gradient.shape().DebugString()), done);
      updates.push_back({data_of(&weights), data_of(&velocities), data_of(gradient), *data_of(decay)});
      sizes.push_back(gradient.NumElements());
    }
    const auto write = [=](size_t i, char* slot) {
      const float *gradient = updates[i].gradient, *weights = updates[i].weights, decay = updates[i].decay;
      if (decay == 0) {
        stream(reinterpret_cast<const char*>(gradient), sizes[i] * sizeof(float), slot);
        return;
      }
      float block[BLOCK];
      for (int64 start = 0; start < sizes[i]; start += BLOCK) {
        const int64 count = std::min(BLOCK, sizes[i] - start);
#pragma omp simd
        for (int64 k = 0; k < count; ++k) block[k] = gradient[start + k] + decay * weights[start + k];
        slot = stream(reinterpret_cast<const char*>(block), count * sizeof(float), slot);
      }
    };
    const MomentumRule rule(*data_of(rate), *data_of(momentum), use_nesterov_);
    const int threads = use_threads_of(context);
    const auto take = [=](size_t i, int64 first, int64 count, const std::vector<const char*>& slots) {
      const Update update = updates[i].from(first);
      const bool is_mean = slots.size() == 1;  // or else what the other rank has written
      const float* others = reinterpret_cast<const float*>(slots[is_mean ? 0 : 1 - rank_]);
      in_ranges(count, count < SMALL ? 1 : threads, [=](int64 from, int64 to) {
        const Update own = update;  // which the compiler knows to stay as it is, unlike what a lambda has captured
        const MomentumRule momentum = rule;
        if (is_mean) {
#pragma omp simd
          for (int64 k = from; k < to; ++k) momentum.apply(others[k], own.velocities + k, own.weights + k);
        } else {
#pragma omp simd
          for (int64 k = from; k < to; ++k) {
            momentum.apply((own.decayed(k) + others[k]) / 2, own.velocities + k, own.weights + k);
          }
        }
      });
    };
    exchange(context, DT_FLOAT, adds(DT_FLOAT), true, sizes, write, take, std::move(done));
  }

 private:
  static constexpr int64 BLOCK = 1024;

  struct Update {  // of one of the weights
    float *weights, *velocities;
    const float* gradient;
    float decay;

    Update from(int64 first) const { return {weights + first, velocities + first, gradient + first, decay}; }
    float decayed(int64 i) const { return decay == 0 ? gradient[i] : gradient[i] + decay * weights[i]; }
  };

  int n_;
  bool use_nesterov_;
};

REGISTER_KERNEL_BUILDER(Name("SharedExchange").Device(DEVICE_CPU), SharedExchange);
REGISTER_KERNEL_BUILDER(Name("SharedMomentum").Device(DEVICE_CPU), SharedMomentum);

}  // namespace
