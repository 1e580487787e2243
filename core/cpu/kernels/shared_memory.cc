// SharedAllReduce: the sums or means of tensors over ranks that are processes of one machine, through shared memory.
//
// The ranks share a file for each operator. It has a slot for the tensors of each rank, and of each rank the numbers of
// the exchanges in which it has written its slot, summed its part and taken the result. Rank r sums the r-th part of
// all slots, in the order of the ranks, into its own slot, so every rank gets the same bits. Of two ranks each sums
// both slots into its result, which moves fewer bytes. The work is done by one thread of the process, because operators
// of one process may wait for each other's ranks in any order. It sleeps until a rank rings a bell that all of them
// share: to look at the others' progress again and again would take time of the cores that compute.
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstring>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <thread>

#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "threads.h"

namespace {

using namespace tensorflow;  // NOLINT: a kernel file

REGISTER_OP("SharedAllReduce")
    .Input("tensors: n * float")
    .Output("totals: n * float")
    .Attr("n: int >= 1")
    .Attr("path: string")
    .Attr("key: int")
    .Attr("rank: int")
    .Attr("ranks: int")
    .Attr("is_mean: bool")
    .SetIsStateful()
    .SetShapeFn([](shape_inference::InferenceContext* context) {
      for (int i = 0; i < context->num_inputs(); ++i) context->set_output(i, context->input(i));
      return Status::OK();
    })
    .Doc("The sum or the mean of each of the tensors over the ranks, which share files whose names begin with `path`.");

struct alignas(64) Progress {  // of one rank: the numbers of the last exchanges, which count from 1
  std::atomic<int64_t> written, summed, taken;
};

// A file whose bytes, 0 at first, are memory of all ranks.
class SharedFile {
 public:
  Status open(const string& path, int64 bytes) {
    path_ = path;
    bytes_ = bytes;
    const int file = ::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (file < 0) return errors::Internal(path, " cannot be opened: ", std::strerror(errno));
    const int error = posix_fallocate(file, 0, bytes);  // a write to memory that is not there would end the process
    start_ = error ? MAP_FAILED : mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (error || start_ == MAP_FAILED) {
      return errors::ResourceExhausted(path, " has no room for ", bytes, " bytes that the ranks share");
    }
    return Status::OK();
  }

  ~SharedFile() {
    if (is_open()) munmap(start_, bytes_);
  }

  bool is_open() const { return start_ != MAP_FAILED; }
  void unlink() const { ::unlink(path_.c_str()); }  // once every rank has the file open
  void* start() const { return start_; }

 private:
  string path_;
  int64 bytes_ = 0;
  void* start_ = MAP_FAILED;
};

// Rings whenever a rank has made progress.
class Bell {
 public:
  Status open(const string& path) { return file_.open(path, sizeof(std::atomic<uint32_t>)); }
  bool is_open() const { return file_.is_open(); }
  void unlink() const { file_.unlink(); }
  uint32_t count() const { return counter()->load(); }

  void ring() const {
    counter()->fetch_add(1);
    futex(FUTEX_WAKE, INT_MAX);
  }

  void wait_after(uint32_t count) const { futex(FUTEX_WAIT, count); }  // does not wait where it has rung since

 private:
  std::atomic<uint32_t>* counter() const { return static_cast<std::atomic<uint32_t>*>(file_.start()); }
  void futex(int operation, uint32_t value) const {
    syscall(SYS_futex, file_.start(), operation, value, nullptr, nullptr, 0);
  }

  SharedFile file_;
};

// The shared file of an operator: the progress of the ranks, then their slots.
class Region {
 public:
  Status open(const string& path, int64 ranks, int64 size) {
    ranks_ = ranks;
    size_ = size;
    return file_.open(path, ranks * (sizeof(Progress) + size * sizeof(float)));
  }

  bool is_open() const { return file_.is_open(); }
  void unlink() const { file_.unlink(); }
  Progress& of(int64 rank) const { return static_cast<Progress*>(file_.start())[rank]; }
  float* slot(int64 rank) const { return reinterpret_cast<float*>(&of(ranks_)) + rank * size_; }
  int64 first(int64 part) const { return size_ * part / ranks_; }

  bool all(std::atomic<int64_t> Progress::*which, int64 exchange) const {
    for (int64 rank = 0; rank < ranks_; ++rank) {
      if ((of(rank).*which).load(std::memory_order_acquire) < exchange) return false;
    }
    return true;
  }

 private:
  int64 ranks_ = 0, size_ = 0;
  SharedFile file_;
};

// A tensor of an exchange: its numbers, and where the totals belong, which may be the same place.
struct Piece {
  const float* own;
  float* total;
  int64 size;
};

// One exchange of one operator; advance() does what the other ranks' progress allows.
struct Exchange {
  const Region* region;
  int64 rank, ranks, number;
  bool is_mean;
  std::vector<Piece> pieces;
  std::function<void()> done;

  bool advance() {  // true when a stage was done
    Progress& own = region->of(rank);
    if (own.written < number) {
      if (!region->all(&Progress::taken, number - 1)) return false;
      float* slot = region->slot(rank);
      for (const Piece& piece : pieces) slot = std::copy_n(piece.own, piece.size, slot);
      own.written.store(number, std::memory_order_release);
    } else if (own.summed < number) {
      if (!region->all(&Progress::written, number)) return false;
      if (ranks == 2) {
        take_both();
        finish();
        return true;
      }
      sum();
      own.summed.store(number, std::memory_order_release);
    } else {
      if (!region->all(&Progress::summed, number)) return false;
      take();
      finish();
    }
    return true;
  }

  bool is_done() const { return region->of(rank).taken >= number; }

 private:
  void finish() {
    if (number == 1 && rank == 0) region->unlink();
    region->of(rank).taken.store(number, std::memory_order_release);
  }

  void take_both() const {
    const float *first = region->slot(0), *second = region->slot(1), divisor = is_mean ? 2 : 1;
    for (const Piece& piece : pieces) {
      float* total = piece.total;
#pragma omp simd
      for (int64 i = 0; i < piece.size; ++i) total[i] = (first[i] + second[i]) / divisor;
      first += piece.size;
      second += piece.size;
    }
  }

  // The numbers from `start` on are in the slot of the rank that summed their part.
  void take() const {
    int64 start = 0, part = 0;
    for (const Piece& piece : pieces) {
      const int64 end = start + piece.size;
      for (float* total = piece.total; start < end;) {
        while (region->first(part + 1) <= start) ++part;
        const int64 last = std::min(end, region->first(part + 1));
        total = std::copy(region->slot(part) + start, region->slot(part) + last, total);
        start = last;
      }
    }
  }

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

// The thread that does the exchanges of this process among the ranks that share a path.
class Exchanger {
 public:
  static Status of(const string& path, Exchanger** out) {
    static std::mutex lock;
    static std::map<string, Exchanger*> all;  // which live as long as the process
    std::lock_guard<std::mutex> locked(lock);
    Exchanger*& exchanger = all[path];
    if (exchanger == nullptr) exchanger = new Exchanger;
    *out = exchanger;
    return exchanger->bell_.is_open() ? Status::OK() : exchanger->start(path);
  }

  void add(Exchange exchange) {
    {
      std::lock_guard<std::mutex> lock(lock_);
      added_.push_back(std::move(exchange));
    }
    bell_.ring();
  }

 private:
  Status start(const string& path) {
    TF_RETURN_IF_ERROR(bell_.open(path + "bell"));
    std::thread([this] { run(); }).detach();
    return Status::OK();
  }

  void run() {
    std::list<Exchange> open;
    while (true) {
      const uint32_t count = bell_.count();
      {
        std::lock_guard<std::mutex> lock(lock_);
        open.splice(open.end(), added_);
      }
      bool has_advanced = false;
      for (auto exchange = open.begin(); exchange != open.end();) {
        has_advanced |= exchange->advance();
        if (exchange->is_done()) {
          if (exchange->number == 1 && exchange->rank == 0) bell_.unlink();  // every rank has opened it
          exchange->done();
          exchange = open.erase(exchange);
        } else {
          ++exchange;
        }
      }
      if (has_advanced) {
        bell_.ring();
      } else {
        bell_.wait_after(count);
      }
    }
  }

  Bell bell_;
  std::mutex lock_;
  std::list<Exchange> added_;
};

class SharedAllReduce : public AsyncOpKernel {
 public:
  explicit SharedAllReduce(OpKernelConstruction* context) : AsyncOpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("path", &path_));
    OP_REQUIRES_OK(context, context->GetAttr("key", &key_));
    OP_REQUIRES_OK(context, context->GetAttr("rank", &rank_));
    OP_REQUIRES_OK(context, context->GetAttr("ranks", &ranks_));
    OP_REQUIRES_OK(context, context->GetAttr("is_mean", &is_mean_));
  }

  void ComputeAsync(OpKernelContext* context, DoneCallback done) override {
    std::vector<Piece> pieces;
    int64 size = 0;
    for (int i = 0; i < context->num_inputs(); ++i) {
      const Tensor& own = context->input(i);
      Tensor* total = nullptr;
      OP_REQUIRES_OK_ASYNC(context, context->forward_input_or_allocate_output({i}, i, own.shape(), &total), done);
      pieces.push_back({data_of(own), data_of(total), own.NumElements()});
      size += own.NumElements();
    }
    Exchanger* exchanger = nullptr;
    OP_REQUIRES_OK_ASYNC(context, Exchanger::of(path_, &exchanger), done);
    if (!region_.is_open()) {
      OP_REQUIRES_OK_ASYNC(context, region_.open(strings::StrCat(path_, key_), ranks_, size), done);
    }
    const int64 number = region_.of(rank_).taken.load() + 1;
    exchanger->add({&region_, rank_, ranks_, number, is_mean_, std::move(pieces), std::move(done)});
  }

 private:
  string path_;
  int64 key_, rank_, ranks_;
  bool is_mean_;
  Region region_;
};

REGISTER_KERNEL_BUILDER(Name("SharedAllReduce").Device(DEVICE_CPU), SharedAllReduce);

}  // namespace
