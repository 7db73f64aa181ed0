// A worker as a server with a receive ring, packet by packet: at which load the first is lost.
#pragma once

#include <cstdint>

#include "bench/lib/spread.h"

namespace podwire::bench {

struct Queue {
  Spread service_ns;                // of a packet
  unsigned ring = 1024;             // descriptors
  std::uint32_t packets = 200'000;  // that come, at random intervals
};

// How many are lost when this many come a second.
[[nodiscard]] std::uint32_t lost(const Queue& queue, double packets_per_second);

// The largest rate, up to the server's own, at which none is.
[[nodiscard]] double largest_rate(const Queue& queue);

}  // namespace podwire::bench
