// The EndpointSlices of Services with a selector, as Kubernetes' endpointslice controller would
// make them (k8s.io/endpointslice reconciler.go, utils.go), where no slice is given for the
// Service. A change of one pod costs work for the Services that select it. Control thread only.
#pragma once

#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/store_writer.h"

namespace podwire::control::manifests {

class Endpoints {
 public:
  // Reads the writer's pending changes and brings the computed slices up to date with the store.
  void update(StoreWriter& store);

  // Of computed slices; '~' keeps their names apart from any name that can be given.
  static std::string slice_name(const std::string& service, net::Family family, unsigned index);

 private:
  using Names = std::set<std::string>;
  // Objects of a namespace by one label: "namespace/key=value".
  using ByLabel = std::unordered_map<std::string, Names>;

  void index_pod(const Store& store, const std::string& pod, Names& dirty);
  void index_service(const Store& store, const std::string& service, Names& dirty);
  void mark_selecting(const Store& store, const std::string& ns, const kube::Labels& labels,
                      Names& dirty) const;
  void compute(StoreWriter& store, const std::string& service);
  [[nodiscard]] std::vector<kube::EndpointSlice> make_slices(const Store& store,
                                                             const kube::Service& service) const;
  [[nodiscard]] std::vector<const kube::Pod*> find_pods(const Store& store,
                                                        const kube::Service& service) const;

  struct IndexedPod {
    kube::Labels labels;
    bool host_network = false;
  };
  std::unordered_map<std::string, IndexedPod> pods_;       // as they were indexed
  std::unordered_map<std::string, std::string> services_;  // Service to the label it is found by
  ByLabel pods_by_label_, services_by_label_;
  Names host_network_pods_;
  std::map<std::string, Names> computed_;  // by Service: its slices' full names
};

}  // namespace podwire::control::manifests
