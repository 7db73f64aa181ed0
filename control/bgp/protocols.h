// What BIRD says of its BGP protocols: the answer to `show protocols all`. Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "control/bgp/bird_client.h"

namespace podwire::control::bgp {

struct Protocol {
  std::string state;       // BIRD's BGP state: "Established", "Connect", ...
  std::string last_error;  // "Received: Bad peer AS"; empty: none
  std::uint64_t imported = 0, exported = 0, preferred = 0, filtered = 0;
};
// By name; other protocols are left out.
std::map<std::string, Protocol> read_protocols(const BirdAnswer& answer);

}  // namespace podwire::control::bgp
