// Every object that is in force, by kind and name: the last good version of each. Filled by an
// object source (manifests folder, API server), read by the builders. Control thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/kube/objects.h"

namespace podwire::control {

struct Store {
  template <typename T>
  using Kind = std::map<std::string, T>;  // by Meta::full_name()

  Kind<kube::Node> nodes;
  Kind<kube::Namespace> namespaces;
  Kind<kube::Pod> pods;
  Kind<kube::Service> services;
  Kind<kube::EndpointSlice> endpoint_slices;  // given ones and those computed from selectors
  Kind<kube::NetworkPolicy> network_policies;
  Kind<kube::IpPool> ip_pools;
  Kind<kube::ServiceCidr> service_cidrs;
  Kind<kube::ClusterNetworkPolicy> cluster_network_policies;
  Kind<kube::Secret> secrets;
  Kind<kube::BgpConfiguration> bgp_configurations;
  Kind<kube::BgpPeer> bgp_peers;
  Kind<kube::BgpFilter> bgp_filters;
  Kind<kube::BlockAffinity> block_affinities;
  Kind<kube::IpamBlock> ipam_blocks;
  Kind<kube::IpamConfig> ipam_configs;
  Kind<kube::IpReservation> ip_reservations;
  // Names of the slices that belong to a Service, by its own ("namespace/name"); never empty ones.
  std::map<std::string, std::set<std::string>> slices_by_service;
  std::uint64_t version = 0;  // moves with every change
  bool synced = false;        // every kind's first complete set is here
};

// What changed between two versions of the store: names by kind, so that a build does work in
// proportion.
struct Changes {
  bool nodes = false, namespaces = false, ip_pools = false, service_cidrs = false;
  bool bgp = false;     // Secrets, BGPConfigurations, BGPPeers, BGPFilters
  bool blocks = false;  // BlockAffinities, IPAMBlocks
  std::vector<std::string> pods, services, network_policies;  // full names, also of removed ones
  std::vector<std::string> cluster_network_policies;
  // Services whose slices changed ("namespace/name").
  std::vector<std::string> service_endpoints;
  [[nodiscard]] bool any() const {
    return nodes || namespaces || ip_pools || service_cidrs || bgp || blocks || !pods.empty() ||
           !services.empty() || !network_policies.empty() || !cluster_network_policies.empty() ||
           !service_endpoints.empty();
  }
};

}  // namespace podwire::control
