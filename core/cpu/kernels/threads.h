// What all kernels of this library share: how they use the cores, and where the numbers of a tensor are.
#ifndef CORE_CPU_KERNELS_THREADS_H_
#define CORE_CPU_KERNELS_THREADS_H_

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tensorflow/core/framework/op_kernel.h"

// Registers the class NAME as the kernel of the operator NAME that a graph asks for by the label "fast".
#define REGISTER_FAST(NAME, TYPES...) \
  REGISTER_KERNEL_BUILDER(Name(#NAME).Device(tensorflow::DEVICE_CPU) TYPES.Label("fast"), NAME)

// tensor.flat() would demand the alignment of this library's build, which slices made by TensorFlow's do not have.
inline const float* data_of(const tensorflow::Tensor& tensor) {
  return reinterpret_cast<const float*>(tensor.tensor_data().data());
}

inline float* data_of(tensorflow::Tensor* tensor) { return const_cast<float*>(data_of(*tensor)); }

// Numbers that start where a vector of this machine does.
using Floats = std::vector<float, Eigen::aligned_allocator<float>>;

// Numbers for which another thread is not worth its start: about as many as a thread reads and writes meanwhile.
constexpr tensorflow::int64 SMALL = 16384;
// The same of a network of so few operators that the threads sleep between two of them: it takes 50 us to wake one.
constexpr tensorflow::int64 SMALL_ALONE = 64 * SMALL;

// Gives oneDNN and OpenMP, in the calling thread, as many threads as the session gives one operator, or one for a
// small operator, which works on so many `numbers`; returns how many.
inline int use_threads_of(tensorflow::OpKernelContext* context, tensorflow::int64 numbers = SMALL,
                          tensorflow::int64 small = SMALL) {
  const int threads = numbers < small ? 1 : context->device()->tensorflow_cpu_worker_threads()->num_threads;
  omp_set_num_threads(threads);
  return threads;
}

// Calls work(first, last) for as many ranges as there are threads, which make up [0, size), at the same time.
template <typename Work>
void in_ranges(tensorflow::int64 size, int threads, Work work) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int i = 0; i < threads; ++i) work(size * i / threads, size * (i + 1) / threads);
}

// Per channel the sum over all positions: add(first, last, sums) adds the values of a block of positions. A thread sums
// over a range of positions in float32, in blocks that it adds up in float64; the ranges are added in their order, so
// that the same number of threads gives the same bits.
template <typename Add>
std::vector<double> sums_of_blocks(tensorflow::int64 positions, tensorflow::int64 channels, int threads, Add add) {
  const tensorflow::int64 BLOCK = 64;
  std::vector<std::vector<double>> of_ranges(threads);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int range = 0; range < threads; ++range) {
    std::vector<double>& total = of_ranges[range];
    total.assign(channels, 0);
    Floats block(channels);
    const tensorflow::int64 end = positions * (range + 1) / threads;
    for (tensorflow::int64 start = positions * range / threads; start < end; start += BLOCK) {
      std::fill(block.begin(), block.end(), 0.f);
      add(start, std::min(start + BLOCK, end), block.data());
      for (tensorflow::int64 c = 0; c < channels; ++c) total[c] += block[c];
    }
  }
  std::vector<double> sums(channels);
  for (const auto& total : of_ranges) {
    for (tensorflow::int64 c = 0; c < channels; ++c) sums[c] += total[c];
  }
  return sums;
}

// The same where add(i, sums) adds the values of position i.
template <typename Add>
std::vector<double> sums_over(tensorflow::int64 positions, tensorflow::int64 channels, int threads, Add add) {
  return sums_of_blocks(positions, channels, threads, [=](tensorflow::int64 i, tensorflow::int64 last, float* sums) {
    for (; i < last; ++i) add(i, sums);
  });
}

#endif  // CORE_CPU_KERNELS_THREADS_H_
