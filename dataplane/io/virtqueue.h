// One split virtqueue in memory that a peer shares with us and writes to at will: frames out of it,
// frames into it. Nothing read from it is believed or read twice; what contradicts the standard is
// a Fault, after which the queue does nothing more. Sources: virtio 1.2 sections 2.7 (split
// virtqueues), 5.1.6 (network device operation).
//
// One thread at a time: the owner (io/vhost_user.h) has a lock a queue.
#pragma once

#include <rte_mbuf.h>

#include <array>
#include <cstdint>
#include <span>

namespace podwire::io {

// A peer's memory as it is mapped here.
struct GuestMemory {
  static constexpr unsigned kMaxRegions = 8;
  struct Region {
    std::uint64_t guest = 0;  // its address on the peer's side
    std::uint64_t size = 0;
    std::uint8_t* host = nullptr;
  };
  std::array<Region, kMaxRegions> regions;
  unsigned count = 0;

  // Where [address, address + length) lies; null unless one region holds all of it.
  [[nodiscard]] std::uint8_t* at(std::uint64_t address, std::uint64_t length) const noexcept {
    for (unsigned i = 0; i < count; ++i) {
      const Region& region = regions[i];
      const std::uint64_t offset = address - region.guest;
      if (offset < region.size && length <= region.size - offset) return region.host + offset;
    }
    return nullptr;
  }
  // Whether [start, start + length) of our own addresses lies in one region.
  [[nodiscard]] bool holds(const void* start, std::uint64_t length) const noexcept;
};

class Virtqueue {
 public:
  static constexpr unsigned kMaxSize = 4096;        // entries; a power of two
  static constexpr unsigned kMaxDescriptors = 256;  // for one frame
  // With an IPIP header in front, the IP packet in a frame still has a 16-bit length.
  static constexpr unsigned kMaxFrame = 14 + 65535 - 20;

  enum class Fault : std::uint8_t {
    none,
    rings,        // a ring is outside the shared memory, misaligned, or of a size that cannot be
    avail_index,  // more buffers offered than the ring has places
    head_index,
    chain_index,
    chain_length,  // a loop, or more than kMaxDescriptors
    address,       // a buffer outside the shared memory
    direction,     // write-only where we read, or the other way round
    indirect,      // was not negotiated
    short_buffer,  // a receive buffer with no room for the virtio-net header
  };
  // "a descriptor points outside the shared memory".
  [[nodiscard]] static const char* sentence(Fault fault) noexcept;

  struct Setup {
    const void* descriptors = nullptr;
    const void* avail = nullptr;
    void* used = nullptr;
    unsigned size = 0;
    std::uint16_t next_avail = 0, next_used = 0;  // where a former owner stopped
    unsigned header_bytes = 12;                   // 10 without VERSION_1 and MRG_RXBUF
    bool mergeable = false;
  };
  // Takes the queue. `memory` outlives it, until detach(). False: fault() is `rings`.
  [[nodiscard]] bool attach(const Setup& setup, const GuestMemory& memory) noexcept;
  // The fault goes with the peer that made it.
  void detach() noexcept {
    size_ = 0;
    fault_ = Fault::none;
  }
  [[nodiscard]] bool attached() const noexcept { return size_ != 0; }
  [[nodiscard]] std::uint16_t next_avail() const noexcept { return next_avail_; }
  [[nodiscard]] std::uint16_t next_used() const noexcept { return next_used_; }
  [[nodiscard]] Fault fault() const noexcept { return fault_; }

  // Frames that the peer sent, with the offloads it left open (io/port.h). A frame that cannot be
  // one (shorter than its headers, longer than kMaxFrame, a header that contradicts it) is lost and
  // counted in `refused`. Without buffers frames wait.
  unsigned pull(std::span<rte_mbuf*> out, rte_mempool& packets, rte_mempool& large,
                std::uint64_t& refused) noexcept;

  // Copies frames, whose offloads the peer takes, into the peer's buffers; a prefix. The frames
  // stay the caller's. What can never be sent (flags that contradict the frame, a frame larger than
  // the peer's only buffers) counts as taken, and in `impossible`.
  unsigned push(std::span<rte_mbuf* const> frames, std::uint64_t& impossible) noexcept;

  // Whether the peer wants to be told of what was pulled or pushed since the last call.
  [[nodiscard]] bool peer_waits() noexcept;
  // Asks the peer for notifications from now on. False: there are frames, and it was not asked.
  [[nodiscard]] bool ask_for_kicks() noexcept;
  void refuse_kicks() noexcept;

 private:
  struct Descriptor {
    std::uint64_t address;
    std::uint32_t length;
    std::uint16_t flags, next;
  };
  struct UsedElement {
    std::uint32_t id, length;
  };
  static constexpr unsigned kMostAtOnce = 64;
  using Heads = std::array<std::uint16_t, kMostAtOnce>;
  struct Incoming;  // a frame on its way out of the queue
  struct Outgoing;  // a frame on its way into it

  bool fail_with(Fault fault) noexcept {
    fault_ = fault;
    return false;
  }
  unsigned offered() noexcept;
  [[nodiscard]] Descriptor read(unsigned index) const noexcept;
  [[nodiscard]] std::uint16_t head(unsigned place) const noexcept;
  void look_at_heads(unsigned count, Heads& heads) const noexcept;
  void give_back(unsigned place, std::uint32_t head, std::uint32_t length) noexcept;
  void publish(unsigned count) noexcept;
  // The frames at the front that are one descriptor, one buffer and nothing left to do: nearly all
  // that a DPDK program sends.
  unsigned pull_plain(unsigned offered, std::span<rte_mbuf*> out, rte_mempool& packets) noexcept;
  unsigned pull_any(unsigned offered, std::span<rte_mbuf*> out, rte_mempool& packets,
                    rte_mempool& large, std::uint64_t& refused) noexcept;
  bool collect(std::uint16_t head, Incoming& frame) noexcept;
  unsigned push_plain(unsigned offered, std::span<rte_mbuf* const> frames) noexcept;
  bool fill(std::uint16_t head, Outgoing& frame, std::uint32_t& written) noexcept;
  enum class Put : std::uint8_t { done, full, impossible, fault };
  Put put(rte_mbuf& frame, unsigned offered, unsigned& used) noexcept;

  const Descriptor* descriptors_ = nullptr;
  const std::uint16_t* avail_ = nullptr;  // flags, idx, ring[size]
  std::uint16_t* used_flags_ = nullptr;   // flags, idx, then used_elements_
  UsedElement* used_elements_ = nullptr;
  const GuestMemory* memory_ = nullptr;
  unsigned size_ = 0;  // 0: detached
  unsigned header_bytes_ = 12;
  std::uint16_t next_avail_ = 0, next_used_ = 0;
  bool mergeable_ = false;
  bool told_ = true;  // the peer knows of all that is used
  bool kicks_ = false;
  Fault fault_ = Fault::none;
};

}  // namespace podwire::io
