// What a memif connection shares: regions of memory and the rings in them. The peer can write to
// all of it at any time, cut it, or say nonsense about it; nothing of it is used before it is
// checked, and nothing is read twice. Made on the memif thread; workers use it until the port has
// let go of it and every worker has passed a quiescent point.
#pragma once

#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "dataplane/io/descriptor.h"
#include "dataplane/io/memif_protocol.h"
#include "dataplane/io/prefetch.h"
#include "dataplane/io/sigbus_guard.h"
#include "dataplane/result.h"

namespace podwire::io {

// Limits of one peer. Pages that a peer has never touched become podwire's to pay for when podwire
// writes to them, so the memory is limited too.
inline constexpr unsigned kMemifRegions = 64;
inline constexpr unsigned kMemifQueues = 16;
inline constexpr std::uint64_t kMemifBytes = std::uint64_t{1} << 30;  // all regions together

// Why a connected peer cannot go on. Workers find these; the first one counts.
enum class MemifFault : std::uint8_t {
  none,
  memory_lost,
  index,
  region,
  range,
  length,
  chain,
};
// A sentence about the peer.
[[nodiscard]] const char* describe(MemifFault fault);

// One mapped region.
class MemifRegion {
 public:
  // `fd` stays the caller's. Refused: what is not a file in memory (tmpfs, memfd, hugetlbfs; others
  // could stop the thread that touches them), or smaller than `bytes`. A memfd that still can be
  // is sealed against shrinking. `lost` is set when the memory goes away nevertheless.
  static Result<MemifRegion> map(int fd, std::uint64_t bytes, std::atomic<bool>& lost);
  ~MemifRegion();
  MemifRegion(MemifRegion&& other) noexcept;
  MemifRegion& operator=(MemifRegion&&) = delete;
  [[nodiscard]] std::uint8_t* start() const { return start_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

 private:
  MemifRegion() = default;
  std::uint8_t* start_ = nullptr;
  std::uint64_t bytes_ = 0, mapped_ = 0;
  SigbusWatch watch_;
};

// Buffers that descriptors name, and what has gone wrong. Shared by the rings of one connection.
class MemifMemory {
 public:
  // Memif thread, before workers see it.
  Result<void> add(int fd, std::uint64_t bytes);
  [[nodiscard]] unsigned regions() const { return count_; }
  [[nodiscard]] const MemifRegion* region(unsigned index) const {
    return index < count_ ? &mapped_[index] : nullptr;
  }

  // The buffer of a descriptor, or null after noting why not. Any worker.
  [[nodiscard]] std::uint8_t* buffer(const memif::Descriptor& d) noexcept {
    if (d.region >= count_) [[unlikely]]
      return refuse(MemifFault::region);
    const View view = views_[d.region];
    if (std::uint64_t{d.offset} + d.length > view.bytes) [[unlikely]]
      return refuse(MemifFault::range);
    return view.start + d.offset;
  }
  // Notes the fault and returns null. Any worker.
  std::uint8_t* refuse(MemifFault fault) noexcept;
  // Any thread.
  [[nodiscard]] MemifFault fault() const noexcept;
  [[nodiscard]] bool sound() const noexcept {
    return !lost_.load(std::memory_order_relaxed) &&
           fault_.load(std::memory_order_relaxed) == MemifFault::none;
  }

 private:
  struct View {
    std::uint8_t* start = nullptr;
    std::uint64_t bytes = 0;
  };
  std::array<View, kMemifRegions> views_;
  unsigned count_ = 0;
  std::atomic<bool> lost_{false};
  std::atomic<MemifFault> fault_{MemifFault::none};
  std::vector<MemifRegion> mapped_;
  std::uint64_t total_ = 0;
};

// A ring where it stands in shared memory. Indices and flags are loaded and stored whole, a
// descriptor in two loads, each once.
class MemifRing {
 public:
  // `at` holds ring_bytes(log2_size) bytes, on a multiple of 16.
  MemifRing(std::uint8_t* at, unsigned log2_size)
      : ring_(reinterpret_cast<memif::Ring*>(at)),
        descriptors_(at + sizeof(memif::Ring)),
        size_(static_cast<std::uint16_t>(1U << log2_size)) {}

  [[nodiscard]] std::uint16_t size() const { return size_; }
  [[nodiscard]] std::uint32_t cookie() const {
    return __atomic_load_n(&ring_->cookie, __ATOMIC_RELAXED);
  }
  [[nodiscard]] std::uint16_t head() const { return __atomic_load_n(&ring_->head, kAcquire); }
  [[nodiscard]] std::uint16_t tail() const { return __atomic_load_n(&ring_->tail, kAcquire); }
  void set_head(std::uint16_t to) { __atomic_store_n(&ring_->head, to, __ATOMIC_RELEASE); }
  void set_tail(std::uint16_t to) { __atomic_store_n(&ring_->tail, to, __ATOMIC_RELEASE); }
  [[nodiscard]] bool interrupt_masked() const {
    return (__atomic_load_n(&ring_->flags, __ATOMIC_RELAXED) & memif::kMaskInterrupt) != 0;
  }
  void mask_interrupt(bool masked) {
    const std::uint16_t flags = masked ? memif::kMaskInterrupt : 0;
    __atomic_store_n(&ring_->flags, flags, __ATOMIC_RELAXED);
  }
  void initialise() {
    ring_->cookie = memif::kCookie;
    mask_interrupt(false);
    set_head(0);
    set_tail(0);
  }

  void prefetch(std::uint16_t index) const { prefetch_to_write(words(index)); }
  [[nodiscard]] memif::Descriptor read(std::uint16_t index) const {
    const std::uint64_t* from = words(index);
    const std::array<std::uint64_t, 2> copy{__atomic_load_n(from, __ATOMIC_RELAXED),
                                            __atomic_load_n(from + 1, __ATOMIC_RELAXED)};
    memif::Descriptor d;
    std::memcpy(&d, copy.data(), sizeof d);
    return d;
  }
  void write(std::uint16_t index, const memif::Descriptor& d) {
    std::array<std::uint64_t, 2> copy;
    std::memcpy(copy.data(), &d, sizeof d);
    std::uint64_t* to = words(index);
    __atomic_store_n(to, copy[0], __ATOMIC_RELAXED);
    __atomic_store_n(to + 1, copy[1], __ATOMIC_RELAXED);
  }

 private:
  static constexpr int kAcquire = __ATOMIC_ACQUIRE;
  [[nodiscard]] std::uint64_t* words(std::uint16_t index) const {
    const unsigned place = index & (size_ - 1U);
    return reinterpret_cast<std::uint64_t*>(descriptors_ + place * sizeof(memif::Descriptor));
  }
  memif::Ring* ring_;
  std::uint8_t* descriptors_;
  std::uint16_t size_;
};

}  // namespace podwire::io
