// Nodes, pools, local pods and Linux's tables -> RouteTable. Control thread only.
//
// Who wins where two say something about the same prefix, strongest first: own addresses, local
// pods, other nodes' addresses, nodes' pod ranges, Calico's blocks, neighbours, Linux's routes.
// With `bgp = true` a range that a peer has told of is left to what Linux has learned of it. All
// but the last are few and are drafted anew; of Linux's routes, a million perhaps, only those that
// changed are looked at. Sources: projectcalico.org/v3 IPPool (ipipMode), felix/dataplane/linux
// ipip_mgr.go for what CrossSubnet compares.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "control/build/builder.h"
#include "control/build/next_hops.h"
#include "control/build/ports.h"
#include "control/build/this_node.h"
#include "dataplane/tables/routes.h"

namespace podwire::control::build {

class RoutesBuilder {
 public:
  explicit RoutesBuilder(const Config& config) : config_(config) {}

  struct Result {
    std::shared_ptr<const tables::RouteTable> table;
    std::uint32_t generation = 0;  // moved when a prefix leads to another NextHopId
    std::vector<net::Address> wanted_neighbours;
  };
  // `others_changed`: nodes, pools, ports, attachments, or Linux's addresses or neighbours. Else
  // the work is that of Inputs::changed_routes.
  Result build(const Inputs& inputs, const ThisNode& self, const PortsBuilder::Result& ports,
               bool others_changed);
  // All that hold now.
  void add_problems(const Inputs& inputs, std::vector<Problem>& problems) const;

 private:
  // How routes to a prefix are judged: by the pool that it is in.
  struct Judgement {
    kube::TunnelMode mode = kube::TunnelMode::never;
    net::Address owner;  // node whose range it is; unspecified: only its next hop can say
    auto operator<=>(const Judgement&) const = default;
  };
  struct Pool {
    net::Prefix cidr;
    kube::TunnelMode mode;
    bool operator==(const Pool&) const = default;
  };
  struct Saying {
    std::shared_ptr<const LinuxPaths> says;
    Judgement judgement;
    tables::NextHopId id = tables::kNoNextHop;
  };
  // One run of build().
  struct Draft {
    const Inputs& inputs;
    const ThisNode& self;
    const PortsBuilder::Result& ports;
    std::shared_ptr<tables::RouteTable> table;
    bool moved = false;  // some prefix leads to another number

    [[nodiscard]] const LinuxRoutes& linux_routes() const { return *inputs.linux_state.routes; }
  };

  void build_all(Draft& draft);
  void draft_others(Draft& draft);
  // What leads nowhere else: own addresses, local pods, the own range's unused addresses.
  void add_own(Draft& draft);
  void add_nodes(Draft& draft);
  static bool is_learned(const LinuxRoute& route);  // by a routing daemon
  [[nodiscard]] bool is_told(const Draft& draft, const net::Prefix& range);
  // Of another node's pods.
  void add_range(Draft& draft, const net::Prefix& range, const net::Address& node);
  void add_tunnel_address(Draft& draft, const kube::Node& node);
  // Own ones lead nowhere where no pod has an address; others', and single borrowed addresses, to
  // their nodes.
  void add_blocks(Draft& draft);
  void add_neighbours(Draft& draft);
  void add_pools(Draft& draft);
  void say_linux_anew(Draft& draft);

  void add(const net::Prefix& prefix, const std::string& meaning) {
    strong_.try_emplace(prefix, meaning);
  }
  std::string host(Draft& draft);
  std::string blackhole();
  std::string link(Draft& draft, const net::Address& gateway);
  std::string on_link(Draft& draft, net::Family family);
  std::string tunnel(Draft& draft, const net::Address& node);
  tables::NextHop through_uplink(Draft& draft, const net::Address& gateway);
  net::Address gateway_to(Draft& draft, const net::Address& address);

  static bool wants_tunnel(kube::TunnelMode mode, const ThisNode& self, const net::Address& node);
  [[nodiscard]] kube::TunnelMode mode_of_own(const ThisNode& self) const;
  [[nodiscard]] const Pool* pool_of(const net::Prefix& prefix) const;
  [[nodiscard]] Judgement judge(const net::Prefix& prefix) const;
  std::string meaning_of(Draft& draft, const LinuxPaths& says, const Judgement& judgement,
                         net::Family family);
  [[nodiscard]] bool is_carried(const net::Prefix& prefix, const LinuxRoute& route) const;
  std::string path_of(Draft& draft, const LinuxPath& path, const Judgement& judgement,
                      net::Family family);
  tables::NextHopId linux_hop(Draft& draft, const net::Prefix& prefix, const LinuxRoute& route);
  void settle(Draft& draft, const net::Prefix& prefix, bool was_strong);
  [[nodiscard]] bool concerns_others(const std::vector<net::Prefix>& changed) const;

  const Config& config_;
  NextHops hops_;
  std::map<net::Prefix, std::string> strong_;  // all but Linux's routes, to what it means
  std::set<net::Address> node_addresses_;      // of other nodes
  std::map<net::Address, net::Mac> neighbours_;
  std::vector<Pool> pools_;                     // the longest first
  std::map<net::Prefix, net::Address> owners_;  // other nodes' ranges, to the node's address
  std::set<net::Prefix> told_;                  // of owners_, what a peer has told of
  std::map<net::Prefix, std::string> blocks_;   // block_routes()
  std::set<net::Prefix> service_ranges_;
  std::set<net::Address> asked_;   // whose way was looked for in Linux's routes
  std::set<net::Address> wanted_;  // neighbours
  std::vector<Problem> problems_;

  std::map<std::tuple<const LinuxPaths*, Judgement, net::Family>, Saying> sayings_;
  std::unordered_map<tables::NextHopId, std::size_t> linux_uses_;  // prefixes that lead there
  std::set<net::Prefix> pooled_;                                   // Linux's that a pool covers

  std::size_t hops_after_draft_ = 0;
  std::uint32_t generation_ = 0;
  std::shared_ptr<const tables::RouteTable> last_;
};

}  // namespace podwire::control::build
