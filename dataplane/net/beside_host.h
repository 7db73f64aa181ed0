// Addresses behind the host tap that are podwire's own: the node's connections to its node ports go
// there (control/routes/node_ports.h), and those that a Service leads back to the node come from
// there, since Linux takes no packet from its own address. A link-local address (RFC 3927) and a
// unique local one drawn at random (RFC 4193).
#pragma once

#include "dataplane/net/address.h"

namespace podwire::net {

inline constexpr Address kBesideHostV4 = Address::from_v4(be32{0xa9fe0102});  // 169.254.1.2
inline constexpr Address kBesideHostV6{
    // fd3b:7c41:9e02::1
    {0xfd, 0x3b, 0x7c, 0x41, 0x9e, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};

inline Address beside_host(Family family) {
  return family == Family::v4 ? kBesideHostV4 : kBesideHostV6;
}

}  // namespace podwire::net
