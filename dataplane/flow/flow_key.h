// The two families of flow keys. A key is laid out as the packet's own bytes stand, so that taking
// it is a copy and a mask. No padding: keys are compared as bytes.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/net/address.h"

namespace podwire::flow {

// ICMP and ICMPv6 echo use the identifier as the requester's port and 0 as the other's, so that the
// reply's key is the request's with source and destination exchanged, as for every protocol.
struct V4 {
  static constexpr net::Family family = net::Family::v4;
  struct Key {  // the 16 bytes at offset 8 of an IPv4 header without options
    std::uint8_t zero = 0;
    std::uint8_t protocol = 0;
    net::be16 zone;
    net::be32 source, destination;
    net::be16 source_port, destination_port;
    bool operator==(const Key&) const = default;
  };
  struct Rewrite {  // what the packet's addresses and ports become
    net::be32 source, destination;
    net::be16 source_port, destination_port;
  };
};
static_assert(sizeof(V4::Key) == 16 && sizeof(V4::Rewrite) == 12);

struct V6 {
  static constexpr net::Family family = net::Family::v6;
  struct Key {  // the 40 bytes at offset 4 of an IPv6 header without extension headers
    net::be16 zone;
    std::uint8_t protocol = 0;
    std::uint8_t zero = 0;
    std::array<std::uint8_t, 16> source{}, destination{};
    net::be16 source_port, destination_port;
    bool operator==(const Key&) const = default;
  };
  struct Rewrite {
    std::array<std::uint8_t, 16> source{}, destination{};
    net::be16 source_port, destination_port;
  };
};
static_assert(sizeof(V6::Key) == 40 && sizeof(V6::Rewrite) == 36);

// Source and destination exchanged.
template <typename Key>
Key reversed(Key key) {
  std::swap(key.source, key.destination);
  std::swap(key.source_port, key.destination_port);
  return key;
}

}  // namespace podwire::flow
