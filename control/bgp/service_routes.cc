#include "control/bgp/service_routes.h"

#include <algorithm>

#include "control/bgp/intent.h"

namespace podwire::control::bgp {
namespace {

constexpr const char* kExcluded = "node.kubernetes.io/exclude-from-external-load-balancers";

bool is_single(const net::Prefix& prefix) {
  return prefix.length == (prefix.family() == net::Family::v4 ? 32 : 128);
}

bool covered(const std::vector<net::Prefix>& ranges, const net::Address& address) {
  return std::ranges::any_of(ranges, [&](const auto& range) { return range.contains(address); });
}
bool named(const std::vector<net::Prefix>& ranges, const net::Address& address) {
  return std::ranges::count(ranges, net::Prefix::host(address)) > 0;
}

// Whether a Service has a ready endpoint, on this node or anywhere.
struct Readiness {
  bool here = false, anywhere = false;
};
Readiness readiness_of(const Store& store, const std::string& service, const std::string& node) {
  Readiness readiness;
  const auto slices = store.slices_by_service.find(service);
  if (slices == store.slices_by_service.end()) return readiness;
  for (const std::string& name : slices->second) {
    for (const kube::Endpoint& endpoint : store.endpoint_slices.at(name).endpoints) {
      readiness.anywhere |= endpoint.ready;
      readiness.here |= endpoint.ready && endpoint.node_name == node;
    }
  }
  return readiness;
}

}  // namespace

ServiceRoutes::Ranges ServiceRoutes::read_ranges(const Store& store) const {
  Ranges ranges;
  if (const auto* configuration = cluster_configuration(store); configuration != nullptr) {
    ranges.cluster = configuration->service_cluster_ips;
    ranges.external = configuration->service_external_ips;
    ranges.load_balancer = configuration->service_load_balancer_ips;
    ranges.aggregate = configuration->aggregate_load_balancer_ips;
  }
  const auto self = store.nodes.find(node_name_);
  ranges.excluded = self != store.nodes.end() && self->second.meta.labels.contains(kExcluded);
  return ranges;
}

std::vector<net::Prefix> ServiceRoutes::of_service(const Store& store,
                                                   const std::string& name) const {
  std::vector<net::Prefix> routes;
  const auto found = store.services.find(name);
  if (ranges_.excluded || found == store.services.end()) return routes;
  const kube::Service& service = found->second;
  if (service.type == kube::Service::Type::external_name) return routes;
  const Readiness ready = readiness_of(store, name, node_name_);
  const bool local = service.external_policy == kube::TrafficPolicy::local;
  const auto add = [&](const auto& addresses, const auto& ranges, bool each_when_ready) {
    for (const net::Address& address : addresses) {
      if (!covered(ranges, address)) continue;
      const bool wanted =
          local ? ready.here : named(ranges, address) || (each_when_ready && ready.anywhere);
      if (wanted) routes.push_back(net::Prefix::host(address));
    }
  };
  add(service.cluster_ips, ranges_.cluster, false);
  add(service.external_ips, ranges_.external, false);
  add(service.load_balancer_ips, ranges_.load_balancer, !ranges_.aggregate);
  std::ranges::sort(routes);
  routes.erase(std::unique(routes.begin(), routes.end()), routes.end());
  return routes;
}

bool ServiceRoutes::set_service(const std::string& name, std::vector<net::Prefix> now) {
  bool moved = false;
  for (const net::Prefix& route : now) moved |= ++users_[route] == 1;
  if (const auto before = by_service_.find(name); before != by_service_.end()) {
    for (const net::Prefix& route : before->second) {
      if (--users_[route] > 0) continue;
      users_.erase(route);
      moved = true;
    }
    by_service_.erase(before);
  }
  if (!now.empty()) by_service_.emplace(name, std::move(now));
  return moved;
}

bool ServiceRoutes::follow(const Store& store, const Changes& changes) {
  if (!begun_ || changes.bgp || changes.nodes) {
    Ranges ranges = read_ranges(store);
    if (!begun_ || ranges != ranges_) {
      begun_ = true;
      ranges_ = std::move(ranges);
      by_service_.clear();
      users_.clear();
      for (const auto& [name, service] : store.services) set_service(name, of_service(store, name));
      return true;
    }
  }
  bool moved = false;
  for (const auto* names : {&changes.services, &changes.service_endpoints}) {
    for (const std::string& name : *names) moved |= set_service(name, of_service(store, name));
  }
  return moved;
}

std::set<net::Prefix> ServiceRoutes::routes() const {
  std::set<net::Prefix> all;
  if (ranges_.excluded) return all;
  for (const auto* ranges : {&ranges_.cluster, &ranges_.external, &ranges_.load_balancer}) {
    // A load balancer's range whose addresses go one by one does not go as a whole.
    if (ranges == &ranges_.load_balancer && !ranges_.aggregate) continue;
    for (const net::Prefix& range : *ranges) {
      if (!is_single(range)) all.insert(range);
    }
  }
  for (const auto& [route, users] : users_) all.insert(route);
  return all;
}

}  // namespace podwire::control::bgp
