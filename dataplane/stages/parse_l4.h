// The transport header: is it all there, does it make sense, and which ports does it name?
#pragma once

#include "dataplane/packet.h"
#include "dataplane/verdict.h"

namespace podwire::stages {

// Reads the header of p.protocol at p.l4_offset, of which `length` bytes belong to this packet.
// Sets the ports, tcp_flags (for SCTP the first chunk's type) and icmp_error. Protocols without
// ports keep zero ports. In a first fragment the whole header must be there (RFC 1858 section 2,
// RFC 7112 section 5).
Verdict parse_l4(Packet& p, unsigned length) noexcept;

// ICMPv6 of neighbour discovery, RFC 4861 section 4, and multicast listener discovery, RFC 2710 and
// 3810.
[[nodiscard]] bool is_neighbour_discovery(std::uint8_t icmpv6_type) noexcept;
[[nodiscard]] bool is_listener_discovery(std::uint8_t icmpv6_type) noexcept;

}  // namespace podwire::stages
