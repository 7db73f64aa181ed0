// Moves the node's addresses and routes from the uplink's kernel device to the host tap, and back.
// What is on the host tap when podwired stops cleanly goes back, changes included; after a crash it
// is still there (the tap is persistent) and there is nothing left to move. Control thread only.
#pragma once

#include <string>
#include <vector>

#include "control/routes/mirror.h"
#include "control/routes/netlink.h"

namespace podwire::control::routes {

class HostLink {
 public:
  // `uplink`: the kernel device behind the uplink, empty when there is none; then `addresses`
  // (with their own bits past the length) are put on the host tap.
  HostLink(std::string host_tap, std::string uplink, std::vector<net::Prefix> addresses);

  // The host tap exists. Afterwards it is up, holds the addresses and routes, and answers through
  // the gateways into podwire.
  Result<void> take(Mirror& mirror);
  // Also after a take() that failed halfway.
  Result<void> give_back(Mirror& mirror);

  // On the host tap, towards podwire; neighbours with net::kGatewayMac.
  static const net::Address& gateway(net::Family family);

 private:
  Result<void> move(Mirror& mirror, int from, int to);
  Result<void> put_gateways(int device);

  const std::string host_tap_, uplink_;
  const std::vector<net::Prefix> addresses_;
  std::optional<Netlink> netlink_;
};

// To and from a device, at once.
Result<void> put_address(Netlink& netlink, const LinuxAddress& address, int device);
Result<void> remove_address(Netlink& netlink, const LinuxAddress& address, int device);

// What is written under /proc/sys; an error names the file.
Result<void> write_sysctl(const std::string& path, const std::string& value);

}  // namespace podwire::control::routes
