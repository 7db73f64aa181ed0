#include "dataplane/io/call_batch.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "dataplane/check.h"

namespace podwire::io {
namespace {

// One thread submits, and completions are handed over by its own call alone: no interrupts from
// other cores, no locks.
constexpr unsigned kFlags =
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL;

thread_local CallBatch* batch_of_thread = nullptr;

int setup(unsigned entries, io_uring_params& params) {
  return static_cast<int>(syscall(SYS_io_uring_setup, entries, &params));
}
int enter(unsigned descriptor, unsigned submit, unsigned wait) noexcept {
  return static_cast<int>(syscall(SYS_io_uring_enter, descriptor, submit, wait,
                                  IORING_ENTER_GETEVENTS | IORING_ENTER_REGISTERED_RING, nullptr,
                                  std::size_t{0}));
}
// The thread's own number for the ring, so that a call need not look its descriptor up. Linux 5.18.
bool register_ring(int descriptor, unsigned& number) {
  io_uring_rsrc_update update{};
  update.offset = ~0U;
  update.data = static_cast<std::uint64_t>(descriptor);
  const auto done =
      syscall(SYS_io_uring_register, descriptor, IORING_REGISTER_RING_FDS, &update, 1);
  if (done == 1) number = update.offset;
  return done == 1;
}

std::string reason(int error) {
  if (error == ENOSYS || error == EINVAL) return "this kernel's is older than Linux 6.1";
  if (error == EPERM || error == EACCES) {
    return "forbidden by kernel.io_uring_disabled or a seccomp filter";
  }
  return std::strerror(error);
}

}  // namespace

CallBatch::Shared::~Shared() {
  if (start != nullptr) munmap(start, bytes);
}

Result<std::unique_ptr<CallBatch>> CallBatch::open() {
  std::unique_ptr<CallBatch> batch(new CallBatch);
  if (auto done = batch->set_up(); !done) return tl::unexpected(done.error());
  return batch;
}

Result<void> CallBatch::set_up() {
  io_uring_params params{};
  params.flags = kFlags;
  ring_ = Descriptor(setup(kCalls, params));
  if (!ring_) return fail("io_uring: " + reason(errno));
  if (auto done = map(params); !done) return done;
  if (!register_ring(ring_.get(), enter_descriptor_)) {
    return fail("io_uring: its ring is not registered: " + reason(errno));
  }
  return {};
}

Result<void> CallBatch::map(const io_uring_params& params) {
  const auto mapped = [&](Shared& memory, std::size_t bytes, off_t offset) {
    void* start = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                       ring_.get(), offset);
    if (start == MAP_FAILED) return false;
    memory.start = start;
    memory.bytes = bytes;
    return true;
  };
  const std::size_t submit = params.sq_off.array + params.sq_entries * sizeof(unsigned);
  const std::size_t complete = params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe);
  if ((params.features & IORING_FEAT_SINGLE_MMAP) == 0 ||
      !mapped(rings_, std::max(submit, complete), IORING_OFF_SQ_RING) ||
      !mapped(entries_, params.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES)) {
    return fail("io_uring: its memory is not mapped: " + reason(errno));
  }
  auto* start = static_cast<std::uint8_t*>(rings_.start);
  const auto at = [&](unsigned offset) { return reinterpret_cast<unsigned*>(start + offset); };
  submit_tail_ = at(params.sq_off.tail);
  submit_mask_ = *at(params.sq_off.ring_mask);
  complete_head_ = at(params.cq_off.head);
  complete_tail_ = at(params.cq_off.tail);
  complete_mask_ = *at(params.cq_off.ring_mask);
  completions_ = reinterpret_cast<io_uring_cqe*>(start + params.cq_off.cqes);
  submissions_ = static_cast<io_uring_sqe*>(entries_.start);
  for (unsigned i = 0; i < params.sq_entries; ++i) at(params.sq_off.array)[i] = i;
  return {};
}

CallBatch::~CallBatch() {
  // A thread has 16 places for such numbers.
  if (enter_descriptor_ != kNone) {
    io_uring_rsrc_update update{};
    update.offset = enter_descriptor_;
    syscall(SYS_io_uring_register, ring_.get(), IORING_UNREGISTER_RING_FDS, &update, 1);
  }
  if (batch_of_thread == this) batch_of_thread = nullptr;
}

CallBatch* CallBatch::mine() noexcept {
  CallBatch* batch = batch_of_thread;
  return batch != nullptr && !batch->broken_ ? batch : nullptr;
}

void CallBatch::use(CallBatch* batch) noexcept {
  batch_of_thread = batch;
}

void CallBatch::add(unsigned char vector, unsigned char single, int descriptor,
                    std::span<const iovec> parts) noexcept {
  dcheck(has_room(parts.size()), "a batch of calls is not overfilled");
  io_uring_sqe& entry = submissions_[(*submit_tail_ + calls_) & submit_mask_];
  std::memset(&entry, 0, sizeof entry);
  if (parts.size() == 1) {  // the kernel has less to look at
    entry.opcode = single;
    entry.addr = reinterpret_cast<std::uint64_t>(parts[0].iov_base);
    entry.len = static_cast<std::uint32_t>(parts[0].iov_len);
  } else {
    std::copy(parts.begin(), parts.end(), memory_.begin() + static_cast<std::ptrdiff_t>(parts_));
    entry.opcode = vector;
    entry.addr = reinterpret_cast<std::uint64_t>(memory_.data() + parts_);
    entry.len = static_cast<std::uint32_t>(parts.size());
    parts_ += parts.size();
  }
  entry.fd = descriptor;
  entry.off = ~std::uint64_t{0};  // a stream has no place to read at
  entry.rw_flags = RWF_NOWAIT;    // else io_uring waits, whatever O_NONBLOCK says
  entry.user_data = calls_++;
}

void CallBatch::read(int descriptor, std::span<const iovec> parts) noexcept {
  add(IORING_OP_READV, IORING_OP_READ, descriptor, parts);
}

void CallBatch::write(int descriptor, std::span<const iovec> parts) noexcept {
  add(IORING_OP_WRITEV, IORING_OP_WRITE, descriptor, parts);
}

unsigned CallBatch::reap() noexcept {
  const unsigned end = std::atomic_ref(*complete_tail_).load(std::memory_order_acquire);
  unsigned head = *complete_head_;
  const unsigned count = end - head;
  for (; head != end; ++head) {
    const io_uring_cqe& done = completions_[head & complete_mask_];
    results_[done.user_data] = done.res;
  }
  std::atomic_ref(*complete_head_).store(head, std::memory_order_release);
  return count;
}

std::span<const int> CallBatch::run() noexcept {
  const unsigned calls = calls_;
  calls_ = 0;
  parts_ = 0;
  std::fill_n(results_.begin(), calls, -EAGAIN);
  const unsigned begin = *submit_tail_;
  std::atomic_ref(*submit_tail_).store(begin + calls, std::memory_order_release);
  unsigned begun = 0, done = 0;
  while (done < calls) {
    const int taken = enter(enter_descriptor_, calls - begun, calls - done);
    done += reap();
    if (taken >= 0) {
      begun += static_cast<unsigned>(taken);
    } else if (errno != EINTR) {
      // What was begun has ended: calls do not wait. What was not is taken back.
      check(begun == done, "the kernel keeps buffers of a batch of calls");
      std::atomic_ref(*submit_tail_).store(begin + begun, std::memory_order_release);
      broken_ = true;
      break;
    }
  }
  return {results_.data(), calls};
}

}  // namespace podwire::io
