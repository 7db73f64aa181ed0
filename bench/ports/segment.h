// TCP segments: those that are measured, and those of a whole connection.
#pragma once

#include <cstdint>

#include "bench/ports/stamp.h"
#include "dataplane/net/headers.h"

namespace podwire::ports {

// Where a segment stands in its connection. By default, in one whose SYNs have carried a stamp
// each. All segments that are measured stand there: whatever is lost, none falls out of a window.
struct Segment {
  static constexpr std::uint32_t kOpened = 1 + sizeof(Stamp);

  std::uint8_t flags = net::Tcp::ack;
  std::uint32_t sequence = kOpened, acknowledgement = kOpened;
};

inline constexpr unsigned kStepsOfConnection = 7;

// The segment of a step of a whole connection, from SYN to the last ACK; even steps are the
// client's, and every one carries `payload` bytes.
[[nodiscard]] Segment segment_of_step(unsigned step, std::uint32_t payload) noexcept;

}  // namespace podwire::ports
