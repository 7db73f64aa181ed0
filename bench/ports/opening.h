// Before anything is timed: every flow's first packets, so that the device under test knows the
// flow, and we know how its replies must be addressed, whatever the device translates.
#pragma once

#include <vector>

#include "bench/ports/device.h"
#include "bench/ports/frame_maker.h"
#include "bench/ports/sink.h"

namespace podwire::ports {

class Opener {
 public:
  // One direction's way out and way in.
  struct Way {
    Device& device;
    const FrameMaker& maker;
    Sink& sink;
  };
  Opener(const Way& forward, const Way& reply, rte_mempool& pool, std::uint8_t trial)
      : forward_(forward), reply_(reply), pool_(pool), trial_(trial) {}

  // UDP: a packet of each flow, with `both_ways` a reply to it. TCP: SYN, SYN-ACK, ACK.
  // Returns each flow's reply tuple.
  Result<std::vector<FlowTuple>> open(const FlowSpace& space, std::uint32_t flows, bool both_ways);

 private:
  struct Wave;
  Result<void> run(Wave& wave);
  void send_round(Wave& wave);
  void take(Wave& wave);

  Way forward_, reply_;
  rte_mempool& pool_;
  std::uint8_t trial_;
};

}  // namespace podwire::ports
