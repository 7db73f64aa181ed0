// Writes a Store and remembers what changed, so that a build does work in proportion. An object
// that says what it said before is no change. Control thread only.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/kube/objects.h"
#include "control/store.h"

namespace podwire::control {

class StoreWriter {
 public:
  explicit StoreWriter(Store& store) : store_(store) {}

  // Both answer whether anything has changed. An object that is none of ours (kube::concerns_us) is
  // removed.
  bool put(kube::Object object);
  bool remove(kube::Kind kind, const std::string& full_name);

  // The addresses of this node's pods as the CNI plugin gave them, by "namespace/name": all of
  // them. A Pod that says none itself gets these as its ips, for as long as they are here.
  void set_pod_addresses(std::map<std::string, std::vector<net::Address>> addresses);

  [[nodiscard]] const Store& store() const { return store_; }
  // Full names of the slices of a Service ("namespace/name"); null: none.
  [[nodiscard]] const std::set<std::string>* slices_of(const std::string& service) const;

  struct Pending {
    bool nodes = false, namespaces = false, ip_pools = false, service_cidrs = false, bgp = false,
         blocks = false;
    std::set<std::string> pods, services, network_policies, cluster_network_policies,
        service_endpoints;
  };
  // Since the last take_changes().
  [[nodiscard]] const Pending& pending() const { return pending_; }
  Changes take_changes();

 private:
  void mark(kube::Kind kind, const std::string& full_name);
  void mark_slice(const kube::EndpointSlice& slice, bool exists);
  void fill_addresses(kube::Pod& pod);
  template <typename T>
  bool write(Store::Kind<T>& all, T object);
  template <typename T>
  bool erase(Store::Kind<T>& all, kube::Kind kind, const std::string& full_name);

  Store& store_;
  Pending pending_;
  std::map<std::string, std::vector<net::Address>> pod_addresses_;
  std::set<std::string> filled_pods_;  // whose ips are of pod_addresses_
};

}  // namespace podwire::control
