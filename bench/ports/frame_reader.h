// Reads what came back: finds the stamp below at most one tunnel header and verifies every
// checksum on the way. Believes nothing: the device under test may send anything.
#pragma once

#include <cstdint>

#include "bench/ports/flow_tuple.h"
#include "bench/ports/stamp.h"

namespace podwire::ports {

enum class Seen : std::uint8_t {
  test,            // one of ours, checksums right
  wrong_checksum,  // IP or TCP/UDP checksum, ours or not
  foreign,         // no stamp: neighbour discovery, errors, anything else
};

struct Received {
  Seen seen = Seen::foreign;
  bool tunnelled = false;
  std::uint8_t tcp_flags = 0;
  FlowTuple tuple;  // of the inner packet, set when `seen` is test
  Stamp stamp;
};

// `transport_verified`: the NIC has said that the innermost transport checksum is right.
[[nodiscard]] Received read_frame(const std::uint8_t* at, unsigned length,
                                  bool transport_verified = false) noexcept;

}  // namespace podwire::ports
