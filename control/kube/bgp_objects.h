// Calico's objects about BGP as podwire reads them, and the Secrets that hold their passwords.
// Field names are the API's, units are in the names. Checked like all objects (decode.h). Sources:
// projectcalico.org/v3 BGPConfiguration, BGPPeer, BGPFilter; failureDetectionMode is of Calico
// Enterprise's BGPPeer.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "control/kube/calico_selector.h"
#include "control/kube/meta.h"
#include "dataplane/net/address.h"

namespace podwire::control::kube {

// Where the Secrets of BGP's passwords are: the namespace that podwire's DaemonSet runs in.
inline constexpr const char* kSecretNamespace = "kube-system";

// v1 Secret. Values are never shown, logged or answered.
struct Secret {
  Meta meta;
  std::map<std::string, std::string> values;  // decoded
  bool operator==(const Secret&) const = default;
};
struct SecretKey {  // in kSecretNamespace
  std::string name, key;
  bool operator==(const SecretKey&) const = default;
};

// "65000:100" (RFC 1997, two 16-bit numbers) or "65000:1:2" (RFC 8092, three 32-bit numbers).
struct Community {
  std::vector<std::uint32_t> parts;
  bool operator==(const Community&) const = default;
};
std::optional<Community> parse_community(std::string_view text);

struct PrefixAdvertisement {
  net::Prefix cidr;
  std::vector<std::string> communities;  // values, or names of BgpConfiguration::communities
  bool operator==(const PrefixAdvertisement&) const = default;
};
// "default" is for the cluster; "node.NAME" says otherwise for one node, as far as Calico allows.
struct BgpConfiguration {
  enum class Log : std::uint8_t { debug, info, warning, error, fatal };
  Meta meta;
  std::optional<Log> log_severity;
  std::optional<bool> node_mesh;
  std::uint32_t as_number = 0;  // 0: not given
  std::uint16_t listen_port = 0;
  std::optional<bool> bind_node_ip;
  std::optional<SecretKey> mesh_password;
  std::optional<std::uint32_t> mesh_restart_seconds;
  std::optional<std::vector<std::string>> ignored_interfaces;
  std::vector<net::Prefix> service_cluster_ips, service_external_ips, service_load_balancer_ips;
  bool aggregate_load_balancer_ips = true;
  std::map<std::string, Community> communities;  // by name
  std::vector<PrefixAdvertisement> prefix_advertisements;
  bool operator==(const BgpConfiguration&) const = default;
};

struct BgpPeer {
  enum class NextHop : std::uint8_t { automatic, self, keep };
  Meta meta;
  std::string node;
  std::optional<CalicoSelector> node_selector;  // neither: every node
  std::optional<net::Address> peer_ip;          // or peer_selector
  std::uint16_t peer_port = 0;                  // 0: the usual one
  std::uint32_t as_number = 0;                  // of the peer, with peer_ip
  std::optional<CalicoSelector> peer_selector;  // of nodes
  bool reverse = true;                          // the selected nodes have the peering too
  std::uint32_t local_as_number = 0;            // 0: the node's
  std::optional<SecretKey> password;
  bool source_address = true;  // the node's address; false: whichever Linux takes
  std::optional<std::uint32_t> keepalive_seconds, restart_seconds;
  NextHop next_hop = NextHop::automatic;
  bool keep_original_next_hop = false;  // towards peers of another AS
  std::uint8_t allowed_local_as = 0;
  std::optional<std::uint8_t> ttl_security_hops;
  std::optional<net::Address> reachable_by;
  std::vector<std::string> filters;
  bool bfd = false;  // failureDetectionMode BFDIfDirectlyConnected
  bool operator==(const BgpPeer&) const = default;
};

struct BgpFilterOperation {
  enum class What : std::uint8_t { add_community, prepend_as_path, set_priority };
  What what = What::set_priority;
  Community community;
  std::vector<std::uint32_t> as_path;
  std::uint32_t priority = 0;
  bool operator==(const BgpFilterOperation&) const = default;
};
struct BgpFilterRule {  // every condition that is given must hold
  enum class Match : std::uint8_t { equal, not_equal, in, not_in };
  enum class PeerType : std::uint8_t { any, ebgp, ibgp };
  std::optional<net::Prefix> cidr;
  Match match = Match::in;
  std::optional<std::uint8_t> least_length, most_length;
  bool from_remote_peers = false;
  std::string interface;  // BIRD's pattern
  PeerType peer_type = PeerType::any;
  std::optional<Community> community;
  std::vector<std::uint32_t> as_path_prefix;
  std::optional<std::uint32_t> priority;
  bool accept = false;
  std::vector<BgpFilterOperation> operations;
  bool operator==(const BgpFilterRule&) const = default;
};
struct BgpFilter {
  Meta meta;
  std::vector<BgpFilterRule> export_v4, import_v4, export_v6, import_v6;
  bool operator==(const BgpFilter&) const = default;
};

}  // namespace podwire::control::kube
