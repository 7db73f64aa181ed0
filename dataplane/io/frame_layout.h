// Where the headers of a frame stand, worked out from the frame itself: drivers need it to finish
// offloads and trust neither the sender nor the lengths that an mbuf carries.
// Sources: RFC 791, RFC 8200 section 4, RFC 2003 (IPIP), RFC 9293, RFC 768.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <optional>

#include "dataplane/net/address.h"

namespace podwire::io {

// Offsets in bytes from the start of the frame; all headers named here are in the first segment.
struct FrameLayout {
  std::uint16_t outer_l3 = 0;  // the first IP header; equals l3 without a tunnel
  std::uint16_t l3 = 0;        // the IP header right above the transport
  std::uint16_t l4 = 0;
  std::uint16_t payload = 0;  // after the TCP or UDP header
  net::Family family = net::Family::v4;
  std::uint8_t protocol = 0;  // TCP or UDP
  [[nodiscard]] bool is_tunnel() const { return outer_l3 != l3; }
};

// Of an untagged Ethernet frame with TCP or UDP in IPv4 or IPv6, plain or inside one IPv4 header.
// Nothing when it is anything else, a fragment, or its headers do not fit the first segment.
[[nodiscard]] std::optional<FrameLayout> layout_of(const rte_mbuf& frame) noexcept;

}  // namespace podwire::io
