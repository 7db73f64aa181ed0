#include "control/store_writer.h"

#include <utility>

namespace podwire::control {
namespace {

using kube::Kind;

template <typename T>
Kind kind_of() {
  return kube::kind(kube::Object(T{}));
}

// The Store's map of a kind, for the type that stands in it.
template <typename T>
Store::Kind<T>& of_type(Store& store) {
  if constexpr (std::is_same_v<T, kube::Node>) return store.nodes;
  if constexpr (std::is_same_v<T, kube::Namespace>) return store.namespaces;
  if constexpr (std::is_same_v<T, kube::Pod>) return store.pods;
  if constexpr (std::is_same_v<T, kube::Service>) return store.services;
  if constexpr (std::is_same_v<T, kube::EndpointSlice>) return store.endpoint_slices;
  if constexpr (std::is_same_v<T, kube::NetworkPolicy>) return store.network_policies;
  if constexpr (std::is_same_v<T, kube::IpPool>) return store.ip_pools;
  if constexpr (std::is_same_v<T, kube::ServiceCidr>) return store.service_cidrs;
  if constexpr (std::is_same_v<T, kube::ClusterNetworkPolicy>) {
    return store.cluster_network_policies;
  }
  if constexpr (std::is_same_v<T, kube::Secret>) return store.secrets;
  if constexpr (std::is_same_v<T, kube::BgpConfiguration>) return store.bgp_configurations;
  if constexpr (std::is_same_v<T, kube::BgpPeer>) return store.bgp_peers;
  if constexpr (std::is_same_v<T, kube::BgpFilter>) return store.bgp_filters;
  if constexpr (std::is_same_v<T, kube::BlockAffinity>) return store.block_affinities;
  if constexpr (std::is_same_v<T, kube::IpamBlock>) return store.ipam_blocks;
  if constexpr (std::is_same_v<T, kube::IpamConfig>) return store.ipam_configs;
  if constexpr (std::is_same_v<T, kube::IpReservation>) return store.ip_reservations;
}

std::string service_of(const kube::EndpointSlice& slice) {
  return slice.service.empty() ? "" : slice.meta.ns + "/" + slice.service;
}

std::vector<std::string> listed(std::set<std::string>&& names) {
  std::vector<std::string> all;
  all.reserve(names.size());
  while (!names.empty()) all.push_back(std::move(names.extract(names.begin()).value()));
  return all;
}

}  // namespace

void StoreWriter::mark(Kind kind, const std::string& full_name) {
  ++store_.version;
  switch (kind) {
    case Kind::node:
      pending_.nodes = true;
      break;
    case Kind::name_space:
      pending_.namespaces = true;
      break;
    case Kind::pod:
      pending_.pods.insert(full_name);
      break;
    case Kind::service:
      pending_.services.insert(full_name);
      break;
    case Kind::network_policy:
      pending_.network_policies.insert(full_name);
      break;
    case Kind::ip_pool:
      pending_.ip_pools = true;
      break;
    case Kind::service_cidr:
      pending_.service_cidrs = true;
      break;
    case Kind::cluster_network_policy:
      pending_.cluster_network_policies.insert(full_name);
      break;
    case Kind::secret:
    case Kind::bgp_configuration:
    case Kind::bgp_peer:
    case Kind::bgp_filter:
      pending_.bgp = true;
      break;
    case Kind::block_affinity:
    case Kind::ipam_block:
      pending_.blocks = true;
      break;
    case Kind::ipam_config:
    case Kind::ip_reservation:
      break;  // for those who take addresses: no table holds them
    case Kind::endpoint_slice:
      break;  // by its Service: mark_slice
  }
}

void StoreWriter::mark_slice(const kube::EndpointSlice& slice, bool exists) {
  const std::string service = service_of(slice);
  if (service.empty()) return;
  pending_.service_endpoints.insert(service);
  if (exists) {
    store_.slices_by_service[service].insert(slice.meta.full_name());
    return;
  }
  auto& all = store_.slices_by_service;
  if (const auto slices = all.find(service); slices != all.end()) {
    slices->second.erase(slice.meta.full_name());
    if (slices->second.empty()) all.erase(slices);
  }
}

template <typename T>
bool StoreWriter::write(Store::Kind<T>& all, T object) {
  std::string name = object.meta.full_name();
  const auto [place, is_new] = all.try_emplace(std::move(name));
  if (!is_new && place->second == object) {
    place->second.meta.origin = std::move(object.meta.origin);
    return false;
  }
  if constexpr (std::is_same_v<T, kube::EndpointSlice>) {
    if (!is_new) mark_slice(place->second, false);
    mark_slice(object, true);
  }
  place->second = std::move(object);
  mark(kind_of<T>(), place->first);
  return true;
}

template <typename T>
bool StoreWriter::erase(Store::Kind<T>& all, Kind kind, const std::string& full_name) {
  const auto place = all.find(full_name);
  if (place == all.end()) return false;
  if constexpr (std::is_same_v<T, kube::EndpointSlice>) mark_slice(place->second, false);
  if constexpr (std::is_same_v<T, kube::Pod>) filled_pods_.erase(full_name);
  mark(kind, full_name);
  all.erase(place);
  return true;
}

bool StoreWriter::put(kube::Object object) {
  if (!kube::concerns_us(object)) {
    return remove(kube::kind(object), kube::meta(object).full_name());
  }
  if (auto* const pod = std::get_if<kube::Pod>(&object)) fill_addresses(*pod);
  return std::visit(
      [this]<typename T>(T&& value) {
        using Type = std::remove_cvref_t<T>;
        return write(of_type<Type>(store_), std::forward<T>(value));
      },
      std::move(object));
}

bool StoreWriter::remove(Kind kind, const std::string& full_name) {
  switch (kind) {
    case Kind::node:
      return erase(store_.nodes, kind, full_name);
    case Kind::name_space:
      return erase(store_.namespaces, kind, full_name);
    case Kind::pod:
      return erase(store_.pods, kind, full_name);
    case Kind::service:
      return erase(store_.services, kind, full_name);
    case Kind::endpoint_slice:
      return erase(store_.endpoint_slices, kind, full_name);
    case Kind::network_policy:
      return erase(store_.network_policies, kind, full_name);
    case Kind::ip_pool:
      return erase(store_.ip_pools, kind, full_name);
    case Kind::service_cidr:
      return erase(store_.service_cidrs, kind, full_name);
    case Kind::cluster_network_policy:
      return erase(store_.cluster_network_policies, kind, full_name);
    case Kind::secret:
      return erase(store_.secrets, kind, full_name);
    case Kind::bgp_configuration:
      return erase(store_.bgp_configurations, kind, full_name);
    case Kind::bgp_peer:
      return erase(store_.bgp_peers, kind, full_name);
    case Kind::bgp_filter:
      return erase(store_.bgp_filters, kind, full_name);
    case Kind::block_affinity:
      return erase(store_.block_affinities, kind, full_name);
    case Kind::ipam_block:
      return erase(store_.ipam_blocks, kind, full_name);
    case Kind::ipam_config:
      return erase(store_.ipam_configs, kind, full_name);
    case Kind::ip_reservation:
      return erase(store_.ip_reservations, kind, full_name);
  }
  return false;
}

void StoreWriter::fill_addresses(kube::Pod& pod) {
  const std::string name = pod.meta.full_name();
  filled_pods_.erase(name);
  if (!pod.ips.empty() || pod.host_network) return;
  const auto given = pod_addresses_.find(name);
  if (given == pod_addresses_.end()) return;
  pod.ips = given->second;
  filled_pods_.insert(name);
}

void StoreWriter::set_pod_addresses(std::map<std::string, std::vector<net::Address>> addresses) {
  const auto before = std::exchange(pod_addresses_, std::move(addresses));
  const auto refresh = [this](const std::string& name) {
    const auto place = store_.pods.find(name);
    if (place == store_.pods.end()) return;
    kube::Pod pod = place->second;
    if (filled_pods_.contains(name)) pod.ips.clear();
    put(std::move(pod));
  };
  for (const auto& [name, ips] : before) {
    if (!pod_addresses_.contains(name)) refresh(name);
  }
  for (const auto& [name, ips] : pod_addresses_) {
    const auto old = before.find(name);
    if (old == before.end() || old->second != ips) refresh(name);
  }
}

const std::set<std::string>* StoreWriter::slices_of(const std::string& service) const {
  const auto found = store_.slices_by_service.find(service);
  return found == store_.slices_by_service.end() ? nullptr : &found->second;
}

Changes StoreWriter::take_changes() {
  Changes changes;
  changes.nodes = pending_.nodes;
  changes.namespaces = pending_.namespaces;
  changes.ip_pools = pending_.ip_pools;
  changes.service_cidrs = pending_.service_cidrs;
  changes.bgp = pending_.bgp;
  changes.blocks = pending_.blocks;
  changes.pods = listed(std::move(pending_.pods));
  changes.services = listed(std::move(pending_.services));
  changes.network_policies = listed(std::move(pending_.network_policies));
  changes.cluster_network_policies = listed(std::move(pending_.cluster_network_policies));
  changes.service_endpoints = listed(std::move(pending_.service_endpoints));
  pending_ = {};
  return changes;
}

}  // namespace podwire::control
