// The two families of flow keys. A key is laid out as the packet's own bytes stand, so that taking
// it is a copy and a mask. No padding: keys are compared as bytes.
#pragma once

#include <smmintrin.h>

#include <array>
#include <cstdint>
#include <cstring>

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

// In one store: a key that was written piece by piece is slow to load whole.
inline V4::Key make_key(std::uint8_t protocol, net::be16 zone, net::be32 source,
                        net::be32 destination, net::be16 source_port, net::be16 destination_port) {
  const std::uint32_t ports = source_port.raw() | std::uint32_t{destination_port.raw()} << 16U;
  const std::uint32_t first = std::uint32_t{protocol} << 8U | std::uint32_t{zone.raw()} << 16U;
  V4::Key key;
  _mm_storeu_si128(reinterpret_cast<__m128i*>(&key),
                   _mm_set_epi32(static_cast<int>(ports), static_cast<int>(destination.raw()),
                                 static_cast<int>(source.raw()), static_cast<int>(first)));
  return key;
}

[[nodiscard]] inline bool equal(const V4::Key& a, const V4::Key& b) {
  const __m128i difference = _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(&a)),
                                           _mm_loadu_si128(reinterpret_cast<const __m128i*>(&b)));
  return _mm_testz_si128(difference, difference) != 0;
}
[[nodiscard]] inline bool equal(const V6::Key& a, const V6::Key& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

// Source and destination exchanged.
inline V4::Key reversed(const V4::Key& key) {
  return make_key(key.protocol, key.zone, key.destination, key.source, key.destination_port,
                  key.source_port);
}
template <typename Key>
Key reversed(Key key) {
  std::swap(key.source, key.destination);
  std::swap(key.source_port, key.destination_port);
  return key;
}

}  // namespace podwire::flow
