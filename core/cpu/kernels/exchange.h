// How ranks that are processes of one machine exchange tensors through shared memory.
//
// All ranks have a descriptor of the same memory, of which each operator has a region. It has a slot for the tensors of
// each rank, and of each rank the numbers of the exchanges in which it has written its slot, summed its part and taken
// the result. Rank r sums the r-th part of all slots, in the order of the ranks, into its own slot, so every rank gets
// the same bits. Of two ranks each sums both slots by itself, which moves fewer bytes. The thread of the operator does
// what it can, while the tensors are in the cache. What has to wait for other ranks is left to one thread of the
// process, because operators of one process may wait for each other's ranks in any order. It sleeps until a rank rings
// a bell that all of them share: to look at the others' progress again and again would take time of the cores that
// compute.
#ifndef CORE_CPU_KERNELS_EXCHANGE_H_
#define CORE_CPU_KERNELS_EXCHANGE_H_

#include <emmintrin.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <numeric>
#include <thread>

#include "threads.h"

namespace ranks {

using namespace tensorflow;  // NOLINT: of a kernel

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

// Copies bytes around the caches: another process reads them, and where they lie was last in the cache a step ago.
inline char* stream(const char* from, int64 bytes, char* to) {
  constexpr int64 LINE = 64, VECTOR = sizeof(__m128i);
  const int64 head = std::min(bytes, -reinterpret_cast<intptr_t>(to) & (LINE - 1)), lines = (bytes - head) / LINE * LINE;
  to = std::copy_n(from, head, to);
  from += head;
  for (int64 i = 0; i < lines; i += VECTOR) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + i), _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)));
  }
  _mm_sfence();  // before the flag that another process waits for
  return std::copy_n(from + lines, bytes - head - lines, to + lines);
}

// Adds `count` numbers of each of the `slots` up, in their order, into `total`, which may be one of them.
using Add = void (*)(const std::vector<const char*>& slots, int64 count, bool is_mean, char* total);

// One exchange of one operator; advance() does what the other ranks' progress allows.
struct Exchange {
  // write(tensor, slot): writes what this rank has.
  using Write = std::function<void(size_t tensor, char* slot)>;
  // take(tensor, first, count, slots): the results of `count` numbers of a tensor, from its number `first` on, are the
  // sums of what the slots of two ranks have, or what a single slot has.
  using Take = std::function<void(size_t tensor, int64 first, int64 count, const std::vector<const char*>& slots)>;

  const Region* region;
  int64 rank, ranks, number;
  Add add;  // nullptr: the results are what rank 0 has
  bool is_mean;
  std::vector<int64> sizes;  // of the tensors
  Write write;
  Take take;
  std::function<void()> done;

  bool advance() {  // true when a stage was done
    Progress& own = region->of(rank);
    if (own.written < number) {
      if (!region->all(&Progress::taken, number - 1)) return false;
      if (add || rank == 0) write_all();
      own.written.store(number, std::memory_order_release);
    } else if (own.summed < number && add && ranks > 2) {
      if (!region->all(&Progress::written, number)) return false;
      const int64 first = region->first(rank);
      add(region->slots(first), region->first(rank + 1) - first, is_mean, region->slot(rank, first));
      own.summed.store(number, std::memory_order_release);
    } else {
      if (!region->all(add && ranks > 2 ? &Progress::summed : &Progress::written, number)) return false;
      take_all();
      own.taken.store(number, std::memory_order_release);
    }
    return true;
  }

  bool is_done() const { return region->of(rank).taken >= number; }

 private:
  void write_all() const {
    int64 start = 0;
    for (size_t tensor = 0; tensor < sizes.size(); start += sizes[tensor++]) write(tensor, region->slot(rank, start));
  }

  void take_all() const {
    int64 start = 0, part = 0;
    for (size_t tensor = 0; tensor < sizes.size(); ++tensor) {
      const int64 begin = start, end = start + sizes[tensor];
      if (!add || ranks == 2) {
        take(tensor, 0, end - start, add ? region->slots(start) : std::vector<const char*>{region->slot(0, start)});
        start = end;
      }
      while (start < end) {  // the numbers from `start` on are in the slot of the rank that summed their part
        while (region->first(part + 1) <= start) ++part;
        const int64 last = std::min(end, region->first(part + 1));
        take(tensor, start - begin, last - start, {region->slot(part, start)});
        start = last;
      }
    }
  }
};

// Where the exchanges of this process begin, among the ranks that share a descriptor, and the thread that ends them.
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

  void begin(Exchange exchange) {
    bell_.count_exchange(exchange.rank);
    while (!exchange.is_done() && exchange.advance()) {
    }
    if (exchange.is_done()) {
      bell_.ring();
      exchange.done();
      return;
    }
    {
      std::lock_guard<std::mutex> lock(lock_);
      added_.push_back(std::move(exchange));
    }
    bell_.ring();
    has_added_.notify_one();
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
        std::unique_lock<std::mutex> lock(lock_);
        has_added_.wait(lock, [&] { return !open.empty() || !added_.empty(); });
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
  std::condition_variable has_added_;
  std::list<Exchange> added_;
};

// An operator that exchanges tensors, in the memory of its attribute `descriptor` from `offset` on.
class ExchangeKernel : public AsyncOpKernel {
 public:
  explicit ExchangeKernel(OpKernelConstruction* context) : AsyncOpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("descriptor", &descriptor_));
    OP_REQUIRES_OK(context, context->GetAttr("offset", &offset_));
    OP_REQUIRES_OK(context, context->GetAttr("rank", &rank_));
    OP_REQUIRES_OK(context, context->GetAttr("ranks", &ranks_));
  }

  // TensorFlow runs it at once, while its inputs are in the cache, and not after everything else that is ready.
  bool IsExpensive() override { return false; }

 protected:
  // Calls write(), take() and done() as an Exchange does.
  void exchange(OpKernelContext* context, DataType type, Add add, bool is_mean, std::vector<int64> sizes,
                Exchange::Write write, Exchange::Take take, DoneCallback done) {
    Exchanger* exchanger = nullptr;
    OP_REQUIRES_OK_ASYNC(context, Exchanger::of(descriptor_, ranks_, &exchanger), done);
    if (!region_.is_open()) {
      const int64 size = std::accumulate(sizes.begin(), sizes.end(), int64{0});
      OP_REQUIRES_OK_ASYNC(context, region_.open(descriptor_, offset_, ranks_, size, DataTypeSize(type)), done);
    }
    const int64 number = region_.of(rank_).taken.load() + 1;
    exchanger->begin({&region_, rank_, ranks_, number, add, is_mean, std::move(sizes), std::move(write),
                      std::move(take), std::move(done)});
  }

  int64 rank_;

 private:
  int64 descriptor_, offset_, ranks_;
  Region region_;
};

}  // namespace ranks

#endif  // CORE_CPU_KERNELS_EXCHANGE_H_
