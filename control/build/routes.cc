#include "control/build/routes.h"

#include <linux/rtnetlink.h>

#include <algorithm>
#include <utility>

namespace podwire::control::build {
namespace {

using tables::NextHop;
using tables::NextHopKind;

constexpr std::uint16_t kIpipOverhead = 20;  // one IPv4 header, RFC 2003
constexpr std::size_t kUnusedHops = 1024;    // kept until the next complete draft

}  // namespace

bool RoutesBuilder::is_learned(const LinuxRoute& route) {
  switch (route.protocol) {
    case RTPROT_ZEBRA:
    case RTPROT_BIRD:
    case RTPROT_BGP:
    case RTPROT_ISIS:
    case RTPROT_OSPF:
    case RTPROT_RIP:
      return true;
    default:
      return false;
  }
}

bool RoutesBuilder::wants_tunnel(kube::TunnelMode mode, const ThisNode& self,
                                 const net::Address& node) {
  if (!node.is_v4() || !self.v4) return false;
  switch (mode) {
    case kube::TunnelMode::never:
      return false;
    case kube::TunnelMode::always:
      return true;
    case kube::TunnelMode::cross_subnet:
      return !self.v4_subnet || !self.v4_subnet->contains(node);
  }
  return false;
}

std::string RoutesBuilder::host(Draft& draft) {
  hops_.say("host", NextHop{.kind = NextHopKind::host,
                            .port = draft.ports.table->host,
                            .mtu = draft.inputs.linux_state.host_tap_mtu,
                            .destination_mac = draft.inputs.uplink_mac,
                            .source_mac = net::kGatewayMac,
                            .gateway = {},
                            .tunnel_source = {},
                            .tunnel_destination = {}});
  return "host";
}

std::string RoutesBuilder::blackhole() {
  NextHop hop;
  hop.kind = NextHopKind::blackhole;
  hops_.say("blackhole", hop);
  return "blackhole";
}

NextHop RoutesBuilder::through_uplink(Draft& draft, const net::Address& gateway) {
  NextHop hop;
  hop.kind = NextHopKind::unresolved;
  hop.port = draft.ports.table->uplink;
  hop.mtu = draft.inputs.linux_state.host_tap_mtu;
  hop.source_mac = draft.inputs.uplink_mac;
  hop.gateway = gateway;
  if (gateway.is_unspecified()) return hop;
  wanted_.insert(gateway);
  if (const auto found = neighbours_.find(gateway); found != neighbours_.end()) {
    hop.kind = NextHopKind::link;
    hop.destination_mac = found->second;
  }
  return hop;
}

// The neighbour to which Linux would hand a packet for `address`; itself when it is on the link.
net::Address RoutesBuilder::gateway_to(Draft& draft, const net::Address& address) {
  asked_.insert(address);
  const LinuxRoute* route = draft.linux_routes().route_to(address);
  if (route == nullptr || route->says->blackhole) return address;
  for (const LinuxPath& path : route->says->paths) {
    if (path.usable) return path.has_gateway ? path.gateway : address;
  }
  return address;
}

std::string RoutesBuilder::link(Draft& draft, const net::Address& gateway) {
  std::string meaning = "gateway " + gateway.to_string();
  if (!hops_.said(meaning)) hops_.say(meaning, through_uplink(draft, gateway));
  return meaning;
}

std::string RoutesBuilder::on_link(Draft& draft, net::Family family) {
  std::string meaning = family == net::Family::v4 ? "on link, IPv4" : "on link, IPv6";
  if (!hops_.said(meaning)) hops_.say(meaning, through_uplink(draft, net::unspecified(family)));
  return meaning;
}

std::string RoutesBuilder::tunnel(Draft& draft, const net::Address& node) {
  std::string meaning = "tunnel " + node.to_string();
  if (hops_.said(meaning)) return meaning;
  NextHop hop = through_uplink(draft, gateway_to(draft, node));
  if (hop.kind == NextHopKind::link) hop.kind = NextHopKind::tunnel;
  hop.mtu = static_cast<std::uint16_t>(hop.mtu - kIpipOverhead);
  hop.tunnel_source = draft.self.v4->v4();
  hop.tunnel_destination = node.v4();
  hops_.say(meaning, hop);
  return meaning;
}

const RoutesBuilder::Pool* RoutesBuilder::pool_of(const net::Prefix& prefix) const {
  const auto found = std::find_if(pools_.begin(), pools_.end(),
                                  [&](const Pool& pool) { return pool.cidr.contains(prefix); });
  return found == pools_.end() ? nullptr : &*found;
}

RoutesBuilder::Judgement RoutesBuilder::judge(const net::Prefix& prefix) const {
  Judgement judgement;
  const Pool* pool = pool_of(prefix);
  if (pool == nullptr || pool->mode == kube::TunnelMode::never) return judgement;
  judgement.mode = pool->mode;
  for (int length = prefix.length; length >= pool->cidr.length; --length) {
    const auto around = net::Prefix::around(prefix.address, static_cast<std::uint8_t>(length));
    const auto owner = owners_.find(around);
    if (owner == owners_.end()) continue;
    judgement.owner = owner->second;
    break;
  }
  return judgement;
}

// A pool's traffic is tunnelled to a node: the next hop itself, or, when that is a router on the
// way, the node whose range it is.
std::string RoutesBuilder::path_of(Draft& draft, const LinuxPath& path, const Judgement& judgement,
                                   net::Family family) {
  if (!path.through_host_tap) return host(draft);  // another device of the node: Linux forwards
  if (!path.has_gateway) return on_link(draft, family);
  const net::Address node = node_addresses_.contains(path.gateway) ? path.gateway : judgement.owner;
  const bool known = node_addresses_.contains(node);
  if (known && wants_tunnel(judgement.mode, draft.self, node)) return tunnel(draft, node);
  return link(draft, path.gateway);
}

std::string RoutesBuilder::meaning_of(Draft& draft, const LinuxPaths& says,
                                      const Judgement& judgement, net::Family family) {
  if (says.blackhole) return blackhole();
  std::map<std::string, std::uint32_t> weights;
  for (const LinuxPath& path : says.paths) {
    if (path.usable) weights[path_of(draft, path, judgement, family)] += path.weight;
  }
  if (weights.size() == 1) return weights.begin()->first;
  std::string meaning = "several";
  for (const auto& [path, weight] : weights) {
    meaning += ", " + path + " weight " + std::to_string(weight);
  }
  if (!hops_.said(meaning)) hops_.say_several(meaning, {weights.begin(), weights.end()});
  return meaning;
}

tables::NextHopId RoutesBuilder::linux_hop(Draft& draft, const net::Prefix& prefix,
                                           const LinuxRoute& route) {
  const Judgement judgement = judge(prefix);
  if (judgement.mode != kube::TunnelMode::never) pooled_.insert(prefix);
  const net::Family family = prefix.family();
  Saying& saying = sayings_[{route.says.get(), judgement, family}];
  if (saying.id == tables::kNoNextHop) {
    saying.says = route.says;
    saying.judgement = judgement;
    saying.id = hops_.number(meaning_of(draft, *route.says, judgement, family));
  }
  return saying.id;
}

// Service prefixes that others announce are ours to serve, never to send there.
bool RoutesBuilder::is_carried(const net::Prefix& prefix, const LinuxRoute& route) const {
  return !is_learned(route) ||
         std::none_of(service_ranges_.begin(), service_ranges_.end(),
                      [&](const net::Prefix& range) { return range.contains(prefix); });
}

// What Linux's routes say, with the neighbours and nodes of now. What no prefix leads to any more
// is forgotten.
void RoutesBuilder::say_linux_anew(Draft& draft) {
  for (auto it = sayings_.begin(); it != sayings_.end();) {
    Saying& saying = it->second;
    const auto uses = linux_uses_.find(saying.id);
    if (uses == linux_uses_.end()) {
      it = sayings_.erase(it);
      continue;
    }
    // Another number: the prefixes that lead there are in pooled_, and are settled anew.
    saying.id = hops_.number(
        meaning_of(draft, *saying.says, saying.judgement, std::get<net::Family>(it->first)));
    ++it;
  }
}

void RoutesBuilder::settle(Draft& draft, const net::Prefix& prefix, bool was_strong) {
  tables::NextHopId id = tables::kNoNextHop;
  const auto strong = strong_.find(prefix);
  const tables::NextHopId* found = draft.table->prefixes.exact(prefix);
  const tables::NextHopId old = found == nullptr ? tables::kNoNextHop : *found;
  pooled_.erase(prefix);
  if (strong != strong_.end()) {
    id = hops_.number(strong->second);
  } else if (const LinuxRoute* route = draft.linux_routes().find(prefix);
             route != nullptr && is_carried(prefix, *route)) {
    id = linux_hop(draft, prefix, *route);
    ++linux_uses_[id];
  }
  if (old != tables::kNoNextHop && !was_strong) {
    const auto uses = linux_uses_.find(old);
    if (--uses->second == 0) linux_uses_.erase(uses);
  }
  if (id == old) return;
  draft.moved = true;
  if (id == tables::kNoNextHop) {
    draft.table->prefixes.erase(prefix);
  } else {
    draft.table->prefixes.set(prefix, id);
  }
}

// Does one of them lead to a node or a neighbour, or take its way? Or is it a node's range, told of
// for the first time?
bool RoutesBuilder::concerns_others(const std::vector<net::Prefix>& changed) const {
  return std::any_of(changed.begin(), changed.end(), [&](const net::Prefix& prefix) {
    if (config_.bgp && owners_.contains(prefix) && !told_.contains(prefix)) return true;
    const auto next = asked_.lower_bound(prefix.address);
    return next != asked_.end() && prefix.contains(*next);
  });
}

RoutesBuilder::Result RoutesBuilder::build(const Inputs& inputs, const ThisNode& self,
                                           const PortsBuilder::Result& ports, bool others_changed) {
  Draft draft{.inputs = inputs,
              .self = self,
              .ports = ports,
              .table = last_ == nullptr ? std::make_shared<tables::RouteTable>()
                                        : std::make_shared<tables::RouteTable>(*last_)};
  const bool many_unused = hops_.size() > 2 * hops_after_draft_ + kUnusedHops;
  if (others_changed || last_ == nullptr || many_unused || concerns_others(inputs.changed_routes)) {
    build_all(draft);
  } else {
    for (const net::Prefix& prefix : inputs.changed_routes) {
      if (!strong_.contains(prefix)) settle(draft, prefix, false);
    }
  }
  hops_.write(*draft.table);
  if (draft.moved || last_ == nullptr) ++generation_;
  last_ = std::move(draft.table);
  return {last_, generation_, {wanted_.begin(), wanted_.end()}};
}

void RoutesBuilder::build_all(Draft& draft) {
  const auto strong_before = std::exchange(strong_, {});
  const auto pools_before = pools_;
  const auto ranges_before =
      std::exchange(service_ranges_, service_ranges(config_, draft.inputs.store));
  draft_others(draft);
  say_linux_anew(draft);
  std::set<net::Prefix> dirty(draft.inputs.changed_routes.begin(),
                              draft.inputs.changed_routes.end());
  if (pools_ != pools_before || service_ranges_ != ranges_before) {
    draft.linux_routes().for_each(
        [&](const net::Prefix& prefix, const LinuxRoute&) { dirty.insert(prefix); });
  } else {
    dirty.insert(pooled_.begin(), pooled_.end());
  }
  for (const auto& [prefix, meaning] : strong_before) {
    const auto now = strong_.find(prefix);
    if (now == strong_.end() || now->second != meaning) dirty.insert(prefix);
  }
  for (const auto& [prefix, meaning] : strong_) {
    if (!strong_before.contains(prefix)) dirty.insert(prefix);
  }
  for (const net::Prefix& prefix : dirty) {
    settle(draft, prefix, strong_before.contains(prefix));
  }
  hops_.end();
  hops_after_draft_ = hops_.size();
}

void RoutesBuilder::add_problems(const Inputs& inputs, std::vector<Problem>& problems) const {
  problems.insert(problems.end(), problems_.begin(), problems_.end());
  const LinuxRoutes& routes = *inputs.linux_state.routes;
  if (routes.refused() == 0) return;
  problems.push_back({"Linux", "has " + std::to_string(routes.refused()) +
                                   " prefixes more than routes-max, " +
                                   std::to_string(routes.limit()) +
                                   ", lets in: packets to them take the way of shorter prefixes"});
}

}  // namespace podwire::control::build
