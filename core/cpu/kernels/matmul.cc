// MatMul of float32 matrices on a CPU, computed by oneDNN.
#include "product.h"
#include "threads.h"

namespace {

using namespace tensorflow;  // NOLINT: a kernel file

class MatMul : public OpKernel {
 public:
  explicit MatMul(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("transpose_a", &transpose_a_));
    OP_REQUIRES_OK(context, context->GetAttr("transpose_b", &transpose_b_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &a = context->input(0), &b = context->input(1);
    OP_REQUIRES(context, a.dims() == 2 && b.dims() == 2, errors::InvalidArgument("MatMul takes two matrices"));
    const int64 rows = a.dim_size(transpose_a_), inner = a.dim_size(!transpose_a_);
    const int64 columns = b.dim_size(!transpose_b_);
    OP_REQUIRES(context, b.dim_size(transpose_b_) == inner,
                errors::InvalidArgument("Matrix sizes do not match: ", a.shape().DebugString(), " and ",
                                        b.shape().DebugString()));
    Tensor* c = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({rows, columns}), &c));
    if (inner == 0) std::fill_n(data_of(c), c->NumElements(), 0.f);
    if (inner == 0 || c->NumElements() == 0) return;
    use_threads_of(context);
    product(transpose_a_, transpose_b_, rows, columns, inner, data_of(a), data_of(b), data_of(c));
  }

 private:
  bool transpose_a_, transpose_b_;
};

REGISTER_FAST(MatMul, .TypeConstraint<float>("T"));

}  // namespace
