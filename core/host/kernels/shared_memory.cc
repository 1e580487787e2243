// SharedAllReduce: the sum or mean of a vector over ranks that are processes of one machine, through shared memory.
//
// The ranks share a file for each operator. It has a slot for the vector of each rank, and of each rank the numbers of
// the exchanges in which it has written its slot, summed its part and taken the result. Rank r sums the r-th part of
// all slots, in the order of the ranks, into its own slot, so every rank gets the same bits. The work is done by one
// thread of the process, because operators of one process may wait for each other's ranks in any order.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <list>
#include <mutex>
#include <thread>

#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "threads.h"

namespace {

using namespace tensorflow;  // NOLINT: a kernel file

REGISTER_OP("SharedAllReduce")
    .Input("vector: float")
    .Output("total: float")
    .Attr("path: string")
    .Attr("rank: int")
    .Attr("ranks: int")
    .Attr("is_mean: bool")
    .SetIsStateful()
    .SetShapeFn(shape_inference::UnchangedShape)
    .Doc("The sum or the mean of `vector` over the ranks that share the file `path`.");

struct alignas(64) Progress {  // of one rank: the numbers of the last exchanges, which count from 1
  std::atomic<int64_t> written, summed, taken;
};

// The shared file of an operator: the progress of the ranks, then their slots.
class Region {
 public:
  Status open(const string& path, int64 ranks, int64 size) {
    path_ = path;
    ranks_ = ranks;
    size_ = size;
    bytes_ = ranks * (sizeof(Progress) + size * sizeof(float));
    const int file = ::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (file < 0) return errors::Internal(path, " cannot be opened: ", std::strerror(errno));
    const int error = posix_fallocate(file, 0, bytes_);  // a write to memory that is not there would end the process
    start_ = error ? MAP_FAILED : mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (error || start_ == MAP_FAILED) {
      return errors::ResourceExhausted(path, " has no room for ", bytes_, " bytes that the ranks share");
    }
    return Status::OK();
  }

  ~Region() {
    if (start_ != MAP_FAILED) munmap(start_, bytes_);
  }

  bool is_open() const { return start_ != MAP_FAILED; }
  void unlink() const { ::unlink(path_.c_str()); }  // once every rank has the file open
  Progress& of(int64 rank) const { return static_cast<Progress*>(start_)[rank]; }
  float* slot(int64 rank) const { return reinterpret_cast<float*>(&of(ranks_)) + rank * size_; }
  int64 first(int64 part) const { return size_ * part / ranks_; }

  bool all(std::atomic<int64_t> Progress::*which, int64 exchange) const {
    for (int64 rank = 0; rank < ranks_; ++rank) {
      if ((of(rank).*which).load(std::memory_order_acquire) < exchange) return false;
    }
    return true;
  }

 private:
  string path_;
  int64 ranks_ = 0, size_ = 0, bytes_ = 0;
  void* start_ = MAP_FAILED;
};

// One exchange of one operator; advance() does what the other ranks' progress allows.
struct Exchange {
  const Region* region;
  int64 rank, ranks, number;
  bool is_mean;
  const float* vector;
  float* total;
  int64 size;
  std::function<void()> done;

  bool advance() {  // true when a stage was done
    Progress& own = region->of(rank);
    if (own.written < number) {
      if (!region->all(&Progress::taken, number - 1)) return false;
      std::copy_n(vector, size, region->slot(rank));
      own.written.store(number, std::memory_order_release);
    } else if (own.summed < number) {
      if (!region->all(&Progress::written, number)) return false;
      sum();
      own.summed.store(number, std::memory_order_release);
    } else {
      if (!region->all(&Progress::summed, number)) return false;
      if (number == 1 && rank == 0) region->unlink();
      for (int64 part = 0; part < ranks; ++part) {
        const int64 first = region->first(part), last = region->first(part + 1);
        std::copy_n(region->slot(part) + first, last - first, total + first);
      }
      own.taken.store(number, std::memory_order_release);
    }
    return true;
  }

  bool is_done() const { return region->of(rank).taken >= number; }

 private:
  void sum() const {
    const int64 first = region->first(rank), length = region->first(rank + 1) - first;
    float* own = region->slot(rank) + first;
    const int64 BLOCK = 4096;
    float block[BLOCK];
    for (int64 start = 0; start < length; start += BLOCK) {
      const int64 count = std::min(BLOCK, length - start);
      std::copy_n(region->slot(0) + first + start, count, block);
      for (int64 other = 1; other < ranks; ++other) {
        const float* values = region->slot(other) + first + start;
#pragma omp simd
        for (int64 i = 0; i < count; ++i) block[i] += values[i];
      }
      const float divisor = is_mean ? ranks : 1;
#pragma omp simd
      for (int64 i = 0; i < count; ++i) own[start + i] = block[i] / divisor;
    }
  }
};

// The thread that does all exchanges of this process.
class Exchanger {
 public:
  static Exchanger* get() {
    static Exchanger* exchanger = new Exchanger;
    return exchanger;
  }

  void add(Exchange exchange) {
    std::lock_guard<std::mutex> lock(lock_);
    added_.push_back(std::move(exchange));
    is_added_.notify_one();
  }

 private:
  Exchanger() { std::thread([this] { run(); }).detach(); }

  void run() {
    std::list<Exchange> open;
    while (true) {
      {
        std::unique_lock<std::mutex> lock(lock_);
        // Other ranks cannot wake this thread, so while exchanges are open it looks at their progress by itself.
        if (open.empty()) {
          is_added_.wait(lock, [this] { return !added_.empty(); });
        } else if (added_.empty() && !has_advanced_) {
          is_added_.wait_for(lock, std::chrono::microseconds(200));
        }
        open.splice(open.end(), added_);
      }
      has_advanced_ = false;
      for (auto exchange = open.begin(); exchange != open.end();) {
        has_advanced_ |= exchange->advance();
        if (exchange->is_done()) {
          exchange->done();
          exchange = open.erase(exchange);
        } else {
          ++exchange;
        }
      }
    }
  }

  std::mutex lock_;
  std::condition_variable is_added_;
  std::list<Exchange> added_;
  bool has_advanced_ = false;
};

class SharedAllReduce : public AsyncOpKernel {
 public:
  explicit SharedAllReduce(OpKernelConstruction* context) : AsyncOpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("path", &path_));
    OP_REQUIRES_OK(context, context->GetAttr("rank", &rank_));
    OP_REQUIRES_OK(context, context->GetAttr("ranks", &ranks_));
    OP_REQUIRES_OK(context, context->GetAttr("is_mean", &is_mean_));
  }

  void ComputeAsync(OpKernelContext* context, DoneCallback done) override {
    const Tensor& vector = context->input(0);
    if (!region_.is_open()) OP_REQUIRES_OK_ASYNC(context, region_.open(path_, ranks_, vector.NumElements()), done);
    Tensor* total = nullptr;
    OP_REQUIRES_OK_ASYNC(context, context->allocate_output(0, vector.shape(), &total), done);
    const int64 number = region_.of(rank_).taken.load() + 1;
    Exchanger::get()->add({&region_, rank_, ranks_, number, is_mean_, data_of(vector), data_of(total),
                           vector.NumElements(), std::move(done)});
  }

 private:
  string path_;
  int64 rank_, ranks_;
  bool is_mean_;
  Region region_;
};

REGISTER_KERNEL_BUILDER(Name("SharedAllReduce").Device(DEVICE_CPU), SharedAllReduce);

}  // namespace
