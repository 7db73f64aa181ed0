// A flow as operators see it: one row for both directions.
#pragma once

#include <cstdint>

#include "dataplane/net/address.h"

namespace podwire::observe {

struct FlowRow {
  std::uint8_t protocol = 0;
  const char* state = "";            // "established", "syn_sent", "unreplied", ...
  net::Address source, destination;  // as the client sent it
  net::be16 source_port, destination_port;
  net::Address reply_source, reply_destination;  // as the server answers
  net::be16 reply_source_port, reply_destination_port;
  std::uint64_t packets = 0, bytes = 0, reply_packets = 0, reply_bytes = 0;
  std::uint32_t age_seconds = 0, expires_in_seconds = 0;
  std::uint32_t service_id = 0;  // 0: none
};

// Where a walk over all flows has come to. One that has not begun is {}.
struct FlowCursor {
  net::Family family = net::Family::v4;  // IPv4's come first
  std::uint32_t group = 0;
  bool at_end = false;
};

}  // namespace podwire::observe
