// Frames in and out of a memif connection's rings, copied between the peer's buffers and ours. Both
// roles: the server finds descriptors that the client wrote and moves tail; the client (whose
// memory it is) writes them, moves head, and never believes its own ring about where its buffers
// are.
//
// A burst reads the peer's index once, every descriptor once, and publishes its own index once.
#pragma once

#include <rte_mbuf.h>

#include <atomic>
#include <cstdint>
#include <span>

#include "dataplane/io/memif_memory.h"

namespace podwire::io {

enum class MemifRole : std::uint8_t { server, client };

// A client's own buffers of one ring, in place order; unused by a server.
struct MemifBuffers {
  std::uint16_t region = 0;
  std::uint32_t offset = 0;  // of the first
  std::uint32_t bytes = 0;   // of each
};

// One ring seen by podwire: where it stands in it, and what its descriptors name.
class MemifQueue {
 public:
  // The ring's descriptors and indices are initialised. `memory` outlives the queue.
  MemifQueue(MemifRing ring, MemifRole role, MemifBuffers own, MemifMemory& memory)
      : ring_(ring), role_(role), own_(own), memory_(memory), next_(ring.tail()) {}
  [[nodiscard]] MemifRing& ring() { return ring_; }

 protected:
  // The descriptor at `index`: a client's with its own buffer's place and the length that the ring
  // says.
  [[nodiscard]] memif::Descriptor read(std::uint16_t index) const noexcept {
    memif::Descriptor found = ring_.read(index);
    if (role_ == MemifRole::client) {
      found.region = own_.region;
      found.offset = own_offset(index);
    }
    return found;
  }
  [[nodiscard]] memif::Descriptor own_descriptor(std::uint16_t index) const noexcept {
    return {.flags = 0,
            .region = own_.region,
            .length = own_.bytes,
            .offset = own_offset(index),
            .metadata = 0};
  }
  [[nodiscard]] std::uint32_t own_offset(std::uint16_t index) const noexcept {
    return own_.offset + (index & (ring_.size() - 1U)) * own_.bytes;
  }

  MemifRing ring_;
  const MemifRole role_;
  const MemifBuffers own_;
  MemifMemory& memory_;
  std::uint16_t next_;  // the next descriptor; nobody else writes it
};

class alignas(64) MemifReceiver : public MemifQueue {
 public:
  using MemifQueue::MemifQueue;
  // A client's: offers every buffer. Once, before the first receive.
  void offer_all() noexcept;

  // Up to out.size() frames. Those of more than kPacketBytes take a second buffer, of `large`.
  // `missed` counts frames that are too short or too long to be any. Without buffers frames wait.
  unsigned receive(std::span<rte_mbuf*> out, rte_mempool& packets, rte_mempool& large,
                   std::atomic<std::uint64_t>& missed) noexcept;
  // Asks for interrupts. False: there are frames; still masked.
  bool rest() noexcept;
  [[nodiscard]] bool masked() const noexcept { return masked_; }
  void mask() noexcept {
    ring_.mask_interrupt(true);
    masked_ = true;
  }

 private:
  [[nodiscard]] unsigned ready() noexcept;
  unsigned receive_small(unsigned ready, std::span<rte_mbuf*> out, rte_mempool& packets) noexcept;
  unsigned receive_any(unsigned ready, rte_mbuf*& out, rte_mempool& packets, rte_mempool& large,
                       std::atomic<std::uint64_t>& missed) noexcept;
  void publish(std::uint16_t from) noexcept;
  bool masked_ = false;
};

class alignas(64) MemifSender : public MemifQueue {
 public:
  using MemifQueue::MemifQueue;
  struct Counts {
    std::atomic<std::uint64_t>& originated;
    std::atomic<std::uint64_t>& unsent;
  };
  // Frames in order, finished in software where they carry offloads; how many were taken (and
  // freed). One thread at a time.
  unsigned send(std::span<rte_mbuf*> frames, rte_mempool& packets, const Counts& counts) noexcept;
  // The peer wants an eventfd written for what was sent.
  [[nodiscard]] bool wants_interrupt() const noexcept;

 private:
  enum class Put : std::uint8_t { done, full, impossible };
  [[nodiscard]] unsigned room() noexcept;
  unsigned send_plain(std::span<rte_mbuf*> frames, unsigned room) noexcept;
  Put send_odd(rte_mbuf& frame, rte_mempool& packets, const Counts& counts) noexcept;
  Put send_cut(const rte_mbuf& frame, rte_mempool& packets, const Counts& counts) noexcept;
  Put put(const rte_mbuf& frame) noexcept;
  void fill(std::uint16_t index, memif::Descriptor d, std::uint32_t length, bool more) noexcept {
    d.flags = more ? memif::kMoreFollows : 0;
    d.length = length;
    ring_.write(index, d);
  }
};

}  // namespace podwire::io
