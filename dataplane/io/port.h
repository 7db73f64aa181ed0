// One burst interface over every kind of port. A Port is made on the control thread, published in a
// snapshot's PortTable, polled by workers, and destroyed on the control thread after every worker
// has passed a quiescent point without it.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace podwire::io {

// Any of these ol_flags: somebody still has to finish the frame.
inline constexpr std::uint64_t kOpenOffloads = RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG;

class Port {
 public:
  Port() = default;
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;
  virtual ~Port() = default;

  // Receive queues, numbered from 0. Worker w of n polls every queue q with q % n == w; a queue is
  // polled by one worker only.
  [[nodiscard]] virtual unsigned queues() const noexcept = 0;

  // Up to out.size() frames, Ethernet header first. A frame may be a chain and may carry offloads:
  // PKT ol_flags as for DPDK transmit (RTE_MBUF_F_TX_TCP_SEG with tso_segsz, RTE_MBUF_F_TX_L4_MASK
  // for a partial checksum); l2_len, l3_len, l4_len are not relied upon. The headers up to the
  // transport's are in the first segment. Worker threads only.
  virtual unsigned receive(unsigned queue, std::span<rte_mbuf*> out) noexcept = 0;

  // Sends frames in order and returns how many were taken (a prefix); the caller keeps the rest.
  // `worker` is the caller's index; safe from several workers at once. Frames with offloads that
  // the port's peer cannot take are finished in software by the port (segmented, checksummed).
  virtual unsigned transmit(unsigned worker, std::span<rte_mbuf*> frames) noexcept = 0;

  // A descriptor that polls readable when `queue` has frames, or -1 when only polling tells.
  [[nodiscard]] virtual int wait_descriptor(unsigned queue) const noexcept = 0;

  // Empty polls in a row before a queue is left to its wait descriptor: few where a poll is a
  // system call, more where it is a look at memory.
  [[nodiscard]] virtual unsigned patience() const noexcept { return 2; }

  // The queue is about to be left to its wait descriptor: whatever makes that readable is switched
  // on. False: frames have come meanwhile, poll on. The worker that polls `queue` only.
  [[nodiscard]] virtual bool rest(unsigned /*queue*/) noexcept { return true; }

  // False once the peer is gone (device removed, socket closed, memory taken away). Any thread.
  [[nodiscard]] virtual bool up() const noexcept = 0;

  // Why it is not up, for people: one sentence without the port's name. Empty while it is up, and
  // where there is nothing to say. Any thread but workers.
  [[nodiscard]] virtual std::string down_reason() const { return {}; }

  // One word for the kind: "uplink", "tap", "host", "vhost-user", "memif".
  [[nodiscard]] virtual const char* kind() const noexcept = 0;

  // Frames that the port itself created or lost beyond what receive and transmit returned, for the
  // ledger: extra frames made by segmentation; frames lost or refused on receive; frames, or
  // segments of one, that were taken for transmit and could not be sent. Any thread.
  struct Extra {
    std::uint64_t originated = 0, missed = 0, unsent = 0;
  };
  [[nodiscard]] virtual Extra extra() const noexcept { return {}; }
};

}  // namespace podwire::io
