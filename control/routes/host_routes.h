// The routes by which the node's own traffic reaches pods and Services: on the host tap, through
// the gateway into podwire, under kRouteProtocol. Kept in step with the objects and with what Linux
// really holds; only routes of that protocol are ever removed. To pools that encapsulate they have
// the node's tunnel address for their source, which is put on the host tap for that. Control thread
// only.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/config.h"
#include "control/routes/mirror.h"
#include "control/routes/netlink.h"
#include "control/store.h"

namespace podwire::control::routes {

class HostRoutes {
 public:
  explicit HostRoutes(const Config& config) : config_(config) {}

  // What the objects ask for: every pool, nodes' pod ranges outside pools, the service ranges, and
  // ClusterIPs outside those. `own` (State::own_prefixes): pods of this node, which see the node by
  // its own address.
  void learn(const Store& store, const Changes& changes, const std::vector<net::Prefix>& own);
  // Puts and removes what differs from `mirror`. Refused ones are logged once and tried again.
  void settle(const Mirror& mirror);
  void remove_all(const Mirror& mirror);

  // The prefixes that learn() has come to. Sorted.
  [[nodiscard]] std::set<net::Prefix> wanted() const;

 private:
  struct Preferred {
    std::optional<net::Address> v4, v6;
  };
  [[nodiscard]] Preferred preferred_sources(const LinuxState& linux_state) const;
  // Whether Linux has it already; the routes follow when it says so.
  bool settle_tunnel_address(const LinuxState& linux_state, int device);
  void put(const net::Prefix& prefix, const std::optional<net::Address>& source, int device);
  void remove(const net::Prefix& prefix, int device);
  bool open();

  const Config& config_;
  std::optional<Netlink> netlink_;
  bool learned_ = false;
  std::set<net::Prefix> ranges_, service_ranges_;
  std::vector<net::Prefix> own_;
  std::map<std::string, std::vector<net::Address>> cluster_ips_;  // by Service
  std::map<net::Address, unsigned> users_;
  std::optional<net::Address> node_v4_, node_v6_, tunnel_v4_;
  std::set<net::Prefix> encapsulating_;         // pools
  std::map<net::Prefix, std::string> refused_;  // with the kernel's reason
};

}  // namespace podwire::control::routes
