// Linux's own tables as mirrored over netlink from the namespace podwired runs in: `ip route` and
// `ip neigh` show and change the truth. Filled by control/routes, read by control/build. Control
// thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "control/linux_routes.h"
#include "dataplane/net/address.h"
#include "dataplane/net/beside_host.h"

namespace podwire::control {

struct LinuxNeighbour {
  net::Address address;
  net::Mac mac;
  bool operator==(const LinuxNeighbour&) const = default;
  auto operator<=>(const LinuxNeighbour&) const = default;
};
// An address of a device, "10.0.0.2/24": unlike a net::Prefix it keeps the bits past its length.
struct LinuxAddress {
  net::Address address;
  std::uint8_t length = 0;  // in bits of its own family
  // RT_SCOPE_LINK. On the host tap: podwired's tunnel address, which no one else gives a scope.
  bool of_link = false;
  [[nodiscard]] net::Prefix subnet() const { return net::Prefix::around(address, length); }
  bool operator==(const LinuxAddress&) const = default;
  auto operator<=>(const LinuxAddress&) const = default;
};
struct LinuxState {
  // Of the main table; multicast and podwired's own left out. Goes on changing: what is compared
  // and copied here is the table, not what is in it.
  std::shared_ptr<LinuxRoutes> routes = std::make_shared<LinuxRoutes>();
  std::vector<LinuxNeighbour> neighbours;  // of the host tap, with a usable Ethernet address
  std::vector<LinuxAddress> addresses;     // of every device: this node's own (loopback left out)
  std::vector<LinuxAddress> host_tap_addresses;  // those of them that the host tap carries
  std::uint16_t host_tap_mtu = 1500;
  bool operator==(const LinuxState&) const = default;
};

// Behind the host tap, for the node's own connections to its node ports.
inline net::Address node_port_address(net::Family family) {
  return net::beside_host(family);
}

// rtm_protocol of the routes podwired itself installs (pods and Services through the host tap).
inline constexpr std::uint8_t kRouteProtocol = 112;

}  // namespace podwire::control
