// What the builders know of the node they build for: its Node object and Linux's addresses in one.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/config.h"
#include "control/linux_state.h"
#include "control/store.h"

namespace podwire::control::build {

struct ThisNode {
  std::string name, zone;
  bool known = false;                   // the Node object exists
  std::vector<net::Address> addresses;  // own, sorted: Linux's and the Node's InternalIPs
  std::optional<net::Address> v4, v6;   // primary: first InternalIP, else the host tap's first
  // The Node's annotation, where it lies in a pool that encapsulates: the node's source towards
  // pods of other nodes.
  std::optional<net::Address> tunnel_v4;
  std::optional<net::Prefix> v4_subnet;  // whose members CrossSubnet reaches without a tunnel
  std::vector<net::Prefix> pod_cidrs;
  bool operator==(const ThisNode&) const = default;

  [[nodiscard]] const std::optional<net::Address>& primary(net::Family family) const {
    return family == net::Family::v4 ? v4 : v6;
  }
};

ThisNode describe_this_node(const Config& config, const Store& store,
                            const LinuxState& linux_state);

// Its tunnel address, where that lies in a pool that encapsulates.
std::optional<net::Address> tunnel_address(const kube::Node& node, const Store& store);

// The node's first InternalIP of the family.
std::optional<net::Address> internal_ip(const kube::Node& node, net::Family family);

// Where ClusterIPs come from: service-range and the cluster's ServiceCIDRs.
std::set<net::Prefix> service_ranges(const Config& config, const Store& store);

// Of a pod's interface: as configured, or computed as Calico does, from the network's and the
// largest overhead in use, CrossSubnet's too.
std::uint16_t pod_mtu(const Config& config, const Store& store, const LinuxState& linux_state);

}  // namespace podwire::control::build
