// What this node's bird is to do: objects -> plain values that render.h writes down as BIRD's
// configuration. A pure function. Control thread only.
//
// Sources: projectcalico.org/v3 BGPConfiguration, BGPPeer, BGPFilter, IPPool; what confd makes of
// them (confd/pkg/backends/calico/bgp_processor.go, confd's bird templates).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/build/builder.h"
#include "control/config.h"
#include "control/linux_state.h"
#include "control/store.h"

namespace podwire::control::bgp {

inline constexpr std::uint32_t kDefaultAsNumber = 64512;
inline constexpr std::uint16_t kBgpPort = 179;

struct Peer {
  std::string name;    // of BIRD's protocol: "Mesh_10_0_0_2"
  std::string object;  // what wants it, for messages: "BGPPeer tor", "node mesh"
  std::string node;    // the peer's, when it is one of the cluster's
  net::Address address;
  std::uint16_t port = kBgpPort;
  std::uint32_t as_number = 0, local_as_number = 0;
  std::optional<net::Address> source;
  bool passive = false;  // it is the other that connects
  bool direct = false;   // on a network of this node, and to be watched by BFD as such
  bool bfd = false;
  bool reflector_client = false;
  bool closed = false;  // nothing in, nothing out: a filter of it is unknown
  std::optional<std::string> password;
  std::optional<std::uint32_t> keepalive_seconds, restart_seconds;
  std::optional<std::uint8_t> ttl_security_hops;
  std::uint8_t allowed_local_as = 0;
  kube::BgpPeer::NextHop next_hop = kube::BgpPeer::NextHop::automatic;
  std::optional<net::Address> reachable_by;
  std::vector<std::string> filters;  // of Intent::filters, in their order

  [[nodiscard]] bool external() const { return as_number != local_as_number; }
};

struct Intent {
  net::Address router_id;  // IPv4
  std::uint32_t as_number = kDefaultAsNumber;
  std::uint16_t listen_port = kBgpPort;
  bool bind_address = false;  // listen at the node's address alone
  kube::BgpConfiguration::Log log = kube::BgpConfiguration::Log::info;
  std::vector<std::string> ignored_interfaces;
  std::optional<net::Address> reflector;  // this node's cluster ID
  std::uint32_t bfd_interval_ms = 300;
  std::uint8_t bfd_multiplier = 3;
  std::vector<Peer> peers;  // by name
  std::map<std::string, kube::BgpFilter> filters;
  std::vector<net::Prefix> own;          // State::own_prefixes
  std::set<net::Prefix> service_routes;  // announced for Services
  std::vector<net::Prefix> pools, unexported_pools;
  // Routes of Linux into these pools have it as their source: the node's tunnel address.
  std::optional<net::Address> tunnel_source;
  std::vector<net::Prefix> encapsulating_pools;
  std::set<net::Prefix> unlearned;     // of Services: never taken from others into Linux
  std::vector<net::Prefix> reflected;  // of Services, handed on by a route reflector
  std::vector<std::pair<net::Prefix, std::vector<kube::Community>>> communities;
};

struct IntentInputs {
  const Config& config;
  const Store& store;
  const LinuxState& linux_state;
  std::vector<net::Prefix> own;
  std::set<net::Prefix> service_routes;
};
// Nothing: this node is not known, or has no address to speak BGP with.
std::optional<Intent> intend(IntentInputs inputs, std::vector<build::Problem>& problems);

// The cluster's BGPConfiguration, and this node's own beside it; null where there is none.
const kube::BgpConfiguration* cluster_configuration(const Store& store);
const kube::BgpConfiguration* node_configuration(const Store& store, const std::string& node);

// The node's address for BGP: Calico's annotation, else its InternalIP.
std::optional<net::Address> bgp_address(const kube::Node& node, net::Family family);

// The node's tunnel address, once Linux has it: it refuses routes with a source that is not its
// own.
std::optional<net::Address> tunnel_source(const Store& store, const std::string& node,
                                          const LinuxState& linux_state);

// Adds the peers of this node; the rest of the intent is there already.
void add_peers(const IntentInputs& inputs, const kube::Node& self, Intent& intent,
               std::vector<build::Problem>& problems);

}  // namespace podwire::control::bgp
