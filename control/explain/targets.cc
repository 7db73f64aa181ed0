// The half of Explainer that finds where a flow goes: names, addresses and Services' backends.
#include <algorithm>
#include <map>

#include "control/explain/explainer.h"

namespace podwire::control::explain {
namespace {

constexpr std::size_t kMostPaths = 10'000;  // of one question

std::optional<net::Address> of_family(const std::vector<net::Address>& addresses,
                                      net::Family family) {
  const auto found = std::ranges::find_if(
      addresses, [&](const net::Address& address) { return address.family() == family; });
  return found == addresses.end() ? std::nullopt : std::optional(*found);
}

const kube::ServicePort* find_port(const kube::Service& service, const Question& question) {
  const auto found = std::ranges::find_if(service.ports, [&](const kube::ServicePort& port) {
    if (port.protocol != question.protocol) return false;
    return question.port_name.empty() ? port.port == question.port
                                      : port.name == question.port_name;
  });
  return found == service.ports.end() ? nullptr : &*found;
}

// A named port of a pod; 0: it has none of that name.
std::uint16_t port_of(const End& end, const Question& question) {
  if (question.port_name.empty()) return question.port;
  if (end.pod == nullptr) return 0;
  for (const kube::ContainerPort& port : end.pod->ports) {
    if (port.name == question.port_name && port.protocol == question.protocol) return port.port;
  }
  return 0;
}

std::string asked_port(const Question& question) {
  if (!has_ports(question.protocol)) return protocol_name(question.protocol);
  return protocol_name(question.protocol) + " port " +
         (question.port_name.empty() ? std::to_string(question.port)
                                     : "\"" + question.port_name + "\"");
}

}  // namespace

Explainer::Task Explainer::prepare(std::string_view line) {
  Task task;
  auto question = parse_question(line);
  if (!question) {
    task.error = question.error().message;
    return task;
  }
  task.question = std::move(*question);
  if (in_force_.attachments != nullptr &&
      (in_force_.snapshot == nullptr || !in_force_.snapshot->synced)) {
    task.answer.reason = "podwired has not read every object yet";
    return task;
  }
  const auto from = ends_.find(task.question.from);
  const auto to = ends_.find(task.question.to);
  if (!from || !to) {
    task.answer.reason = from ? "to: " + to.error().message : "from: " + from.error().message;
    return task;
  }
  for (const auto& [end, source] : sources_of(**from, **to)) {
    find_targets(*end, source, **to, task);
    if (task.targets.size() <= kMostPaths) continue;
    task.targets.clear();
    task.answer.reason = "there are more than " + std::to_string(kMostPaths) + " paths";
    return task;
  }
  if (task.targets.empty() && task.answer.reason.empty()) {
    task.answer.reason = "the two have no addresses of one family";
  }
  return task;
}

// Whom a Service's name stands for. The slices of headless Services are not kept: theirs are the
// pods that they select.
std::vector<std::pair<const End*, net::Address>> Explainer::members(const kube::Service& service) {
  std::map<net::Address, const End*> found;
  const auto slices = store_.slices_by_service.find(service.meta.full_name());
  if (slices != store_.slices_by_service.end()) {
    for (const std::string& name : slices->second) {
      for (const kube::Endpoint& endpoint : store_.endpoint_slices.at(name).endpoints) {
        if (endpoint.ready) found.emplace(endpoint.address, ends_.of_address(endpoint.address));
      }
    }
  } else if (service.selector && service.cluster_ips.empty()) {
    const std::string& ns = service.meta.ns;
    kube::Selector selector;
    selector.match_labels = *service.selector;
    for (auto pod = store_.pods.lower_bound(ns + "/");
         pod != store_.pods.end() && pod->second.meta.ns == ns; ++pod) {
      const kube::Pod& p = pod->second;
      if (p.finished || !(p.ready || service.publish_not_ready)) continue;
      if (!selector.matches(p.meta.labels)) continue;
      for (const net::Address& ip : p.ips) found.emplace(ip, ends_.of_address(ip));
    }
  }
  std::vector<std::pair<const End*, net::Address>> all;
  for (const auto& [address, end] : found) all.emplace_back(end, address);
  return all;
}

// With the address that each speaks from: of the family that the other end is first reached by.
std::vector<std::pair<const End*, net::Address>> Explainer::sources_of(const End& from,
                                                                       const End& to) {
  std::vector<std::pair<const End*, net::Address>> sources;
  const std::vector<net::Address>* wanted = &to.addresses;
  if (to.service != nullptr) wanted = &to.service->cluster_ips;
  const auto add = [&](const End& end) {
    if (wanted->empty() && !end.addresses.empty()) {
      sources.emplace_back(&end, end.addresses.front());
      return;
    }
    for (const net::Address& address : *wanted) {
      const auto source = of_family(end.addresses, address.family());
      if (!source) continue;
      sources.emplace_back(&end, *source);
      return;
    }
  };
  if (from.kind != End::Kind::service) {
    add(from);
    return sources;
  }
  for (const auto& [end, address] : members(*from.service)) add(*end);
  return sources;
}

void Explainer::add_target(const End& from, const net::Address& source, const End& to,
                           const net::Address& destination, std::uint16_t port, Task& task) {
  if (port == 0 && has_ports(task.question.protocol)) {
    task.answer.reason = to.name + " has no " + asked_port(task.question);
    return;
  }
  task.targets.push_back({&to, source, destination, port, &from});
}

void Explainer::find_targets(const End& from, const net::Address& source, const End& to,
                             Task& task) {
  if (to.service != nullptr) return find_backends(from, source, *to.service, task);
  const auto destination = of_family(to.addresses, source.family());
  if (!destination) return;
  if (to.kind != End::Kind::pod && has_ports(task.question.protocol)) {
    if (find_frontend(from, source, *destination, task)) return;
  }
  add_target(from, source, to, *destination, port_of(to, task.question), task);
}

// An address that may be a Service's. True when it is, whatever came of it.
bool Explainer::find_frontend(const End& from, const net::Address& source,
                              const net::Address& address, Task& task) {
  if (in_force_.snapshot != nullptr && task.question.port_name.empty()) {
    const auto* frontend = in_force_.snapshot->services->find(
        address, net::be16(task.question.port), task.question.protocol);
    if (frontend != nullptr && frontend->service != nullptr) {
      const std::string& name = frontend->service->name;
      const auto service = store_.services.find(name.substr(0, name.find(':')));
      if (service != store_.services.end()) {
        const auto port =
            std::ranges::find_if(service->second.ports, [&](const kube::ServicePort& p) {
              return service->first + ":" + p.name == name && p.protocol == task.question.protocol;
            });
        if (port != service->second.ports.end()) {
          follow_frontend(from, source, service->second, address, *port, task);
          return true;
        }
      }
    }
  }
  const kube::Service* service = ends_.service_at(address);
  if (service == nullptr) return false;
  if (const auto* port = find_port(*service, task.question)) {
    follow_frontend(from, source, *service, address, *port, task);
  } else {
    task.answer.verdict = Verdict::deny;
    task.answer.service = service->meta.full_name();
    task.answer.reason = "the Service has no " + asked_port(task.question);
  }
  return true;
}

void Explainer::find_backends(const End& from, const net::Address& source,
                              const kube::Service& service, Task& task) {
  task.answer.service = service.meta.full_name();
  const kube::ServicePort* port = find_port(service, task.question);
  if (port == nullptr) {
    task.answer.verdict = Verdict::deny;
    task.answer.reason = "the Service has no " + asked_port(task.question);
    return;
  }
  if (const auto address = of_family(service.cluster_ips, source.family())) {
    return follow_frontend(from, source, service, *address, *port, task);
  }
  // Headless: its name stands for the pods' own addresses, and nothing translates the port.
  for (const auto& [end, address] : members(service)) {
    if (address.family() == source.family()) {
      add_target(from, source, *end, address, port->port, task);
    }
  }
  if (task.targets.empty()) task.answer.reason = "no ready pod of the Service is known";
}

// The backends as the table of the node has them at which the flow begins.
void Explainer::follow_frontend(const End& from, const net::Address& source,
                                const kube::Service& service, const net::Address& address,
                                const kube::ServicePort& port, Task& task) {
  task.answer.service = service.meta.full_name();
  const bool here = in_force_.snapshot != nullptr &&
                    (is_local(from) || from.kind == End::Kind::address || from.node.empty());
  const tables::ServiceTable& table =
      here ? *in_force_.snapshot->services : others_.services(service, from.node);
  const tables::Frontend* frontend = table.find(address, net::be16(port.port), port.protocol);
  if (frontend == nullptr || frontend->service == nullptr) {
    frontend = table.find(address, net::be16(task.question.port), port.protocol);
  }
  if (frontend == nullptr || frontend->service == nullptr) {
    task.answer.reason = "the Service is not in force";
    return;
  }
  const auto contains = [&](const net::Prefix& range) { return range.contains(source); };
  if (frontend->restrict_sources && std::ranges::none_of(frontend->source_ranges, contains)) {
    task.answer.verdict = Verdict::deny;
    task.answer.reason = "loadBalancerSourceRanges do not hold " + source.to_string();
    return;
  }
  const bool outside = from.kind == End::Kind::address;
  const tables::Service& found = *frontend->service;
  const bool only_local = frontend->kind == tables::FrontendKind::cluster_ip
                              ? found.internal_local
                              : found.external_local && outside;
  const auto& backends = only_local ? found.local : found.cluster;
  if (backends.empty()) {
    task.answer.verdict = Verdict::deny;
    task.answer.reason = only_local && found.has_any_endpoint
                             ? "the Service has no endpoint on this node"
                             : "the Service has no endpoints";
  }
  for (const tables::Backend& backend : backends) {
    add_target(from, source, *ends_.of_address(backend.address), backend.address,
               backend.port.host(), task);
  }
}

}  // namespace podwire::control::explain
