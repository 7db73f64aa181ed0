// Services and their endpoints -> ServiceTable. Control thread only.
// Sources: Kubernetes pkg/proxy/{topology,serviceport,endpointslicecache}.go, nftables mode.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "control/build/builder.h"
#include "control/build/this_node.h"
#include "dataplane/tables/services.h"

namespace podwire::control::build {

// An endpoint of one Service port, as its slice says, with the port's number.
struct ServiceEndpoint {
  const kube::Endpoint* endpoint = nullptr;
  std::uint16_t port = 0;
  bool local = false;
};

// What CategorizeEndpoints asks about the Service.
struct EndpointUse {
  bool internal_local = false, external_local = false;
  bool externally_accessible = false;  // has a node port, a load balancer's or an external address
  std::string node, zone;
};

struct CategorizedEndpoints {
  std::vector<const ServiceEndpoint*> cluster, local;
  bool has_any = false;
};

// pkg/proxy/topology.go CategorizeEndpoints.
CategorizedEndpoints categorize_endpoints(std::span<const ServiceEndpoint> endpoints,
                                          const EndpointUse& use);

class ServicesBuilder {
 public:
  struct Result {
    std::shared_ptr<const tables::ServiceTable> table;
    std::function<bool(const observe::FlowRow&)> stale_flows;  // null: none
  };
  explicit ServicesBuilder(const Config& config) : config_(config) {}
  // `self_changed`: everything about this node may be another than at the last build.
  Result build(const Inputs& inputs, const ThisNode& self, bool self_changed);
  // Services that cannot have all they ask for, as of the last build.
  void add_problems(std::vector<Problem>& problems) const;

 private:
  using SliceIndex = std::map<std::string, std::vector<const kube::EndpointSlice*>>;
  struct Wanted {
    std::map<std::string, tables::Frontend> by_service;  // name of the Service -> its frontend
  };
  struct KeyOrder {
    bool operator()(const tables::FrontendKey& a, const tables::FrontendKey& b) const;
  };
  using Frontends = std::map<tables::FrontendKey, tables::Frontend, KeyOrder>;
  // Addresses at which UDP flows of a Service are looked at, with its serving endpoints.
  struct Stale;

  void rebuild(const std::string& name, const Store& store, const SliceIndex& slices,
               const ThisNode& self, tables::ServiceTable& table);
  void remove(const std::string& name, tables::ServiceTable& table);
  [[nodiscard]] Frontends frontends_of(const kube::Service& service,
                                       const std::vector<const kube::EndpointSlice*>& slices,
                                       const ThisNode& self);
  std::shared_ptr<const tables::Service> compile(
      const kube::Service& service, const kube::ServicePort& port, net::Family family,
      const std::vector<const kube::EndpointSlice*>& slices, const ThisNode& self);
  // The one of that number that is in force, if it says the same; else `made`, under its number.
  std::shared_ptr<const tables::Service> keep(const std::string& number,
                                              std::shared_ptr<tables::Service> made);
  // Ports of the node that lead to attached pods; true when there are or were any.
  bool serve_host_ports(const Inputs& inputs, tables::ServiceTable& table);
  [[nodiscard]] Frontends host_ports_of(const Attachment& attachment);
  // Who asks for a frontend, as problems name it.
  static std::string object_of(const std::string& owner);
  void set_frontends(const std::string& owner, Frontends frontends, tables::ServiceTable& table);
  // Of an owner that is gone: its frontends, and its numbers.
  void forget(const std::string& owner, tables::ServiceTable& table);
  static const std::string& winner_of(const Wanted& wanted);
  void put(const tables::FrontendKey& key, tables::ServiceTable& table);
  static SliceIndex index_slices(const Store& store, const std::set<std::string>& names);
  [[nodiscard]] std::vector<net::Address> node_port_addresses(const ThisNode& self,
                                                              const LinuxState& linux_state) const;
  std::function<bool(const observe::FlowRow&)> stale_flows(const Store& store,
                                                           const std::set<std::string>& names,
                                                           const SliceIndex& slices) const;

  const Config& config_;
  std::map<tables::FrontendKey, Wanted, KeyOrder> wanted_;
  std::map<std::string, std::set<tables::FrontendKey, KeyOrder>> keys_;  // by Service
  std::map<std::string, std::vector<net::Address>> cluster_ips_;         // by Service
  std::map<net::Address, unsigned> cluster_ip_users_;
  std::set<tables::FrontendKey, KeyOrder> contested_;
  std::map<std::string, std::vector<std::string>> contradictions_;  // by Service, where there are
  // By "namespace/name:port-name/protocol/family": the numbers flows and affinity remember.
  std::map<std::string, std::shared_ptr<const tables::Service>> compiled_;
  std::set<std::string> host_port_owners_;  // pods' interfaces; after every Service's name
  std::uint32_t next_id_ = 1;
  std::shared_ptr<const tables::ServiceTable> last_;
};

}  // namespace podwire::control::build
