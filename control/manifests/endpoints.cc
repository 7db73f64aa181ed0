#include "control/manifests/endpoints.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace podwire::control::manifests {
namespace {

constexpr const char* kServiceName = "kubernetes.io/service-name";
constexpr const char* kManagedBy = "endpointslice.kubernetes.io/managed-by";

std::string namespace_of(const std::string& full_name) {
  return full_name.substr(0, full_name.find('/'));
}

std::string label_key(const std::string& ns, const std::string& key, const std::string& value) {
  return ns + "/" + key + "=" + value;
}

bool selects(const kube::Labels& selector, const kube::Labels& labels) {
  return std::ranges::all_of(selector, [&](const auto& wanted) {
    const auto label = labels.find(wanted.first);
    return label != labels.end() && label->second == wanted.second;
  });
}

void erase_name(std::unordered_map<std::string, std::set<std::string>>& index,
                const std::string& key, const std::string& name) {
  const auto place = index.find(key);
  if (place == index.end()) return;
  place->second.erase(name);
  if (place->second.empty()) index.erase(place);
}

// A pod on the host's network has the node's addresses, also where its status does not say so.
std::optional<net::Address> find_address(const Store& store, const kube::Pod& pod,
                                         net::Family family) {
  const std::vector<net::Address>* ips = &pod.ips;
  if (ips->empty() && pod.host_network) {
    const auto node = store.nodes.find(pod.node_name);
    if (node == store.nodes.end()) return std::nullopt;
    ips = &node->second.internal_ips;
  }
  const auto found =
      std::ranges::find_if(*ips, [&](const net::Address& ip) { return ip.family() == family; });
  return found == ips->end() ? std::nullopt : std::optional(*found);
}

// podutil.FindPort: a named target is the pod's own port of that name and protocol. A pod without
// it is an endpoint of the other ports only.
std::vector<kube::EndpointPort> resolve_ports(const kube::Service& service, const kube::Pod& pod) {
  std::vector<kube::EndpointPort> ports;
  for (const kube::ServicePort& wanted : service.ports) {
    std::uint16_t number = wanted.target_port.number;
    if (!wanted.target_port.name.empty()) {
      const auto found = std::ranges::find_if(pod.ports, [&](const kube::ContainerPort& port) {
        return port.name == wanted.target_port.name && port.protocol == wanted.protocol;
      });
      if (found == pod.ports.end()) continue;
      number = found->port;
    }
    ports.push_back({wanted.name, wanted.protocol, number});
  }
  return ports;
}

kube::Endpoint make_endpoint(const kube::Service& service, const kube::Pod& pod,
                             const net::Address& address) {
  kube::Endpoint endpoint;
  endpoint.address = address;
  endpoint.serving = pod.ready;
  endpoint.terminating = pod.meta.deleting;
  endpoint.ready = service.publish_not_ready || (pod.ready && !pod.meta.deleting);
  endpoint.node_name = pod.node_name;
  endpoint.pod = pod.meta.full_name();
  return endpoint;
}

// A Service of these has no frontends, or nothing tells which pods are meant.
bool has_computed_slices(const kube::Service& service) {
  return service.selector && !service.cluster_ips.empty();
}

}  // namespace

std::string Endpoints::slice_name(const std::string& service, net::Family family, unsigned index) {
  return service + (family == net::Family::v4 ? "~v4~" : "~v6~") + std::to_string(index);
}

void Endpoints::mark_selecting(const Store& store, const std::string& ns,
                               const kube::Labels& labels, Names& dirty) const {
  for (const auto& [key, value] : labels) {
    const auto found = services_by_label_.find(label_key(ns, key, value));
    if (found == services_by_label_.end()) continue;
    for (const std::string& name : found->second) {
      const auto service = store.services.find(name);
      if (service != store.services.end() && service->second.selector &&
          selects(*service->second.selector, labels)) {
        dirty.insert(name);
      }
    }
  }
}

void Endpoints::index_pod(const Store& store, const std::string& pod, Names& dirty) {
  const std::string ns = namespace_of(pod);
  if (const auto old = pods_.find(pod); old != pods_.end()) {
    mark_selecting(store, ns, old->second.labels, dirty);
    for (const auto& [key, value] : old->second.labels) {
      erase_name(pods_by_label_, label_key(ns, key, value), pod);
    }
    pods_.erase(old);
    host_network_pods_.erase(pod);
  }
  const auto now = store.pods.find(pod);
  if (now == store.pods.end()) return;
  const kube::Labels& labels = now->second.meta.labels;
  for (const auto& [key, value] : labels) pods_by_label_[label_key(ns, key, value)].insert(pod);
  pods_[pod] = {labels, now->second.host_network};
  if (now->second.host_network) host_network_pods_.insert(pod);
  mark_selecting(store, ns, labels, dirty);
}

void Endpoints::index_service(const Store& store, const std::string& service, Names& dirty) {
  if (const auto old = services_.find(service); old != services_.end()) {
    erase_name(services_by_label_, old->second, service);
    services_.erase(old);
  }
  dirty.insert(service);
  const auto now = store.services.find(service);
  if (now == store.services.end() || !has_computed_slices(now->second)) return;
  // Found by its rarest label among the pods that are here now.
  const std::string ns = namespace_of(service);
  std::size_t fewest = SIZE_MAX;
  std::string rarest;
  for (const auto& [key, value] : *now->second.selector) {
    std::string label = label_key(ns, key, value);
    const auto pods = pods_by_label_.find(label);
    const std::size_t count = pods == pods_by_label_.end() ? 0 : pods->second.size();
    if (count < fewest) {
      fewest = count;
      rarest = std::move(label);
    }
  }
  services_by_label_[rarest].insert(service);
  services_[service] = std::move(rarest);
}

void Endpoints::update(StoreWriter& store) {
  const StoreWriter::Pending& pending = store.pending();
  Names dirty;
  for (const std::string& pod : pending.pods) index_pod(store.store(), pod, dirty);
  for (const std::string& service : pending.services) index_service(store.store(), service, dirty);
  dirty.insert(pending.service_endpoints.begin(), pending.service_endpoints.end());
  if (pending.nodes) {
    for (const std::string& pod : host_network_pods_) {
      mark_selecting(store.store(), namespace_of(pod), pods_.at(pod).labels, dirty);
    }
  }
  for (const std::string& service : dirty) compute(store, service);
}

std::vector<const kube::Pod*> Endpoints::find_pods(const Store& store,
                                                   const kube::Service& service) const {
  std::vector<const kube::Pod*> pods;
  const Names* fewest = nullptr;
  for (const auto& [key, value] : *service.selector) {
    const auto found = pods_by_label_.find(label_key(service.meta.ns, key, value));
    if (found == pods_by_label_.end()) return pods;
    if (fewest == nullptr || found->second.size() < fewest->size()) fewest = &found->second;
  }
  if (fewest == nullptr) return pods;
  for (const std::string& name : *fewest) {
    const kube::Pod& pod = store.pods.at(name);
    if (!pod.finished && selects(*service.selector, pod.meta.labels)) pods.push_back(&pod);
  }
  return pods;
}

std::vector<kube::EndpointSlice> Endpoints::make_slices(const Store& store,
                                                        const kube::Service& service) const {
  std::vector<kube::EndpointSlice> slices;
  const std::vector<const kube::Pod*> pods = find_pods(store, service);
  for (const net::Address& cluster_ip : service.cluster_ips) {
    const net::Family family = cluster_ip.family();
    // Pods whose named ports are other numbers stand in a slice of their own.
    std::vector<std::pair<std::vector<kube::EndpointPort>, std::vector<kube::Endpoint>>> groups;
    for (const kube::Pod* const pod : pods) {
      const auto address = find_address(store, *pod, family);
      auto ports = resolve_ports(service, *pod);
      if (!address || ports.empty()) continue;
      auto group = std::ranges::find(groups, ports, [](const auto& g) { return g.first; });
      if (group == groups.end())
        group = groups.emplace(groups.end(), std::move(ports), std::vector<kube::Endpoint>());
      group->second.push_back(make_endpoint(service, *pod, *address));
    }
    unsigned index = 0;
    for (auto& [ports, endpoints] : groups) {
      kube::EndpointSlice slice;
      slice.meta.ns = service.meta.ns;
      slice.meta.name = slice_name(service.meta.name, family, index++);
      slice.meta.labels = {{kServiceName, service.meta.name}, {kManagedBy, "podwire"}};
      slice.meta.origin = service.meta.origin;
      slice.service = service.meta.name;
      slice.family = family;
      slice.ports = std::move(ports);
      slice.endpoints = std::move(endpoints);
      slices.push_back(std::move(slice));
    }
  }
  return slices;
}

void Endpoints::compute(StoreWriter& store, const std::string& service) {
  const auto computed = computed_.find(service);
  Names before;
  if (computed != computed_.end()) before = std::move(computed->second);
  Names now;
  const auto given = [&] {
    const Names* const all = store.slices_of(service);
    return all != nullptr &&
           std::ranges::any_of(*all, [&](const auto& name) { return !before.contains(name); });
  };
  const auto place = store.store().services.find(service);
  if (place != store.store().services.end() && has_computed_slices(place->second) && !given()) {
    for (kube::EndpointSlice& slice : make_slices(store.store(), place->second)) {
      now.insert(slice.meta.full_name());
      store.put(std::move(slice));
    }
  }
  for (const std::string& name : before) {
    if (!now.contains(name)) store.remove(kube::Kind::endpoint_slice, name);
  }
  if (now.empty()) {
    if (computed != computed_.end()) computed_.erase(computed);
  } else {
    computed_[service] = std::move(now);
  }
}

}  // namespace podwire::control::manifests
