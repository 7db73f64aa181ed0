// RoutesBuilder: all but Linux's routes.
#include <algorithm>

#include "control/build/blocks.h"
#include "control/build/routes.h"

namespace podwire::control::build {
namespace {

using tables::NextHop;
using tables::NextHopKind;

bool is_own(const ThisNode& self, const net::Address& address) {
  return std::binary_search(self.addresses.begin(), self.addresses.end(), address);
}

}  // namespace

void RoutesBuilder::add_own(Draft& draft) {
  for (const net::Address& address : draft.self.addresses) {
    add(net::Prefix::host(address), host(draft));
  }
  for (const LocalPort& pod : draft.ports.pods) {
    for (const net::Address& ip : pod.attachment->ips) {
      const std::string meaning = "pod " + ip.to_string();
      NextHop hop;
      hop.kind = NextHopKind::pod;
      hop.port = pod.id;
      hop.mtu = pod.attachment->mtu;
      hop.source_mac = net::kGatewayMac;
      hop.destination_mac = pod.attachment->mac;
      hop.gateway = ip;
      if (!hops_.say(meaning, hop)) {
        problems_.push_back(
            {"Pod " + pod.attachment->pod,
             "has address " + ip.to_string() + ", which another attached pod has too and keeps"});
        continue;
      }
      add(net::Prefix::host(ip), meaning);
    }
  }
  for (const net::Prefix& range : draft.self.pod_cidrs) add(range, blackhole());
}

// Of the pool that this node's pods have their IPv4 addresses from.
kube::TunnelMode RoutesBuilder::mode_of_own(const ThisNode& self) const {
  std::vector<net::Prefix> own = self.pod_cidrs;
  for (const auto& [range, name] : blocks_) {
    if (name == self.name) own.push_back(range);
  }
  for (const net::Prefix& range : own) {
    const Pool* pool = range.family() == net::Family::v4 ? pool_of(range) : nullptr;
    if (pool != nullptr) return pool->mode;
  }
  return kube::TunnelMode::never;
}

void RoutesBuilder::add_nodes(Draft& draft) {
  const kube::TunnelMode own_mode = mode_of_own(draft.self);
  for (const auto& [name, node] : draft.inputs.store.nodes) {
    if (name == draft.self.name) continue;
    for (const net::Address& ip : node.internal_ips) {
      if (is_own(draft.self, ip)) {
        problems_.push_back(
            {"Node " + name, "has InternalIP " + ip.to_string() + ", which is this node's own"});
        continue;
      }
      node_addresses_.insert(ip);
      if (ip.is_v4()) draft.table->tunnel_peers.push_back(ip.v4());
      const net::Address gateway = gateway_to(draft, ip);
      const LinuxRoute* way = draft.linux_routes().route_to(ip);
      const bool behind_another_device =
          way != nullptr &&
          (way->says->paths.empty() || !way->says->paths.front().through_host_tap);
      if (behind_another_device) continue;  // Linux's
      const std::string meaning = "node " + ip.to_string();
      hops_.say(meaning, through_uplink(draft, gateway));
      add(net::Prefix::host(ip), meaning);
      if (wants_tunnel(own_mode, draft.self, ip)) hops_.set_twin(meaning, tunnel(draft, ip));
    }
    add_tunnel_address(draft, node);
    for (const net::Prefix& range : node.pod_cidrs) {
      const auto ip = internal_ip(node, range.family());
      if (!ip || is_own(draft.self, *ip)) {
        if (!ip) {
          problems_.push_back({"Node " + name, "has pod range " + range.to_string() +
                                                   " but no InternalIP of that family"});
        }
        continue;
      }
      if (strong_.contains(range) || owners_.contains(range)) {
        problems_.push_back({"Node " + name, "has pod range " + range.to_string() +
                                                 ", which another node has too and keeps"});
        continue;
      }
      add_range(draft, range, *ip);
    }
  }
}

// From the first time on that a peer has told of a range, only BGP says how it is reached: a dead
// node's range goes when its route does. A node whose range nobody ever told of may run no bird.
bool RoutesBuilder::is_told(const Draft& draft, const net::Prefix& range) {
  if (!config_.bgp) return false;
  const LinuxRoute* route = draft.linux_routes().find(range);
  if (route != nullptr && is_learned(*route)) told_.insert(range);
  return told_.contains(range);
}

void RoutesBuilder::add_range(Draft& draft, const net::Prefix& range, const net::Address& node) {
  owners_[range] = node;
  if (is_told(draft, range)) return;
  const Pool* pool = pool_of(range);
  const bool tunnels = pool != nullptr && wants_tunnel(pool->mode, draft.self, node);
  add(range, tunnels ? tunnel(draft, node) : link(draft, gateway_to(draft, node)));
}

// In a block of its node, mostly; but it may be borrowed out of another's.
void RoutesBuilder::add_tunnel_address(Draft& draft, const kube::Node& node) {
  const auto address = tunnel_address(node, draft.inputs.store);
  const auto ip = internal_ip(node, net::Family::v4);
  if (!address || !ip || is_own(draft.self, *address) || is_own(draft.self, *ip)) return;
  add_range(draft, net::Prefix::host(*address), *ip);
}

void RoutesBuilder::add_blocks(Draft& draft) {
  const auto& nodes = draft.inputs.store.nodes;
  for (const auto& [range, name] : blocks_) {
    if (name == draft.self.name) {
      add(range, blackhole());
      continue;
    }
    const auto node = nodes.find(name);
    if (node == nodes.end()) continue;  // gone, its blocks not yet; or another kind of host
    const auto ip = internal_ip(node->second, range.family());
    if (!ip) {
      problems_.push_back(
          {"Node " + name, "has block " + range.to_string() + " but no InternalIP of that family"});
    } else if (!is_own(draft.self, *ip) && !strong_.contains(range) && !owners_.contains(range)) {
      add_range(draft, range, *ip);
    }
  }
}

void RoutesBuilder::add_neighbours(Draft& draft) {
  for (const auto& [address, mac] : neighbours_) {
    asked_.insert(address);
    const LinuxRoute* route = draft.linux_routes().route_to(address);
    if (route == nullptr || route->says->paths.empty()) continue;
    const LinuxPath& path = route->says->paths.front();
    if (!path.through_host_tap || path.has_gateway) continue;
    add(net::Prefix::host(address), link(draft, address));
  }
}

void RoutesBuilder::add_pools(Draft& draft) {
  std::map<net::Prefix, std::string> by_cidr;
  pools_.clear();
  draft.table->pools = {};
  for (const auto& [name, pool] : draft.inputs.store.ip_pools) {
    const auto [place, added] = by_cidr.try_emplace(pool.cidr, name);
    if (added) {
      draft.table->pools.set(pool.cidr, pool.nat_outgoing);
      pools_.push_back({pool.cidr, pool.ipip});
    } else {
      problems_.push_back({"IPPool " + name, "has cidr " + pool.cidr.to_string() +
                                                 ", which IPPool " + place->second +
                                                 " has too and keeps"});
    }
  }
  std::stable_sort(pools_.begin(), pools_.end(),
                   [](const Pool& a, const Pool& b) { return a.cidr.length > b.cidr.length; });
}

void RoutesBuilder::draft_others(Draft& draft) {
  hops_.begin();
  strong_.clear();
  node_addresses_.clear();
  neighbours_.clear();
  owners_.clear();
  asked_.clear();
  wanted_.clear();
  problems_.clear();
  tables::RouteTable& table = *draft.table;
  table.tunnel_peers.clear();
  for (const LinuxNeighbour& n : draft.inputs.linux_state.neighbours) {
    neighbours_[n.address] = n.mac;
  }
  // Only what blocks say needs a look at every address in them.
  if (draft.inputs.changes.blocks || last_ == nullptr) blocks_ = block_routes(draft.inputs.store);
  add_pools(draft);
  add_own(draft);
  add_nodes(draft);
  add_blocks(draft);
  std::erase_if(told_, [&](const net::Prefix& range) { return !owners_.contains(range); });
  add_neighbours(draft);
  std::sort(table.tunnel_peers.begin(), table.tunnel_peers.end(),
            [](net::be32 a, net::be32 b) { return a.raw() < b.raw(); });
  table.has_masquerade_v4 = draft.self.v4.has_value();
  table.has_masquerade_v6 = draft.self.v6.has_value();
  table.masquerade_v4 = draft.self.v4.value_or(net::Address{});
  table.masquerade_v6 = draft.self.v6.value_or(net::Address{});
}

}  // namespace podwire::control::build
