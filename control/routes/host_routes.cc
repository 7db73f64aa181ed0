#include "control/routes/host_routes.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "control/build/this_node.h"
#include "control/log.h"
#include "control/routes/host_link.h"

namespace podwire::control::routes {
namespace {

bool covered(const std::set<net::Prefix>& ranges, const net::Prefix& prefix) {
  return std::any_of(ranges.begin(), ranges.end(), [&](const net::Prefix& range) {
    return range != prefix && range.contains(prefix);
  });
}

}  // namespace

void HostRoutes::learn(const Store& store, const Changes& changes,
                       const std::vector<net::Prefix>& own) {
  own_ = own;
  if (changes.nodes || changes.ip_pools || changes.service_cidrs || !learned_) {
    learned_ = true;
    ranges_ = service_ranges_ = build::service_ranges(config_, store);
    encapsulating_.clear();
    for (const auto& [name, pool] : store.ip_pools) {
      ranges_.insert(pool.cidr);
      if (pool.ipip != kube::TunnelMode::never) encapsulating_.insert(pool.cidr);
    }
    for (const auto& [name, node] : store.nodes) {
      for (const net::Prefix& range : node.pod_cidrs) {
        if (!covered(ranges_, range)) ranges_.insert(range);
      }
    }
    const auto self = store.nodes.find(config_.node_name);
    if (self != store.nodes.end()) {
      node_v4_ = build::internal_ip(self->second, net::Family::v4);
      node_v6_ = build::internal_ip(self->second, net::Family::v6);
      tunnel_v4_ = build::tunnel_address(self->second, store);
    }
  }
  for (const std::string& name : changes.services) {
    std::vector<net::Address> now;
    if (const auto found = store.services.find(name); found != store.services.end()) {
      if (found->second.type != kube::Service::Type::external_name) {
        now = found->second.cluster_ips;
      }
    }
    for (const net::Address& ip : now) ++users_[ip];
    for (const net::Address& ip : cluster_ips_[name]) {
      if (--users_[ip] == 0) users_.erase(ip);
    }
    if (now.empty()) {
      cluster_ips_.erase(name);
    } else {
      cluster_ips_[name] = std::move(now);
    }
  }
}

std::set<net::Prefix> HostRoutes::wanted() const {
  std::set<net::Prefix> all = ranges_;
  for (const net::Prefix& prefix : own_) {
    if (tunnel_v4_ && prefix != net::Prefix::host(*tunnel_v4_)) all.insert(prefix);
  }
  for (const auto& item : users_) {
    const net::Address& ip = item.first;
    const bool inside = std::any_of(service_ranges_.begin(), service_ranges_.end(),
                                    [&](const net::Prefix& range) { return range.contains(ip); });
    if (!inside) all.insert(net::Prefix::host(ip));
  }
  for (const auto& node : {node_v4_, node_v6_}) {
    if (node) all.insert(net::Prefix::host(node_port_address(node->family())));
  }
  return all;
}

// The node's address where Linux has it; a preferred source that is nobody's is refused.
HostRoutes::Preferred HostRoutes::preferred_sources(const LinuxState& linux_state) const {
  Preferred preferred;
  for (const net::Family family : net::kFamilies) {
    const auto& node = family == net::Family::v4 ? node_v4_ : node_v6_;
    auto& chosen = family == net::Family::v4 ? preferred.v4 : preferred.v6;
    for (const LinuxAddress& a : linux_state.host_tap_addresses) {
      if (a.address.family() != family || a.address.is_link_local() || a.of_link) continue;
      if (!chosen || (node && a.address == *node)) chosen = a.address;
    }
  }
  return preferred;
}

bool HostRoutes::settle_tunnel_address(const LinuxState& linux_state, int device) {
  bool there = false;
  for (const LinuxAddress& a : linux_state.host_tap_addresses) {
    if (!a.of_link) continue;
    if (a.address == tunnel_v4_) {
      there = true;
      continue;
    }
    const auto gone = remove_address(*netlink_, a, device);
    if (!gone && netlink_->last_error() != EADDRNOTAVAIL) {
      log(LogLevel::warning, "tunnel address " + a.address.to_string() +
                                 " cannot be removed: " + gone.error().message);
    }
  }
  if (there || !tunnel_v4_) return there;
  // With the scope of a link it is no one's source but that of routes which name it, and stays here
  // when the node's addresses go back to the uplink.
  const LinuxAddress address{.address = *tunnel_v4_, .length = 32, .of_link = true};
  if (const auto put = put_address(*netlink_, address, device); !put) {
    log(LogLevel::warning, "tunnel address " + tunnel_v4_->to_string() +
                               " cannot be put on the host tap: " + put.error().message);
  }
  return false;
}

bool HostRoutes::open() {
  if (netlink_) return true;
  auto netlink = Netlink::open();
  if (!netlink) {
    log(LogLevel::warning, netlink.error().message);
    return false;
  }
  netlink_ = std::move(*netlink);
  return true;
}

void HostRoutes::put(const net::Prefix& prefix, const std::optional<net::Address>& source,
                     int device) {
  Message message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
  auto& header = message.header<rtmsg>();
  header.rtm_family = prefix.family() == net::Family::v4 ? AF_INET : AF_INET6;
  header.rtm_dst_len = prefix.length;
  header.rtm_table = RT_TABLE_MAIN;
  header.rtm_protocol = kRouteProtocol;
  header.rtm_scope = RT_SCOPE_UNIVERSE;
  header.rtm_type = RTN_UNICAST;
  header.rtm_flags = RTNH_F_ONLINK;
  if (prefix.length > 0) message.put(RTA_DST, prefix.address);
  message.put_u32(RTA_OIF, static_cast<std::uint32_t>(device));
  message.put(RTA_GATEWAY, HostLink::gateway(prefix.family()));
  if (source) message.put(RTA_PREFSRC, *source);
  const auto put = netlink_->request(message);
  if (put) {
    refused_.erase(prefix);
    return;
  }
  std::string& said = refused_[prefix];
  if (said == put.error().message) return;
  said = put.error().message;
  log(LogLevel::warning, "route " + prefix.to_string() + " into podwire is refused: " + said);
}

void HostRoutes::remove(const net::Prefix& prefix, int device) {
  Message message(RTM_DELROUTE, 0);
  auto& header = message.header<rtmsg>();
  header.rtm_family = prefix.family() == net::Family::v4 ? AF_INET : AF_INET6;
  header.rtm_dst_len = prefix.length;
  header.rtm_table = RT_TABLE_MAIN;
  header.rtm_protocol = kRouteProtocol;
  header.rtm_scope = RT_SCOPE_NOWHERE;
  if (prefix.length > 0) message.put(RTA_DST, prefix.address);
  message.put_u32(RTA_OIF, static_cast<std::uint32_t>(device));
  if (const auto gone = netlink_->request(message); !gone && netlink_->last_error() != ESRCH) {
    log(LogLevel::warning,
        "route " + prefix.to_string() + " cannot be removed: " + gone.error().message);
  }
}

void HostRoutes::settle(const Mirror& mirror) {
  const int device = mirror.host_tap_index();
  if (device == 0 || !open()) return;
  const bool tunnels = settle_tunnel_address(mirror.state(), device);
  const Preferred preferred = preferred_sources(mirror.state());
  const std::set<net::Prefix> all = wanted();
  for (const net::Prefix& prefix : all) {
    auto source = prefix.family() == net::Family::v4 ? preferred.v4 : preferred.v6;
    if (tunnels && encapsulating_.contains(prefix)) source = tunnel_v4_;
    const auto held = mirror.own_routes().find(prefix);
    if (held == mirror.own_routes().end() || held->second != source) put(prefix, source, device);
  }
  for (const auto& [prefix, source] : mirror.own_routes()) {
    if (!all.contains(prefix)) remove(prefix, device);
  }
  std::erase_if(refused_, [&](const auto& item) { return !all.contains(item.first); });
}

void HostRoutes::remove_all(const Mirror& mirror) {
  if (mirror.host_tap_index() == 0 || !open()) return;
  for (const auto& [prefix, source] : mirror.own_routes()) {
    remove(prefix, mirror.host_tap_index());
  }
}

}  // namespace podwire::control::routes
