// The addresses and ports of flows: those we open by arithmetic on the flow's number, so that
// millions need no memory; those of replies as they were learned from what came through.
#pragma once

#include <cstdint>

#include "dataplane/net/address.h"

namespace podwire::ports {

struct FlowTuple {
  net::Address source, destination;
  net::be16 source_port, destination_port;

  [[nodiscard]] FlowTuple swapped() const {
    return {destination, source, destination_port, source_port};
  }
  bool operator==(const FlowTuple&) const = default;
};

// Flow n: source ports first, then source addresses; destinations in turn.
struct FlowSpace {
  static constexpr std::uint32_t kFirstPort = 1024, kPorts = 64000;

  net::Address first_source, first_destination;
  std::uint32_t destinations = 1;
  std::uint16_t destination_port = 80;

  [[nodiscard]] FlowTuple tuple(std::uint32_t flow) const {
    return {plus(first_source, flow / kPorts), plus(first_destination, flow % destinations),
            net::be16(static_cast<std::uint16_t>(kFirstPort + flow % kPorts)),
            net::be16(destination_port)};
  }

 private:
  // In the last 32 bits, which hold a whole IPv4 address.
  static net::Address plus(net::Address address, std::uint32_t number) {
    net::be32 low;
    std::memcpy(&low, address.bytes.data() + 12, 4);
    low = net::be32(low.host() + number);
    std::memcpy(address.bytes.data() + 12, &low, 4);
    return address;
  }
};

}  // namespace podwire::ports
