// Services as the workers ask for them: a frontend by (address, port, protocol), then one of its
// backends. Immutable once published; unchanged shards and Services are shared between snapshots.
// Semantics: Kubernetes pkg/proxy (nftables mode), pkg/proxy/topology.go for the two sets.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/net/address.h"
#include "dataplane/tables/sharded_map.h"

namespace podwire::tables {

struct Backend {
  net::Address address;
  net::be16 port;
  bool local = false;  // on this node
  bool operator==(const Backend&) const = default;
};

// One Service port in one family: everything of (namespace/name, port name, protocol).
struct Service {
  // What workers read comes first, on one line.
  std::uint32_t id = 0;  // stable for as long as the Service port exists, over endpoint changes
  std::uint32_t affinity_seconds = 0;  // 0: no session affinity
  bool internal_local = false;         // internalTrafficPolicy: Local
  bool external_local = false;         // externalTrafficPolicy: Local
  bool has_any_endpoint = false;       // usable anywhere in the cluster: DROP instead of REJECT
  net::Family family = net::Family::v4;
  std::uint8_t protocol = 0;
  // The sets of CategorizeEndpoints. New flows choose uniformly at random.
  std::vector<Backend> cluster;
  std::vector<Backend> local;
  std::string name;  // "namespace/name:port-name"
};

enum class FrontendKind : std::uint8_t { cluster_ip, node_port, external_ip, load_balancer };

struct Frontend {
  std::shared_ptr<const Service> service;
  FrontendKind kind = FrontendKind::cluster_ip;
  bool restrict_sources = false;  // load_balancer only
  std::vector<net::Prefix> source_ranges;
};

struct FrontendKey {
  net::Address address;  // unspecified (of the family) for node ports
  net::be16 port;
  std::uint8_t protocol = 0;
  bool operator==(const FrontendKey&) const = default;
};
struct FrontendKeyHash {
  std::uint64_t operator()(const FrontendKey& key) const noexcept {
    return net::AddressHash{}(key.address) ^
           ((std::uint64_t{key.port.raw()} << 8 | key.protocol) * 0x9e3779b97f4a7c15ULL);
  }
};

struct ServiceTable {
  ShardedMap<FrontendKey, Frontend, FrontendKeyHash> frontends;
  // Addresses that belong to a live Service: any other port of them is refused (cluster IPs only).
  ShardedMap<net::Address, bool, net::AddressHash> cluster_ips;
  // Addresses on which node ports are served: this node's own, by nodePortAddresses.
  std::vector<net::Address> node_port_addresses;
  std::vector<net::Prefix>
      service_ranges;  // ServiceCIDRs: unallocated addresses in them are dropped
  bool masquerade_all = false;

  // Null when no Service is concerned. Worker threads; no allocation.
  [[nodiscard]] const Frontend* find(const net::Address& destination, net::be16 port,
                                     std::uint8_t protocol) const noexcept;
  [[nodiscard]] bool is_cluster_ip(const net::Address& address) const noexcept {
    return cluster_ips.find(address) != nullptr;
  }
  [[nodiscard]] bool in_service_range(const net::Address& address) const noexcept;
};

}  // namespace podwire::tables
