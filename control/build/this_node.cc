#include "control/build/this_node.h"

#include <algorithm>

#include "dataplane/net/headers.h"

namespace podwire::control::build {
namespace {

std::optional<net::Address> host_tap_address(const LinuxState& linux_state, net::Family family) {
  for (const LinuxAddress& a : linux_state.host_tap_addresses) {
    if (a.address.family() == family && !a.address.is_link_local() && !a.of_link) return a.address;
  }
  return std::nullopt;
}

// Calico's annotation names the mask; without it the host tap's own prefix is the subnet.
std::optional<net::Prefix> subnet_of(const std::optional<net::Address>& address,
                                     const std::optional<net::Prefix>& annotated,
                                     const LinuxState& linux_state) {
  if (annotated) return annotated;
  for (const LinuxAddress& a : linux_state.host_tap_addresses) {
    if (address && a.address == *address) return a.subnet();
  }
  return std::nullopt;
}

}  // namespace

std::optional<net::Address> internal_ip(const kube::Node& node, net::Family family) {
  for (const net::Address& ip : node.internal_ips) {
    if (ip.family() == family) return ip;
  }
  return std::nullopt;
}

std::optional<net::Address> tunnel_address(const kube::Node& node, const Store& store) {
  if (!node.tunnel_v4) return std::nullopt;
  const bool encapsulated = std::ranges::any_of(store.ip_pools, [&](const auto& item) {
    return item.second.ipip != kube::TunnelMode::never &&
           item.second.cidr.contains(*node.tunnel_v4);
  });
  return encapsulated ? node.tunnel_v4 : std::nullopt;
}

std::set<net::Prefix> service_ranges(const Config& config, const Store& store) {
  std::set<net::Prefix> all(config.service_ranges.begin(), config.service_ranges.end());
  for (const auto& [name, range] : store.service_cidrs) {
    all.insert(range.cidrs.begin(), range.cidrs.end());
  }
  return all;
}

std::uint16_t pod_mtu(const Config& config, const Store& store, const LinuxState& linux_state) {
  if (config.dataplane.pod_mtu != 0) return config.dataplane.pod_mtu;
  const bool tunnels =
      std::any_of(store.ip_pools.begin(), store.ip_pools.end(),
                  [](const auto& item) { return item.second.ipip != kube::TunnelMode::never; });
  constexpr int kLeast = 1280;  // RFC 8200 section 5
  const int mtu = linux_state.host_tap_mtu - (tunnels ? int{sizeof(net::Ipv4)} : 0);
  return static_cast<std::uint16_t>(std::max(mtu, kLeast));
}

ThisNode describe_this_node(const Config& config, const Store& store,
                            const LinuxState& linux_state) {
  ThisNode self;
  self.name = config.node_name;
  for (const LinuxAddress& a : linux_state.addresses) self.addresses.push_back(a.address);
  std::optional<net::Prefix> annotated;
  if (const auto found = store.nodes.find(self.name); found != store.nodes.end()) {
    const kube::Node& node = found->second;
    self.known = true;
    self.zone = node.zone;
    self.pod_cidrs = node.pod_cidrs;
    self.v4 = internal_ip(node, net::Family::v4);
    self.v6 = internal_ip(node, net::Family::v6);
    annotated = node.ipv4_subnet;
    self.tunnel_v4 = tunnel_address(node, store);
    if (self.tunnel_v4) self.addresses.push_back(*self.tunnel_v4);
    self.addresses.insert(self.addresses.end(), node.internal_ips.begin(), node.internal_ips.end());
  }
  if (!self.v4) self.v4 = host_tap_address(linux_state, net::Family::v4);
  if (!self.v6) self.v6 = host_tap_address(linux_state, net::Family::v6);
  self.v4_subnet = subnet_of(self.v4, annotated, linux_state);
  std::sort(self.addresses.begin(), self.addresses.end());
  self.addresses.erase(std::unique(self.addresses.begin(), self.addresses.end()),
                       self.addresses.end());
  return self;
}

}  // namespace podwire::control::build
