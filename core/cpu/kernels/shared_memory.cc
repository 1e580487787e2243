// SharedExchange: the sums or means of tensors over ranks that are processes of one machine, or what they are on rank 0,
// through shared memory.
//
// All ranks have a descriptor of the same memory, of which each operator has a region. It has a slot for the tensors of
// each rank, and of each rank the numbers of the exchanges in which it has written its slot, summed its part and taken
// the result. Rank r sums the r-th part of all slots, in the order of the ranks, into its own slot, so every rank gets
// the same bits. Of two ranks each sums both slots into its result, which moves fewer bytes. The work is done by one
// thread of the process, because operators of one process may wait for each other's ranks in any order. It sleeps until
// a rank rings a bell that all of them share: to look at the others' progress again and again would take time of the
// cores that compute.
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

struct alignas(64) Progress {  // of one rank: the numbers of the last exchanges, which count from 1
  std::atomic<int64_t> written, summed, taken;
};

// Memory of all ranks, which the ranks have made as large as it has to be; its bytes are 0 at first.
class SharedMemory {
 public:
  Status open(int descriptor, int64 offset, int64 bytes) {
    bytes_ = bytes;
    start_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, offset);
    if (!is_open()) return errors::Internal("the ranks' memory cannot be mapped: ", std::strerror(errno));
    return Status::OK();
  }

  ~SharedMemory() {
    if (is_open()) munmap(start_, bytes_);
  }

  bool is_open() const { return start_ != MAP_FAILED; }
  void* start() const { return start_; }

 private:
  int64 bytes_ = 0;
  void* start_ = MAP_FAILED;
};

// What is at the start of the memory: a bell that rings whenever a rank has made progress, and of each rank the number
// of exchanges that it has come to. core/ranks/one_server.py reads these.
class Bell {
 public:
  Status open(int descriptor, int64 ranks) { return memory_.open(descriptor, 0, (1 + ranks) * sizeof(Progress)); }
  bool is_open() const { return memory_.is_open(); }
  uint32_t count() const { return counter()->load(); }

  void ring() const {
    counter()->fetch_add(1);
    futex(FUTEX_WAKE, INT_MAX);
  }

  void wait_after(uint32_t count) const { futex(FUTEX_WAIT, count); }  // does not wait where it has rung since
  void count_exchange(int64 rank) const { ++static_cast<Progress*>(memory_.start())[1 + rank].written; }

 private:
  std::atomic<uint32_t>* counter() const { return static_cast<std::atomic<uint32_t>*>(memory_.start()); }
  void futex(int operation, uint32_t value) const {
    syscall(SYS_futex, memory_.start(), operation, value, nullptr, nullptr, 0);
  }

  SharedMemory memory_;
};

// Adds `count` numbers of each of the `slots` up, in their order, into `total`, which may be one of them.
using Add = void (*)(const std::vector<const char*>& slots, int64 count, bool is_mean, char* total);

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

// The region of an operator: the progress of the ranks, then their slots of `size` numbers of `width` bytes.
class Region {
 public:
  Status open(int descriptor, int64 offset, int64 ranks, int64 size, int64 width) {
    ranks_ = ranks;
    size_ = size;
    width_ = width;
    return memory_.open(descriptor, offset, ranks * (sizeof(Progress) + size * width));
  }

  bool is_open() const { return memory_.is_open(); }
  Progress& of(int64 rank) const { return static_cast<Progress*>(memory_.start())[rank]; }
  char* slot(int64 rank, int64 first = 0) const {
    return reinterpret_cast<char*>(&of(ranks_)) + (rank * size_ + first) * width_;
  }
  int64 first(int64 part) const { return size_ * part / ranks_; }
  int64 width() const { return width_; }

  std::vector<const char*> slots(int64 first) const {
    std::vector<const char*> all(ranks_);
    for (int64 rank = 0; rank < ranks_; ++rank) all[rank] = slot(rank, first);
    return all;
  }

  bool all(std::atomic<int64_t> Progress::*which, int64 exchange) const {
    for (int64 rank = 0; rank < ranks_; ++rank) {
      if ((of(rank).*which).load(std::memory_order_acquire) < exchange) return false;
    }
    return true;
  }

 private:
  int64 ranks_ = 0, size_ = 0, width_ = 0;
  SharedMemory memory_;
};

// A tensor of an exchange: its numbers, and where the results belong, which may be the same place.
struct Piece {
  const char* own;
  char* result;
  int64 size;
};

// One exchange of one operator; advance() does what the other ranks' progress allows.
struct Exchange {
  const Region* region;
  int64 rank, ranks, number;
  Add add;  // nullptr: the results are what rank 0 has
  bool is_mean;
  std::vector<Piece> pieces;
  std::function<void()> done;

  bool advance() {  // true when a stage was done
    Progress& own = region->of(rank);
    if (own.written < number) {
      if (!region->all(&Progress::taken, number - 1)) return false;
      if (add || rank == 0) write();
      own.written.store(number, std::memory_order_release);
    } else if (own.summed < number) {
      if (!region->all(&Progress::written, number)) return false;
      if (!add || ranks == 2) {
        add ? take_sums() : take_first();
        own.taken.store(number, std::memory_order_release);
        return true;
      }
      const int64 first = region->first(rank);
      add(region->slots(first), region->first(rank + 1) - first, is_mean, region->slot(rank, first));
      own.summed.store(number, std::memory_order_release);
    } else {
      if (!region->all(&Progress::summed, number)) return false;
      take_parts();
      own.taken.store(number, std::memory_order_release);
    }
    return true;
  }

  bool is_done() const { return region->of(rank).taken >= number; }

 private:
  void write() const {
    char* slot = region->slot(rank);
    for (const Piece& piece : pieces) slot = std::copy_n(piece.own, piece.size * region->width(), slot);
  }

  void take_first() const {
    const char* slot = region->slot(0);
    for (const Piece& piece : pieces) {
      std::copy_n(slot, piece.size * region->width(), piece.result);
      slot += piece.size * region->width();
    }
  }

  void take_sums() const {
    int64 start = 0;
    for (const Piece& piece : pieces) {
      add(region->slots(start), piece.size, is_mean, piece.result);
      start += piece.size;
    }
  }

  // The numbers from `start` on are in the slot of the rank that summed their part.
  void take_parts() const {
    int64 start = 0, part = 0;
    for (const Piece& piece : pieces) {
      const int64 end = start + piece.size;
      for (char* result = piece.result; start < end;) {
        while (region->first(part + 1) <= start) ++part;
        const int64 last = std::min(end, region->first(part + 1));
        result = std::copy(region->slot(part, start), region->slot(part, last), result);
        start = last;
      }
    }
  }
};

// The thread that does the exchanges of this process among the ranks that share a descriptor.
class Exchanger {
 public:
  static Status of(int descriptor, int64 ranks, Exchanger** out) {
    static std::mutex lock;
    static std::map<int, Exchanger*> all;  // which live as long as the process
    std::lock_guard<std::mutex> locked(lock);
    Exchanger*& exchanger = all[descriptor];
    if (exchanger == nullptr) exchanger = new Exchanger;
    *out = exchanger;
    return exchanger->bell_.is_open() ? Status::OK() : exchanger->start(descriptor, ranks);
  }

  void add(Exchange exchange) {
    bell_.count_exchange(exchange.rank);
    {
      std::lock_guard<std::mutex> lock(lock_);
      added_.push_back(std::move(exchange));
    }
    bell_.ring();
  }

 private:
  Status start(int descriptor, int64 ranks) {
    TF_RETURN_IF_ERROR(bell_.open(descriptor, ranks));
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

class SharedExchange : public AsyncOpKernel {
 public:
  explicit SharedExchange(OpKernelConstruction* context) : AsyncOpKernel(context) {
    string what;
    OP_REQUIRES_OK(context, context->GetAttr("T", &type_));
    OP_REQUIRES_OK(context, context->GetAttr("what", &what));
    OP_REQUIRES_OK(context, context->GetAttr("descriptor", &descriptor_));
    OP_REQUIRES_OK(context, context->GetAttr("offset", &offset_));
    OP_REQUIRES_OK(context, context->GetAttr("rank", &rank_));
    OP_REQUIRES_OK(context, context->GetAttr("ranks", &ranks_));
    is_mean_ = what == "mean";
    add_ = what == "broadcast" ? nullptr : adds(type_);
    OP_REQUIRES(context, add_ || what == "broadcast",
                errors::Unimplemented("ranks cannot add up tensors of ", DataTypeString(type_)));
  }

  void ComputeAsync(OpKernelContext* context, DoneCallback done) override {
    std::vector<Piece> pieces;
    int64 size = 0;
    for (int i = 0; i < context->num_inputs(); ++i) {
      const Tensor& own = context->input(i);
      Tensor* result = nullptr;
      OP_REQUIRES_OK_ASYNC(context, context->forward_input_or_allocate_output({i}, i, own.shape(), &result), done);
      pieces.push_back({own.tensor_data().data(), const_cast<char*>(result->tensor_data().data()), own.NumElements()});
      size += own.NumElements();
    }
    Exchanger* exchanger = nullptr;
    OP_REQUIRES_OK_ASYNC(context, Exchanger::of(descriptor_, ranks_, &exchanger), done);
    if (!region_.is_open()) {
      OP_REQUIRES_OK_ASYNC(context, region_.open(descriptor_, offset_, ranks_, size, DataTypeSize(type_)), done);
    }
    const int64 number = region_.of(rank_).taken.load() + 1;
    exchanger->add({&region_, rank_, ranks_, number, add_, is_mean_, std::move(pieces), std::move(done)});
  }

 private:
  DataType type_;
  int64 descriptor_, offset_, rank_, ranks_;
  bool is_mean_;
  Add add_;
  Region region_;
};

REGISTER_KERNEL_BUILDER(Name("SharedExchange").Device(DEVICE_CPU), SharedExchange);

}  // namespace
