#include "control/build/builder.h"

#include <algorithm>

#include "control/build/policies.h"
#include "control/build/ports.h"
#include "control/build/routes.h"
#include "control/build/services.h"
#include "control/build/this_node.h"
#include "control/ipam/pools.h"

namespace podwire::control::build {
namespace {

std::vector<Problem> pool_problems(const Store& store) {
  std::vector<Problem> problems;
  for (const auto& [name, other] : overlapping_pools(store)) {
    const net::Prefix& ours = store.ip_pools.at(name).cidr;
    const net::Prefix& theirs = store.ip_pools.at(other).cidr;
    if (ours == theirs) continue;  // the routes say so
    problems.push_back({"IPPool " + name, "spec.cidr: " + ours.to_string() + " overlaps " +
                                              theirs.to_string() + " of IPPool " + other +
                                              ", which keeps the addresses"});
  }
  return problems;
}

}  // namespace

struct Builder::State {
  explicit State(const Config& c) : config(c), services(c), routes(c) {}

  const Config& config;
  PortsBuilder ports;
  ServicesBuilder services;
  PoliciesBuilder policies;
  RoutesBuilder routes;

  bool first = true;
  std::uint64_t generation = 0;
  ThisNode self;
  PortsBuilder::Result port_result;
  RoutesBuilder::Result route_result;
  std::vector<Problem> port_problems, pool_problems;
};

Builder::Builder(const Config& config) : state_(std::make_unique<State>(config)) {}
Builder::~Builder() = default;

Built Builder::build(const Inputs& inputs) {
  State& s = *state_;
  const Changes& changes = inputs.changes;
  const bool ports_change = s.first || inputs.attachments_changed || inputs.linux_changed;
  bool self_changed = s.first;
  if (s.first || changes.nodes || inputs.linux_changed) {
    ThisNode self = describe_this_node(s.config, inputs.store, inputs.linux_state);
    self_changed |= self != s.self;
    s.self = std::move(self);
  }
  if (ports_change) {
    s.port_problems.clear();
    s.port_result = s.ports.build(inputs, s.port_problems);
  }
  const bool others =
      ports_change || changes.nodes || changes.ip_pools || changes.blocks || changes.service_cidrs;
  if (others || !inputs.changed_routes.empty()) {
    s.route_result = s.routes.build(inputs, s.self, s.port_result, others);
  }
  if (s.first || changes.ip_pools) s.pool_problems = pool_problems(inputs.store);
  const auto services = s.services.build(inputs, s.self, self_changed);
  const auto policies = s.policies.build(inputs);
  s.first = false;

  auto snapshot = std::make_unique<tables::Snapshot>();
  snapshot->generation = ++s.generation;
  snapshot->policy_generation = policies.generation;
  snapshot->route_generation = s.route_result.generation;
  snapshot->synced = inputs.store.synced;
  snapshot->ports = s.port_result.table;
  snapshot->services = services.table;
  snapshot->policies = policies.table;
  snapshot->routes = s.route_result.table;
  snapshot->node_addresses = s.self.addresses;

  Built built;
  built.snapshot = std::move(snapshot);
  built.stale_flows = services.stale_flows;
  built.wanted_neighbours = s.route_result.wanted_neighbours;
  built.problems = s.port_problems;
  s.routes.add_problems(inputs, built.problems);
  built.problems.insert(built.problems.end(), s.pool_problems.begin(), s.pool_problems.end());
  s.services.add_problems(built.problems);
  if (inputs.store.synced && !s.self.known) {
    built.problems.push_back({"Node " + s.self.name,
                              "does not exist: this node has no pod range and no zone; add the "
                              "Node or set node-name"});
  }
  return built;
}

}  // namespace podwire::control::build
