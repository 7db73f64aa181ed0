#include "control/build/routes.h"

#include <algorithm>
#include <set>

namespace podwire::control::build {
namespace {

using tables::NextHop;
using tables::NextHopKind;

constexpr std::uint16_t kIpipOverhead = 20;  // one IPv4 header, RFC 2003
constexpr std::size_t kFreedBeforeReuse = 4096;

net::Address unspecified(net::Family family) {
  return family == net::Family::v4 ? net::Address::from_v4(net::be32{}) : net::Address{};
}

const kube::IpPool* pool_of(const Store& store, const net::Prefix& range) {
  const kube::IpPool* best = nullptr;
  for (const auto& [name, pool] : store.ip_pools) {
    const bool better = best == nullptr || best->cidr.length < pool.cidr.length;
    if (pool.cidr.contains(range) && better) best = &pool;
  }
  return best;
}

bool wants_tunnel(const kube::IpPool* pool, const ThisNode& self, const net::Address& node) {
  if (pool == nullptr || !node.is_v4() || !self.v4) return false;
  switch (pool->ipip) {
    case kube::TunnelMode::never:
      return false;
    case kube::TunnelMode::always:
      return true;
    case kube::TunnelMode::cross_subnet:
      return !self.v4_subnet || !self.v4_subnet->contains(node);
  }
  return false;
}

}  // namespace

struct RoutesBuilder::Draft {
  const Inputs& inputs;
  const ThisNode& self;
  const PortsBuilder::Result& ports;
  std::vector<Problem>& problems;
  std::shared_ptr<tables::RouteTable> table = std::make_shared<tables::RouteTable>();

  std::map<net::Prefix, std::string> prefixes = {};  // to the meaning of a next hop
  std::map<std::string, NextHop> hops = {};          // by meaning
  std::map<std::string, std::string> twins = {};     // pod_source_twin, by meaning
  std::map<net::Address, net::Mac> neighbours = {};
  tables::Lpm<const LinuxRoute*> linux_routes = {};
  std::set<net::Address> wanted = {};

  // The first who says something about a prefix is the strongest.
  void add(const net::Prefix& prefix, const std::string& meaning) {
    prefixes.try_emplace(prefix, meaning);
  }
  std::string host() {
    hops.try_emplace("host", NextHop{.kind = NextHopKind::host,
                                     .port = ports.table->host,
                                     .mtu = inputs.linux_state.host_tap_mtu,
                                     .destination_mac = inputs.uplink_mac,
                                     .source_mac = net::kGatewayMac,
                                     .gateway = {},
                                     .tunnel_source = {},
                                     .tunnel_destination = {}});
    return "host";
  }
  std::string blackhole() {
    hops.try_emplace("blackhole").first->second.kind = NextHopKind::blackhole;
    return "blackhole";
  }
  NextHop through_uplink(const net::Address& gateway) {
    NextHop hop;
    hop.kind = NextHopKind::unresolved;
    hop.port = ports.table->uplink;
    hop.mtu = inputs.linux_state.host_tap_mtu;
    hop.source_mac = inputs.uplink_mac;
    hop.gateway = gateway;
    if (gateway.is_unspecified()) return hop;
    wanted.insert(gateway);
    if (const auto found = neighbours.find(gateway); found != neighbours.end()) {
      hop.kind = NextHopKind::link;
      hop.destination_mac = found->second;
    }
    return hop;
  }
  // The neighbour to which Linux would hand a packet for `address`; itself when it is on the link.
  [[nodiscard]] net::Address gateway_to(const net::Address& address) const {
    const LinuxRoute* const* route = linux_routes.find(address);
    return route != nullptr && (*route)->has_gateway ? (*route)->gateway : address;
  }
  std::string link(const net::Address& gateway) {
    std::string meaning = "gateway " + gateway.to_string();
    if (!hops.contains(meaning)) hops[meaning] = through_uplink(gateway);
    return meaning;
  }
  std::string on_link(net::Family family) {
    std::string meaning = family == net::Family::v4 ? "on link, IPv4" : "on link, IPv6";
    if (!hops.contains(meaning)) hops[meaning] = through_uplink(unspecified(family));
    return meaning;
  }
  std::string tunnel(const net::Address& node) {
    std::string meaning = "tunnel " + node.to_string();
    if (hops.contains(meaning)) return meaning;
    NextHop hop = through_uplink(gateway_to(node));
    if (hop.kind == NextHopKind::link) hop.kind = NextHopKind::tunnel;
    hop.mtu = static_cast<std::uint16_t>(hop.mtu - kIpipOverhead);
    hop.tunnel_source = self.v4->v4();
    hop.tunnel_destination = node.v4();
    hops[meaning] = hop;
    return meaning;
  }
};

void RoutesBuilder::add_own(Draft& draft) const {
  for (const net::Address& address : draft.self.addresses) {
    draft.add(net::Prefix::host(address), draft.host());
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
      if (!draft.hops.try_emplace(meaning, hop).second) {
        draft.problems.push_back(
            {"Pod " + pod.attachment->pod,
             "has address " + ip.to_string() + ", which another attached pod has too and keeps"});
        continue;
      }
      draft.add(net::Prefix::host(ip), meaning);
    }
  }
  for (const net::Prefix& range : draft.self.pod_cidrs) draft.add(range, draft.blackhole());
}

void RoutesBuilder::add_nodes(Draft& draft) const {
  const Store& store = draft.inputs.store;
  const kube::IpPool* own_pool = nullptr;
  for (const net::Prefix& range : draft.self.pod_cidrs) {
    if (range.family() == net::Family::v4 && own_pool == nullptr) own_pool = pool_of(store, range);
  }
  const auto own = [&](const net::Address& a) {
    return std::binary_search(draft.self.addresses.begin(), draft.self.addresses.end(), a);
  };
  for (const auto& [name, node] : store.nodes) {
    if (name == draft.self.name) continue;
    for (const net::Address& ip : node.internal_ips) {
      if (own(ip)) {
        draft.problems.push_back(
            {"Node " + name, "has InternalIP " + ip.to_string() + ", which is this node's own"});
        continue;
      }
      if (ip.is_v4()) draft.table->tunnel_peers.push_back(ip.v4());
      const LinuxRoute* const* way = draft.linux_routes.find(ip);
      if (way != nullptr && !(*way)->through_host_tap) continue;  // behind another device: Linux's
      const std::string meaning = "node " + ip.to_string();
      draft.hops[meaning] = draft.through_uplink(draft.gateway_to(ip));
      draft.add(net::Prefix::host(ip), meaning);
      if (wants_tunnel(own_pool, draft.self, ip)) draft.twins[meaning] = draft.tunnel(ip);
    }
    for (const net::Prefix& range : node.pod_cidrs) {
      const auto ip = internal_ip(node, range.family());
      if (!ip || own(*ip)) {
        if (!ip) {
          draft.problems.push_back({"Node " + name, "has pod range " + range.to_string() +
                                                        " but no InternalIP of that family"});
        }
        continue;
      }
      if (draft.prefixes.contains(range)) {
        draft.problems.push_back({"Node " + name, "has pod range " + range.to_string() +
                                                      ", which another node has too and keeps"});
        continue;
      }
      const bool tunnel = wants_tunnel(pool_of(store, range), draft.self, *ip);
      draft.add(range, tunnel ? draft.tunnel(*ip) : draft.link(draft.gateway_to(*ip)));
    }
  }
}

void RoutesBuilder::add_linux(Draft& draft) const {
  for (const auto& [address, mac] : draft.neighbours) {
    const LinuxRoute* const* route = draft.linux_routes.find(address);
    if (route == nullptr || !(*route)->through_host_tap || (*route)->has_gateway) continue;
    draft.add(net::Prefix::host(address), draft.link(address));
  }
  draft.linux_routes.for_each([&](const net::Prefix& prefix, const LinuxRoute* route) {
    if (route->blackhole) {
      draft.add(prefix, draft.blackhole());
    } else if (!route->through_host_tap) {
      draft.add(prefix, draft.host());  // another device of the node: Linux forwards
    } else if (route->has_gateway) {
      draft.add(prefix, draft.link(route->gateway));
    } else {
      draft.add(prefix, draft.on_link(prefix.family()));
    }
  });
}

tables::NextHopId RoutesBuilder::id_for(const std::string& meaning) {
  const auto [place, added] = numbers_.try_emplace(meaning, 0);
  if (added) {
    if (freed_.size() > kFreedBeforeReuse) {
      place->second = freed_.front();
      freed_.pop_front();
    } else {
      place->second = next_++;
    }
  }
  return place->second;
}

void RoutesBuilder::release(const Draft& draft) {
  for (auto it = numbers_.begin(); it != numbers_.end();) {
    if (draft.hops.contains(it->first)) {
      ++it;
    } else {
      freed_.push_back(it->second);
      it = numbers_.erase(it);
    }
  }
}

void RoutesBuilder::finish(Draft& draft) {
  tables::RouteTable& table = *draft.table;
  release(draft);
  for (const auto& [meaning, hop] : draft.hops) id_for(meaning);
  table.next_hops.resize(next_);
  for (const auto& [meaning, hop] : draft.hops) {
    NextHop& place = table.next_hops[numbers_.at(meaning)];
    place = hop;
    const auto twin = draft.twins.find(meaning);
    if (twin != draft.twins.end()) place.pod_source_twin = numbers_.at(twin->second);
  }
  std::map<net::Prefix, tables::NextHopId> prefixes;
  for (const auto& [prefix, meaning] : draft.prefixes) prefixes[prefix] = numbers_.at(meaning);
  if (last_ != nullptr) table.prefixes = last_->prefixes;
  bool moved = last_ == nullptr;
  for (const auto& [prefix, id] : prefixes_) {
    if (prefixes.contains(prefix)) continue;
    table.prefixes.erase(prefix);
    moved = true;
  }
  for (const auto& [prefix, id] : prefixes) {
    const auto old = prefixes_.find(prefix);
    if (old != prefixes_.end() && old->second == id) continue;
    table.prefixes.set(prefix, id);
    moved = true;
  }
  prefixes_ = std::move(prefixes);
  if (moved) ++generation_;
}

RoutesBuilder::Result RoutesBuilder::build(const Inputs& inputs, const ThisNode& self,
                                           const PortsBuilder::Result& ports,
                                           std::vector<Problem>& problems) {
  Draft draft{.inputs = inputs, .self = self, .ports = ports, .problems = problems};
  for (const LinuxNeighbour& n : inputs.linux_state.neighbours) {
    draft.neighbours[n.address] = n.mac;
  }
  for (const LinuxRoute& route : inputs.linux_state.routes) {
    const LinuxRoute* const* other = draft.linux_routes.exact(route.destination);
    if (other == nullptr || route.metric < (*other)->metric) {
      draft.linux_routes.set(route.destination, &route);
    }
  }
  add_own(draft);
  add_nodes(draft);
  add_linux(draft);
  finish(draft);
  tables::RouteTable& table = *draft.table;
  std::sort(table.tunnel_peers.begin(), table.tunnel_peers.end(),
            [](net::be32 a, net::be32 b) { return a.raw() < b.raw(); });
  std::map<net::Prefix, std::string> pools;
  for (const auto& [name, pool] : inputs.store.ip_pools) {
    const auto [place, added] = pools.try_emplace(pool.cidr, name);
    if (added) {
      table.pools.set(pool.cidr, pool.nat_outgoing);
    } else {
      problems.push_back({"IPPool " + name, "has cidr " + pool.cidr.to_string() +
                                                ", which IPPool " + place->second +
                                                " has too and keeps"});
    }
  }
  table.has_masquerade_v4 = self.v4.has_value();
  table.has_masquerade_v6 = self.v6.has_value();
  table.masquerade_v4 = self.v4.value_or(net::Address{});
  table.masquerade_v6 = self.v6.value_or(net::Address{});
  last_ = draft.table;
  return {last_, generation_, {draft.wanted.begin(), draft.wanted.end()}};
}

}  // namespace podwire::control::build
