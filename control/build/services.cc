#include "control/build/services.h"

#include <algorithm>
#include <tuple>

#include "control/build/contradictions.h"

namespace podwire::control::build {
namespace {

using kube::TrafficPolicy;
using tables::FrontendKey;
using tables::FrontendKind;

bool is_served(const kube::Service& service) {
  return service.type != kube::Service::Type::external_name && !service.cluster_ips.empty();
}

bool is_externally_accessible(const kube::Service& service, const kube::ServicePort& port) {
  return port.node_port != 0 || !service.load_balancer_ips.empty() || !service.external_ips.empty();
}

// Endpoints of one Service port over all slices of the family. The same address and port in two
// slices is one endpoint: the one that is not terminating (pkg/proxy/endpointslicecache.go).
std::vector<ServiceEndpoint> join(const std::vector<const kube::EndpointSlice*>& slices,
                                  const kube::ServicePort& port, net::Family family,
                                  const std::string& node) {
  std::map<std::pair<net::Address, std::uint16_t>, ServiceEndpoint> by_place;
  for (const kube::EndpointSlice* slice : slices) {
    if (slice->family != family) continue;
    for (const kube::EndpointPort& p : slice->ports) {
      if (p.port == 0 || p.name != port.name || p.protocol != port.protocol) continue;
      for (const kube::Endpoint& endpoint : slice->endpoints) {
        if (endpoint.address.family() != family) continue;
        const ServiceEndpoint found{&endpoint, p.port,
                                    !endpoint.node_name.empty() && endpoint.node_name == node};
        const auto [place, added] = by_place.try_emplace({endpoint.address, p.port}, found);
        if (!added && !endpoint.terminating) place->second = found;
      }
    }
  }
  std::vector<ServiceEndpoint> joined;
  joined.reserve(by_place.size());
  for (const auto& [place, endpoint] : by_place) joined.push_back(endpoint);
  return joined;
}

bool names(const std::vector<std::string>& hints, const std::string& name) {
  return !name.empty() && std::find(hints.begin(), hints.end(), name) != hints.end();
}

// Which hints count: all ready endpoints must carry them, and one of them must name us.
const std::vector<std::string> kube::Endpoint::*hints_in_force(
    std::span<const ServiceEndpoint> endpoints, const EndpointUse& use) {
  struct Seen {
    bool all = true, ours = false;
  } node, zone;
  for (const ServiceEndpoint& e : endpoints) {
    if (!e.endpoint->ready) continue;
    node.all &= !e.endpoint->node_hints.empty();
    node.ours |= names(e.endpoint->node_hints, use.node);
    zone.all &= !e.endpoint->zone_hints.empty();
    zone.ours |= names(e.endpoint->zone_hints, use.zone);
  }
  if (node.all && node.ours) return &kube::Endpoint::node_hints;
  if (zone.all && zone.ours) return &kube::Endpoint::zone_hints;
  return nullptr;
}

bool equal(const tables::Service& a, const tables::Service& b) {
  return a.name == b.name && a.family == b.family && a.protocol == b.protocol &&
         a.affinity_seconds == b.affinity_seconds && a.internal_local == b.internal_local &&
         a.external_local == b.external_local && a.has_any_endpoint == b.has_any_endpoint &&
         a.cluster == b.cluster && a.local == b.local;
}

bool equal(const tables::Frontend& a, const tables::Frontend& b) {
  return a.service == b.service && a.kind == b.kind && a.restrict_sources == b.restrict_sources &&
         a.source_ranges == b.source_ranges;
}

const char* protocol_name(std::uint8_t protocol) {
  return protocol == 6 ? "TCP" : protocol == 17 ? "UDP" : "SCTP";
}

std::string to_string(const FrontendKey& key) {
  const std::string port = std::to_string(key.port.host()) + "/" + protocol_name(key.protocol);
  if (key.address.is_unspecified()) return "node port " + port;
  const std::string address = key.address.to_string();
  return (key.address.is_v4() ? address : "[" + address + "]") + ":" + port;
}

// loadBalancerSourceRanges of one family for one address. A range of length 0 means no limit. When
// the node is inside, its own connections to the address may also come with that address as source.
void restrict(tables::Frontend& frontend, const kube::Service& service, const net::Address& vip,
              const std::optional<net::Address>& node) {
  bool node_inside = false;
  for (const net::Prefix& range : service.source_ranges) {
    if (range.family() != vip.family()) continue;
    if (range.length == 0) {
      frontend.source_ranges.clear();
      return;
    }
    frontend.source_ranges.push_back(range);
    node_inside |= node && range.contains(*node);
  }
  if (frontend.source_ranges.empty()) return;
  if (node_inside) frontend.source_ranges.push_back(net::Prefix::host(vip));
}

}  // namespace

CategorizedEndpoints categorize_endpoints(std::span<const ServiceEndpoint> endpoints,
                                          const EndpointUse& use) {
  CategorizedEndpoints result;
  const auto fallback = [](const kube::Endpoint& e) { return e.serving && e.terminating; };
  const auto filter = [&](auto&& wanted) {
    std::vector<const ServiceEndpoint*> chosen;
    for (const ServiceEndpoint& e : endpoints) {
      if (wanted(e)) chosen.push_back(&e);
    }
    return chosen;
  };
  // Even externalTrafficPolicy Local needs the cluster's set: for pods and the node itself.
  if (!use.internal_local || use.externally_accessible) {
    const auto hints = hints_in_force(endpoints, use);
    const std::string& me = hints == &kube::Endpoint::node_hints ? use.node : use.zone;
    result.cluster = filter([&](const ServiceEndpoint& e) {
      return e.endpoint->ready && (hints == nullptr || names(e.endpoint->*hints, me));
    });
    if (result.cluster.empty()) {
      result.cluster = filter([&](const ServiceEndpoint& e) { return fallback(*e.endpoint); });
    }
    result.has_any = !result.cluster.empty();
  }
  if (!use.internal_local && !(use.external_local && use.externally_accessible)) return result;
  for (const ServiceEndpoint& e : endpoints) {
    result.has_any |= e.endpoint->ready || fallback(*e.endpoint);
  }
  result.local = filter([](const ServiceEndpoint& e) { return e.local && e.endpoint->ready; });
  if (result.local.empty()) {
    result.local =
        filter([&](const ServiceEndpoint& e) { return e.local && fallback(*e.endpoint); });
  }
  return result;
}

bool ServicesBuilder::KeyOrder::operator()(const FrontendKey& a, const FrontendKey& b) const {
  return std::tuple(a.address, a.port.raw(), a.protocol) <
         std::tuple(b.address, b.port.raw(), b.protocol);
}

std::shared_ptr<const tables::Service> ServicesBuilder::compile(
    const kube::Service& service, const kube::ServicePort& port, net::Family family,
    const std::vector<const kube::EndpointSlice*>& slices, const ThisNode& self) {
  const auto endpoints = join(slices, port, family, self.name);
  const auto sets = categorize_endpoints(
      endpoints, {service.internal_policy == TrafficPolicy::local,
                  service.external_policy == TrafficPolicy::local,
                  is_externally_accessible(service, port), self.name, self.zone});
  auto made = std::make_shared<tables::Service>();
  made->name = service.meta.full_name() + ":" + port.name;
  made->family = family;
  made->protocol = port.protocol;
  made->affinity_seconds = service.affinity_seconds;
  made->internal_local = service.internal_policy == TrafficPolicy::local;
  made->external_local = service.external_policy == TrafficPolicy::local;
  made->has_any_endpoint = sets.has_any;
  const auto backends = [](const std::vector<const ServiceEndpoint*>& from) {
    std::vector<tables::Backend> to;
    to.reserve(from.size());
    for (const ServiceEndpoint* e : from) {
      to.push_back({e->endpoint->address, net::be16(e->port), e->local});
    }
    return to;
  };
  made->cluster = backends(sets.cluster);
  made->local = backends(sets.local);
  const std::string number =
      made->name + "/" + protocol_name(port.protocol) + (family == net::Family::v4 ? "/4" : "/6");
  return keep(number, std::move(made));
}

std::shared_ptr<const tables::Service> ServicesBuilder::keep(
    const std::string& number, std::shared_ptr<tables::Service> made) {
  auto& kept = compiled_[number];
  made->id = kept == nullptr ? next_id_++ : kept->id;
  if (kept == nullptr || !equal(*kept, *made)) kept = std::move(made);
  return kept;
}

ServicesBuilder::Frontends ServicesBuilder::frontends_of(
    const kube::Service& service, const std::vector<const kube::EndpointSlice*>& slices,
    const ThisNode& self) {
  Frontends frontends;
  for (const net::Family family : net::kFamilies) {
    const auto in_family = [&](const net::Address& a) { return a.family() == family; };
    if (std::none_of(service.cluster_ips.begin(), service.cluster_ips.end(), in_family)) continue;
    for (const kube::ServicePort& port : service.ports) {
      const auto compiled = compile(service, port, family, slices, self);
      const auto add = [&](const net::Address& address, std::uint16_t number, FrontendKind kind) {
        if (!in_family(address)) return;
        tables::Frontend frontend;
        frontend.service = compiled;
        frontend.kind = kind;
        if (kind == FrontendKind::load_balancer) {
          restrict(frontend, service, address, self.primary(family));
          frontend.restrict_sources = !frontend.source_ranges.empty();
        }
        frontends.try_emplace({address, net::be16(number), port.protocol}, std::move(frontend));
      };
      for (const auto& ip : service.cluster_ips) add(ip, port.port, FrontendKind::cluster_ip);
      // An address that is both is bound by the source ranges, as in kube-proxy.
      for (const auto& ip : service.load_balancer_ips) {
        add(ip, port.port, FrontendKind::load_balancer);
      }
      for (const auto& ip : service.external_ips) add(ip, port.port, FrontendKind::external_ip);
      if (port.node_port != 0)
        add(net::unspecified(family), port.node_port, FrontendKind::node_port);
    }
  }
  return frontends;
}

// Of several Services that ask for one frontend: whose ClusterIP it is, since nobody may take that
// away by an external address (CVE-2020-8554); else the first by name.
const std::string& ServicesBuilder::winner_of(const Wanted& wanted) {
  const auto owns = [](const auto& one) { return one.second.kind == FrontendKind::cluster_ip; };
  const auto owner = std::ranges::find_if(wanted.by_service, owns);
  return (owner == wanted.by_service.end() ? wanted.by_service.begin() : owner)->first;
}

void ServicesBuilder::put(const FrontendKey& key, tables::ServiceTable& table) {
  const auto found = wanted_.find(key);
  if (found == wanted_.end() || found->second.by_service.empty()) {
    wanted_.erase(key);
    contested_.erase(key);
    table.frontends.erase(key);
    return;
  }
  const auto& by_service = found->second.by_service;
  if (by_service.size() > 1) {
    contested_.insert(key);
  } else {
    contested_.erase(key);
  }
  const tables::Frontend& winner = by_service.at(winner_of(found->second));
  const tables::Frontend* old = table.frontends.find(key);
  if (old == nullptr || !equal(*old, winner)) table.frontends.set(key, winner);
}

void ServicesBuilder::remove(const std::string& name, tables::ServiceTable& table) {
  for (const FrontendKey& key : keys_[name]) {
    wanted_[key].by_service.erase(name);
    put(key, table);
  }
  keys_.erase(name);
  for (const net::Address& ip : cluster_ips_[name]) {
    if (--cluster_ip_users_[ip] != 0) continue;
    cluster_ip_users_.erase(ip);
    table.cluster_ips.erase(ip);
  }
  cluster_ips_.erase(name);
}

void ServicesBuilder::forget(const std::string& owner, tables::ServiceTable& table) {
  remove(owner, table);
  const std::string prefix = owner + ":";
  for (auto it = compiled_.lower_bound(prefix);
       it != compiled_.end() && it->first.starts_with(prefix);) {
    it = compiled_.erase(it);
  }
}

// Only what differs is touched, so that a change of endpoints copies a few shards.
void ServicesBuilder::set_frontends(const std::string& owner, Frontends frontends,
                                    tables::ServiceTable& table) {
  std::set<FrontendKey, KeyOrder>& keys = keys_[owner];
  std::set<FrontendKey, KeyOrder> now;
  for (auto& [key, frontend] : frontends) {
    wanted_[key].by_service[owner] = std::move(frontend);
    put(key, table);
    now.insert(key);
  }
  for (const FrontendKey& key : keys) {
    if (now.contains(key)) continue;
    wanted_[key].by_service.erase(owner);
    put(key, table);
  }
  keys = std::move(now);
}

void ServicesBuilder::rebuild(const std::string& name, const Store& store, const SliceIndex& slices,
                              const ThisNode& self, tables::ServiceTable& table) {
  static const std::vector<const kube::EndpointSlice*> none;
  const auto found = store.services.find(name);
  if (found == store.services.end() || !is_served(found->second)) {
    forget(name, table);
    contradictions_.erase(name);
    return;
  }
  const kube::Service& service = found->second;
  contradictions_.erase(name);
  if (auto said = contradictions(service); !said.empty()) contradictions_[name] = std::move(said);
  const auto of_service = slices.find(name);
  set_frontends(name,
                frontends_of(service, of_service == slices.end() ? none : of_service->second, self),
                table);
  std::vector<net::Address>& ips = cluster_ips_[name];
  if (ips == service.cluster_ips) return;
  for (const net::Address& ip : service.cluster_ips) {
    if (++cluster_ip_users_[ip] == 1) table.cluster_ips.set(ip, true);
  }
  for (const net::Address& ip : ips) {
    if (--cluster_ip_users_[ip] != 0) continue;
    cluster_ip_users_.erase(ip);
    table.cluster_ips.erase(ip);
  }
  ips = service.cluster_ips;
}

ServicesBuilder::SliceIndex ServicesBuilder::index_slices(const Store& store,
                                                          const std::set<std::string>& names) {
  SliceIndex index;
  for (const std::string& name : names) {
    const auto slices = store.slices_by_service.find(name);
    if (slices == store.slices_by_service.end()) continue;
    for (const std::string& slice : slices->second) {
      index[name].push_back(&store.endpoint_slices.at(slice));
    }
  }
  return index;
}

std::vector<net::Address> ServicesBuilder::node_port_addresses(
    const ThisNode& self, const LinuxState& linux_state) const {
  std::vector<net::Address> served;
  for (const net::Family family : net::kFamilies) {
    std::vector<net::Prefix> ranges;
    for (const net::Prefix& range : config_.node_port_addresses) {
      if (range.family() == family) ranges.push_back(range);
    }
    if (config_.node_port_addresses.empty()) {
      if (const auto& primary = self.primary(family)) served.push_back(*primary);
      continue;
    }
    for (const LinuxAddress& a : linux_state.addresses) {
      if (a.address.family() != family || a.address.is_link_local()) continue;
      const bool inside = std::any_of(ranges.begin(), ranges.end(), [&](const net::Prefix& range) {
        return range.contains(a.address);
      });
      if (ranges.empty() || inside) served.push_back(a.address);
    }
  }
  for (const net::Family family : net::kFamilies) served.push_back(node_port_address(family));
  std::sort(served.begin(), served.end());
  served.erase(std::unique(served.begin(), served.end()), served.end());
  return served;
}

ServicesBuilder::Result ServicesBuilder::build(const Inputs& inputs, const ThisNode& self,
                                               bool self_changed) {
  std::set<std::string> names(inputs.changes.services.begin(), inputs.changes.services.end());
  names.insert(inputs.changes.service_endpoints.begin(), inputs.changes.service_endpoints.end());
  const bool same_ranges = last_ != nullptr && !inputs.changes.service_cidrs;
  const bool host_ports = last_ == nullptr || inputs.attachments_changed;
  if (names.empty() && !self_changed && same_ranges && !host_ports) return {last_, nullptr};
  std::set<std::string> changed = names;
  if (self_changed) {
    for (const auto& [name, service] : inputs.store.services) names.insert(name);
  }
  auto table = last_ == nullptr ? std::make_shared<tables::ServiceTable>()
                                : std::make_shared<tables::ServiceTable>(*last_);
  if (host_ports) {
    const bool any = serve_host_ports(inputs, *table);
    if (last_ != nullptr && !any && names.empty() && !self_changed && same_ranges) {
      return {last_, nullptr};
    }
  }
  const SliceIndex slices = index_slices(inputs.store, names);
  for (const std::string& name : names) rebuild(name, inputs.store, slices, self, *table);
  table->node_port_addresses = node_port_addresses(self, inputs.linux_state);
  const auto ranges = service_ranges(config_, inputs.store);
  table->service_ranges.assign(ranges.begin(), ranges.end());
  table->masquerade_all = config_.masquerade_all;
  last_ = std::move(table);
  Result result{last_, nullptr};
  if (config_.udp_cleanup) result.stale_flows = stale_flows(inputs.store, changed, slices);
  return result;
}

void ServicesBuilder::add_problems(std::vector<Problem>& problems) const {
  for (const auto& [name, sentences] : contradictions_) {
    for (const std::string& sentence : sentences) problems.push_back({"Service " + name, sentence});
  }
  for (const FrontendKey& key : contested_) {
    const std::string& winner = winner_of(wanted_.at(key));
    for (const auto& [name, frontend] : wanted_.at(key).by_service) {
      if (name == winner) continue;
      problems.push_back({object_of(name), "is not served on " + to_string(key) + ": " +
                                               object_of(winner) + " has it too and keeps it"});
    }
  }
}

}  // namespace podwire::control::build
