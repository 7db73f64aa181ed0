// Receives on one device: counts what comes by direction and answers neighbour requests. One
// thread; the sums are read when it has stopped.
#pragma once

#include <functional>

#include "bench/ports/device.h"
#include "bench/ports/frame_reader.h"
#include "bench/ports/traffic.h"

namespace podwire::ports {

class Sink {
 public:
  struct Others {
    std::uint64_t wrong_checksum = 0;
    std::uint64_t foreign = 0;  // not ours: neighbour discovery, ICMP errors
    std::uint64_t late = 0;     // of an earlier trial
  };

  // arrivals[0] of the first direction, [1] of replies; either may be null.
  Sink(Device& device, Arrivals* forward, Arrivals* replies, std::uint64_t tsc_hz);

  void start(std::uint8_t trial);
  void poll() noexcept;
  // For what needs more than counting: each(Received) for every test packet that waits.
  void poll_each(const std::function<void(const Received&)>& each);
  [[nodiscard]] const Others& others() const { return others_; }

 private:
  template <typename Each>
  void receive(Each&& each) noexcept;
  Received read(rte_mbuf& frame) noexcept;
  void take_foreign(rte_mbuf* frame) noexcept;

  Device& device_;
  Arrivals* arrivals_[2];
  double ns_per_cycle_;
  std::uint8_t trial_ = 0;
  Others others_;
  std::vector<std::uint8_t> scratch_;  // a frame in several buffers, as one
};

}  // namespace podwire::ports
