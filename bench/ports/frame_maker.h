// Test frames: Ethernet, IP and transport headers, the stamp, padding. The padding is in the
// buffers before the first packet leaves and its sum is known, so that making a frame touches its
// headers and stamp only, whatever its size.
#pragma once

#include <cstdint>

#include "bench/ports/flow_tuple.h"
#include "bench/ports/segment.h"
#include "bench/ports/stamp.h"
#include "dataplane/net/headers.h"

namespace podwire::ports {

// Ethernet's frame check sequence, which buffers do not hold and frame sizes count (RFC 2544).
inline constexpr unsigned kFcs = 4;
inline constexpr std::uint8_t kPadding = 0x5a;

struct FrameShape {
  net::Family family = net::Family::v4;
  std::uint8_t protocol = net::protocol::udp;

  [[nodiscard]] unsigned transport_at() const {
    return sizeof(net::Ethernet) +
           (family == net::Family::v4 ? sizeof(net::Ipv4) : sizeof(net::Ipv6));
  }
  [[nodiscard]] unsigned stamp_at() const {
    return transport_at() + (protocol == net::protocol::udp ? sizeof(net::Udp) : sizeof(net::Tcp));
  }
  // The smallest frame, with its check sequence: 64 for UDP over IPv4.
  [[nodiscard]] unsigned least_size() const { return stamp_at() + sizeof(Stamp) + kFcs; }
};

class FrameMaker {
 public:
  FrameMaker(const FrameShape& shape, net::Mac source, net::Mac destination);

  // A frame of `length` bytes (without check sequence) into `at`, whose bytes behind the stamp are
  // kPadding already.
  void make(std::uint8_t* at, unsigned length, const FlowTuple& tuple, const Stamp& stamp,
            const Segment& segment = {}) const noexcept;

  [[nodiscard]] const FrameShape& shape() const { return shape_; }

 private:
  void make_v4(std::uint8_t* at, unsigned length, const FlowTuple& tuple) const noexcept;
  void make_v6(std::uint8_t* at, unsigned length, const FlowTuple& tuple) const noexcept;

  FrameShape shape_;
  net::Ethernet ethernet_;
};

// The 16-bit sum of `bytes` of padding.
[[nodiscard]] constexpr std::uint64_t padding_sum(unsigned bytes) noexcept {
  return std::uint64_t{bytes / 2} * (kPadding << 8U | kPadding) + (bytes % 2) * kPadding;
}

}  // namespace podwire::ports
