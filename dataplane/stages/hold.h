// Packets whose next hop's Ethernet address is not known yet. They wait until a snapshot knows it,
// for a second at most; control is asked to find out.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/batch.h"
#include "dataplane/verdict.h"

namespace podwire {
struct Worker;
}

namespace podwire::stages {

class HoldQueue {
 public:
  static constexpr unsigned kPackets = kBatchSize;
  static constexpr unsigned kPacketsPerNeighbour = 8;
  static constexpr unsigned kNeighbours = 64;  // asked for within the last second

  HoldQueue() = default;
  ~HoldQueue();  // frees what it holds
  HoldQueue(const HoldQueue&) = delete;
  HoldQueue& operator=(const HoldQueue&) = delete;

  // Keeps a routed packet (Verdict held) and pushes Event::neighbour_wanted, at most once a second
  // for an address; or drops it under neighbour_unresolved when the queue is full.
  Verdict hold(const Packet& p, const net::Address& neighbour, Worker& w) noexcept;

  // When the snapshot has moved: appends the packets that can go on now, in order of arrival, while
  // there is room. They go on at route. Returns how many.
  unsigned release(Batch& out, Worker& w) noexcept;

  // Drops what has waited for a second, and tells the sender (host unreachable). Once a round.
  void age(Worker& w) noexcept;

  [[nodiscard]] unsigned size() const noexcept { return size_; }

 private:
  struct Waiting {
    Packet packet;
    net::Address neighbour;
    std::uint64_t since_cycles = 0;
  };
  struct Asked {
    net::Address neighbour;
    std::uint64_t at_cycles = 0;
  };
  void ask(const net::Address& neighbour, Worker& w) noexcept;

  std::array<Waiting, kPackets> waiting_;  // oldest first
  std::array<Asked, kNeighbours> asked_;
  unsigned size_ = 0;
  std::uint64_t generation_ = 0;  // of the snapshot that release() saw last
};

}  // namespace podwire::stages
