// ICMP and ICMPv6 errors that podwire itself sends, RFC 792, 1122 section 3.2.2, 1812 section 4.3.2
// and 4443.
#pragma once

#include <cstdint>

#include "dataplane/packet.h"
#include "dataplane/worker.h"

namespace podwire::stages {

enum class IcmpError : std::uint8_t {  // IPv4 type/code, IPv6 type/code
  no_route,                            // 3/0, 1/0
  host_unreachable,                    // 3/1, 1/3
  port_unreachable,                    // 3/3, 1/4
  prohibited,                          // 3/13, 1/1
  ttl_exceeded,                        // 11/0, 3/0
  too_big,                             // 3/4, 2/0; needs `mtu`
};

// Makes an error about `p` as it stands now, towards its present source, and puts it into
// w.originated (counted as originated); `p` is not touched and still needs its verdict. `p`'s IP
// header must be in one piece (parse saw to that). From there the error passes the whole pipeline
// as Source::self, where track translates it if the quoted packet had been translated.
//
// `mtu`: for too_big only, the largest IP packet that would have passed, in bytes.
//
// Returns false when no error is made: about an ICMP error, a later fragment, a multicast,
// broadcast, loopback or unspecified address (RFC 1122 section 3.2.2, RFC 4443 section 2.4 e); when
// this node has no address of the family; beyond DataplaneConfig::icmp_errors_per_second; or
// without buffers. The error's source is this node's address; towards the node itself it comes from
// beside it, since Linux takes its own address in a received packet for a forgery, and with
// rp_filter any that it has no route for.
bool originate(Worker& w, const Packet& p, IcmpError error, std::uint16_t mtu = 0) noexcept;

}  // namespace podwire::stages
