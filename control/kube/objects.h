// The Kubernetes objects podwire reads, as far as it reads them. Values are checked when an object
// becomes one of these (control/kube/decode.h): a wrong port or CIDR never gets this far. Field
// names are the API's. Sources: k8s.io/api/{core,discovery,networking}/v1, projectcalico.org/v3
// IPPool, sigs.k8s.io/network-policy-api/apis/v1alpha2.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "control/kube/bgp_objects.h"
#include "control/kube/ipam_objects.h"
#include "control/kube/meta.h"
#include "dataplane/net/address.h"

namespace podwire::control::kube {

struct Requirement {
  enum class Operator : std::uint8_t { in, not_in, exists, does_not_exist };
  std::string key;
  Operator op = Operator::in;
  std::vector<std::string> values;
  auto operator<=>(const Requirement&) const = default;
};
struct Selector {  // empty: matches everything. Absent selectors are std::nullopt where that
                   // differs.
  Labels match_labels;
  std::vector<Requirement> match_expressions;
  [[nodiscard]] bool matches(const Labels& labels) const;
  [[nodiscard]] bool empty() const { return match_labels.empty() && match_expressions.empty(); }
  auto operator<=>(const Selector&) const = default;
};

struct IntOrString {
  std::uint16_t number = 0;  // 0 when `name` is used
  std::string name;
  bool operator==(const IntOrString&) const = default;
};

// Annotation of a Node: its own address in a pool that encapsulates (Calico).
inline constexpr const char* kTunnelAddress = "projectcalico.org/IPv4IPIPTunnelAddr";

struct Node {
  Meta meta;
  std::vector<net::Prefix> pod_cidrs;      // spec.podCIDRs
  std::vector<net::Address> internal_ips;  // status.addresses, InternalIP, in order
  std::optional<net::Prefix>
      ipv4_subnet;  // annotation projectcalico.org/IPv4Address: own subnet's mask
  std::optional<net::Address> tunnel_v4;  // annotation kTunnelAddress
  std::string zone;                       // label topology.kubernetes.io/zone
  // Calico's annotations projectcalico.org/...: what the node speaks BGP with.
  std::optional<net::Address> bgp_v4, bgp_v6;  // IPv4Address, IPv6Address
  std::uint32_t as_number = 0;                 // ASNumber; 0: the cluster's
  std::optional<net::Address> reflector;       // RouteReflectorClusterID; IPv4
  // The cluster autoscaler has marked it with its taint: load balancers are to leave it (KEP-3836).
  bool leaving = false;
  bool operator==(const Node&) const = default;
};

struct Namespace {
  Meta meta;
  bool operator==(const Namespace&) const = default;
};

struct ContainerPort {
  std::string name;
  std::uint16_t port = 0;
  std::uint8_t protocol = 6;
  bool operator==(const ContainerPort&) const = default;
};
struct Pod {
  Meta meta;
  std::string node_name;
  std::vector<net::Address> ips;  // status.podIPs; else annotation cni.projectcalico.org/ipAddrs
  std::vector<ContainerPort> ports;
  bool host_network = false;
  bool finished = false;  // phase Succeeded or Failed
  bool ready = true;      // condition Ready; a manifest without status counts as ready
  bool operator==(const Pod&) const = default;
};

enum class TrafficPolicy : std::uint8_t { cluster, local };
struct ServicePort {
  std::string name;
  std::uint8_t protocol = 6;
  std::uint16_t port = 0;
  std::uint16_t node_port = 0;
  IntOrString target_port;
  bool operator==(const ServicePort&) const = default;
};
struct Service {
  enum class Type : std::uint8_t { cluster_ip, node_port, load_balancer, external_name };
  Meta meta;
  Type type = Type::cluster_ip;
  std::vector<net::Address> cluster_ips;  // empty: headless
  std::vector<net::Address> external_ips;
  std::vector<net::Address>
      load_balancer_ips;  // status.loadBalancer.ingress[].ip with ipMode absent or VIP
  std::vector<net::Prefix> source_ranges;
  std::vector<ServicePort> ports;
  std::optional<Labels> selector;
  TrafficPolicy internal_policy = TrafficPolicy::cluster;
  TrafficPolicy external_policy = TrafficPolicy::cluster;
  std::uint32_t affinity_seconds = 0;
  std::uint16_t health_check_port = 0;  // spec.healthCheckNodePort; 0: none
  bool publish_not_ready = false;
  bool operator==(const Service&) const = default;
};

struct Endpoint {
  net::Address address;
  bool ready = true, serving = true, terminating = false;
  std::string node_name;
  std::string pod;  // targetRef, "namespace/name"; empty when unknown
  std::vector<std::string> zone_hints, node_hints;
  bool operator==(const Endpoint&) const = default;
};
struct EndpointPort {
  std::string name;
  std::uint8_t protocol = 6;
  std::uint16_t port = 0;
  bool operator==(const EndpointPort&) const = default;
};
struct EndpointSlice {
  Meta meta;
  std::string service;  // label kubernetes.io/service-name: a name in the slice's own namespace
  net::Family family = net::Family::v4;
  std::vector<Endpoint> endpoints;
  std::vector<EndpointPort> ports;
  bool operator==(const EndpointSlice&) const = default;
};

struct PolicyPort {
  std::uint8_t protocol = 6;
  std::optional<IntOrString> port;  // absent: every port of the protocol
  std::uint16_t end_port = 0;       // 0: just `port`
  bool operator==(const PolicyPort&) const = default;
};
struct IpBlock {
  net::Prefix cidr;
  std::vector<net::Prefix> except;
  bool operator==(const IpBlock&) const = default;
};
struct PolicyPeer {
  std::optional<Selector> pod_selector;
  std::optional<Selector> namespace_selector;
  std::optional<IpBlock> ip_block;
  bool operator==(const PolicyPeer&) const = default;
};
struct PolicyRule {
  std::vector<PolicyPeer> peers;  // empty: any peer
  std::vector<PolicyPort> ports;  // empty: any port of any protocol
  bool understood = true;         // false: it allows nothing
  bool operator==(const PolicyRule&) const = default;
};
struct NetworkPolicy {
  Meta meta;
  Selector pod_selector;
  bool isolates_ingress = true, isolates_egress = false;  // policyTypes, after defaulting
  std::vector<PolicyRule> ingress, egress;
  std::vector<std::string> doubts;  // "spec.ingress[0].from[0]: ...": what failed closed, and why
  bool operator==(const NetworkPolicy&) const = default;
};

// policy.networking.k8s.io ClusterNetworkPolicy.
struct ClusterPolicyPeer {
  // Pods: the subject and every peer without networks.
  Selector namespaces, pods;
  std::vector<net::Prefix> networks;
  bool operator==(const ClusterPolicyPeer&) const = default;
};
struct ClusterPolicyPort {
  std::uint8_t protocol = 6;
  std::uint16_t first = 0, last = 0xffff;
  std::string name;  // when given: a container's port of whatever protocol and number it has
  bool operator==(const ClusterPolicyPort&) const = default;
};
struct ClusterPolicyRule {
  enum class Action : std::uint8_t { accept, deny, pass };
  std::string name;
  Action action = Action::deny;
  std::vector<ClusterPolicyPeer> peers;
  std::vector<ClusterPolicyPort> ports;  // empty: any port of any protocol
  // False: Accept matches nothing, Deny and Pass deny everything (the API's "fail closed").
  bool understood = true;
  bool operator==(const ClusterPolicyRule&) const = default;
};
struct ClusterNetworkPolicy {
  enum class Tier : std::uint8_t { admin, baseline };
  Meta meta;
  Tier tier = Tier::admin;
  std::uint16_t priority = 0;  // lower goes first
  ClusterPolicyPeer subject;
  std::vector<ClusterPolicyRule> ingress, egress;
  std::vector<std::string> doubts;  // as NetworkPolicy's
  bool operator==(const ClusterNetworkPolicy&) const = default;
};

// networking.k8s.io/v1, KEP-1880: addresses that ClusterIPs are taken from.
struct ServiceCidr {
  Meta meta;
  std::vector<net::Prefix> cidrs;  // spec.cidrs: one, or one of each family
  bool operator==(const ServiceCidr&) const = default;
};

using Object = std::variant<Node, Namespace, Pod, Service, EndpointSlice, NetworkPolicy, IpPool,
                            ServiceCidr, ClusterNetworkPolicy, Secret, BgpConfiguration, BgpPeer,
                            BgpFilter, BlockAffinity, IpamBlock, IpamConfig, IpReservation>;

// In the order of Object's alternatives.
enum class Kind : std::uint8_t {
  node,
  name_space,
  pod,
  service,
  endpoint_slice,
  network_policy,
  ip_pool,
  service_cidr,
  cluster_network_policy,
  secret,
  bgp_configuration,
  bgp_peer,
  bgp_filter,
  block_affinity,
  ipam_block,
  ipam_config,
  ip_reservation
};
inline Kind kind(const Object& object) {
  return static_cast<Kind>(object.index());
}
const char* kind_name(Kind kind);  // "EndpointSlice"

// "Pod default/web": for messages and as the key of an object in the store.
std::string kind_and_name(const Object& object);
const Meta& meta(const Object& object);
Meta& meta(Object& object);

// False for what the API server's selectors of kube-proxy would keep from us (cmd/kube-proxy:
// Services with label service.kubernetes.io/service-proxy-name, EndpointSlices with label
// service.kubernetes.io/headless): such an object is treated as if it were not there.
bool concerns_us(const Object& object);

}  // namespace podwire::control::kube
