// The pod's side of its interface, set up over netlink inside the pod's network namespace:
// addresses of one host each, and everything else by way of a gateway that podwire answers for, as
// Calico's pods have it (169.254.1.1). Control thread only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "control/attachments.h"
#include "dataplane/net/address.h"
#include "dataplane/result.h"

namespace podwire::control {

// What pods send to for everything; podwire answers ARP for it.
inline constexpr const char* kGatewayV4 = "169.254.1.1";
inline constexpr const char* kGatewayV6 = "fe80::ecee:eeff:feee:eeee";  // of net::kGatewayMac

struct PodSide {
  std::string netns, interface;
  net::Mac mac;
  std::uint16_t mtu = 1480;
  std::vector<net::Address> ips;  // at most one per family
  std::vector<PodRoute> routes;   // empty: a default route for each family
};

// Idempotent: what is there already stays. The error names the namespace and the step. Where
// another interface has the default route already, this one's is for packets from its own addresses
// alone.
Result<void> set_up_pod_side(const PodSide& pod);
// For CHECK: the interface is up with its addresses and routes.
Result<void> check_pod_side(const PodSide& pod);
// Takes away what would outlive the interface. No error: the namespace goes with the pod.
void clear_pod_side(const PodSide& pod);

}  // namespace podwire::control
