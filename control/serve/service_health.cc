#include "control/serve/service_health.h"

#include <nlohmann/json.hpp>
#include <set>

namespace podwire::control {
namespace {

// Endpoints of this node that are ready, by address: two ports of one pod count once, one that
// still serves while it terminates does not.
std::size_t count_local(const std::string& service, net::Family family, const std::string& node,
                        const StoreWriter& store) {
  std::set<net::Address> found;
  const auto* slices = store.slices_of(service);
  if (slices == nullptr) return 0;
  for (const std::string& name : *slices) {
    const auto slice = store.store().endpoint_slices.find(name);
    if (slice == store.store().endpoint_slices.end() || slice->second.family != family) continue;
    for (const kube::Endpoint& endpoint : slice->second.endpoints) {
      if (endpoint.ready && endpoint.node_name == node) found.insert(endpoint.address);
    }
  }
  return found.size();
}

}  // namespace

void ServiceHealth::follow(const Changes& changes, const StoreWriter& store) {
  for (const auto* names : {&changes.services, &changes.service_endpoints}) {
    for (const std::string& name : *names) update(name, store);
  }
  addresses_ = state_.snapshot->services->node_port_addresses;
  std::erase_if(addresses_, [](const auto& a) { return a == node_port_address(a.family()); });
  for (auto& [name, check] : checks_) listen(*check);
  std::vector<std::string> sentences;
  for (const auto& [name, sentence] : refused_) sentences.push_back(sentence);
  problems_.tell(std::move(sentences));
}

void ServiceHealth::update(const std::string& service, const StoreWriter& store) {
  const auto& services = store.store().services;
  const auto found = services.find(service);
  if (found == services.end() || found->second.health_check_port == 0) {
    checks_.erase(service);
    refused_.erase(service);
    return;
  }
  const kube::Service& object = found->second;
  auto& check = checks_[service];
  if (check == nullptr || check->port != object.health_check_port) {
    refused_.erase(service);
    check = std::make_unique<Check>(
        Check{object.meta.ns, object.meta.name, object.health_check_port, {}, {}});
  }
  check->local_endpoints.clear();
  for (const net::Address& ip : object.cluster_ips) {
    check->local_endpoints[ip.family()] =
        count_local(service, ip.family(), state_.config.node_name, store);
  }
}

void ServiceHealth::listen(Check& check) {
  const std::string service = check.ns + "/" + check.name;
  const std::set<net::Address> wanted(addresses_.begin(), addresses_.end());
  std::erase_if(check.servers, [&](const auto& entry) {
    return !wanted.contains(entry.first) || !check.local_endpoints.contains(entry.first.family());
  });
  std::string refused;
  for (const net::Address& address : wanted) {
    if (!check.local_endpoints.contains(address.family()) || check.servers.contains(address)) {
      continue;
    }
    auto server = std::make_unique<HttpServer>(
        io_, [this, &check, family = address.family()](const std::string& /*any path*/) {
          return page(check, family);
        });
    if (const auto done = server->listen({address, check.port})) {
      check.servers[address] = std::move(server);
    } else {
      refused = "Service " + service + ": spec.healthCheckNodePort: " + done.error().message;
    }
  }
  if (refused.empty()) {
    refused_.erase(service);
  } else {
    refused_[service] = refused;
  }
}

Page ServiceHealth::page(const Check& check, net::Family family) const {
  const auto found = check.local_endpoints.find(family);
  const std::size_t local = found == check.local_endpoints.end() ? 0 : found->second;
  const bool healthy = proxy_healthy_();
  const nlohmann::ordered_json body = {{"service", {{"namespace", check.ns}, {"name", check.name}}},
                                       {"localEndpoints", local},
                                       {"serviceProxyHealthy", healthy}};
  return {.status = local > 0 && healthy ? 200U : 503U,
          .type = "application/json",
          .body = body.dump(2),
          .headers = {{"X-Load-Balancing-Endpoint-Weight", std::to_string(local)}}};
}

}  // namespace podwire::control
