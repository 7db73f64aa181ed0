// Many reads and writes by one system call: Linux' io_uring (include/uapi/linux/io_uring.h,
// io_uring_enter(2); since Linux 6.1), used so that nothing stays under way: run() returns when
// every call has ended, and between two runs no memory is the kernel's. So one ring serves every
// port of a thread, and a port costs none.
//
// A batch belongs to the thread that opens, uses and ends it. Descriptors must know O_NONBLOCK
// reads and writes (FMODE_NOWAIT: taps do since Linux 5.12); calls never wait.
#pragma once

#include <linux/io_uring.h>
#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <memory>
#include <span>

#include "dataplane/io/descriptor.h"
#include "dataplane/result.h"

namespace podwire::io {

class CallBatch {
 public:
  static constexpr unsigned kCalls = 32;   // in one run
  static constexpr unsigned kParts = 256;  // pieces of memory of all its calls

  // The error says what stands in the way: an older kernel, kernel.io_uring_disabled, a seccomp
  // filter. Takes 4 KiB and two pages of the kernel's.
  static Result<std::unique_ptr<CallBatch>> open();
  ~CallBatch();
  CallBatch(const CallBatch&) = delete;
  CallBatch& operator=(const CallBatch&) = delete;

  // The batch that ports use on this thread; null: each makes its calls one by one. Also null once
  // the kernel has refused to go on with it.
  [[nodiscard]] static CallBatch* mine() noexcept;
  static void use(CallBatch* batch) noexcept;

  // Whether another call of so many parts fits into the run.
  [[nodiscard]] bool has_room(std::size_t parts) const noexcept {
    return calls_ < kCalls && parts_ + parts <= kParts;
  }
  // Adds a call: readv(2) or writev(2) of `parts`, which are copied. There is room.
  void read(int descriptor, std::span<const iovec> parts) noexcept;
  void write(int descriptor, std::span<const iovec> parts) noexcept;
  // Makes the calls in the order they were added. For each what it returned, or -errno; -EAGAIN for
  // those that the kernel would not begin. Valid until the next run; the batch is empty again.
  std::span<const int> run() noexcept;

 private:
  CallBatch() = default;
  Result<void> set_up();
  Result<void> map(const io_uring_params& params);
  void add(unsigned char vector, unsigned char single, int descriptor,
           std::span<const iovec> parts) noexcept;
  unsigned reap() noexcept;

  // A mapping of the ring's memory, ours and the kernel's.
  struct Shared {
    void* start = nullptr;
    std::size_t bytes = 0;
    ~Shared();
  };
  Descriptor ring_;
  Shared rings_, entries_;
  io_uring_sqe* submissions_ = nullptr;
  const io_uring_cqe* completions_ = nullptr;
  unsigned* submit_tail_ = nullptr;
  unsigned *complete_head_ = nullptr, *complete_tail_ = nullptr;
  unsigned submit_mask_ = 0, complete_mask_ = 0;
  static constexpr unsigned kNone = ~0U;
  unsigned enter_descriptor_ = kNone;
  bool broken_ = false;
  unsigned calls_ = 0;
  std::size_t parts_ = 0;
  std::array<iovec, kParts> memory_;
  std::array<int, kCalls> results_;
};

}  // namespace podwire::io
