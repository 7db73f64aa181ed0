#include "control/build/policy_rules.h"

#include <algorithm>
#include <array>

namespace podwire::control::build {
namespace {

using tables::PolicyAction;

RulePeer peer_of(const kube::PolicyPeer& peer) {
  return {peer.ip_block, peer.namespace_selector, peer.pod_selector.value_or(kube::Selector{})};
}

RulePort port_of(const kube::PolicyPort& port) {
  if (!port.port) return {port.protocol, 0, 0xffff, {}};
  const std::uint16_t first = port.port->number;
  return {port.protocol, first, std::max(first, port.end_port), port.port->name};
}

Rule rule_of(const kube::PolicyRule& rule) {
  Rule made;
  made.any_peer = rule.peers.empty();
  made.any_port = rule.ports.empty();
  for (const kube::PolicyPeer& peer : rule.peers) made.peers.push_back(peer_of(peer));
  for (const kube::PolicyPort& port : rule.ports) made.ports.push_back(port_of(port));
  return made;
}

Policy::Side side_of(bool applies, const std::vector<kube::PolicyRule>& rules) {
  Policy::Side side{applies, {}};
  for (std::uint32_t number = 0; number < rules.size(); ++number) {
    if (!rules[number].understood) continue;
    side.rules.push_back(rule_of(rules[number]));
    side.rules.back().number = number;
  }
  return side;
}

void add_peer(const kube::ClusterPolicyPeer& peer, Rule& rule) {
  if (peer.networks.empty()) rule.peers.push_back({std::nullopt, peer.namespaces, peer.pods});
  for (const net::Prefix& network : peer.networks) {
    rule.peers.push_back({kube::IpBlock{network, {}}, std::nullopt, {}});
  }
}

void add_port(const kube::ClusterPolicyPort& port, Rule& rule) {
  if (port.name.empty()) {
    rule.ports.push_back({port.protocol, port.first, port.last, {}});
    return;
  }
  for (const std::uint8_t protocol : {6, 17, 132}) {
    rule.ports.push_back({protocol, 0, 0xffff, port.name});
  }
}

// The API's "fail closed": a rule to deny or to pass becomes "deny all", one to accept nothing.
std::optional<Rule> rule_of(const kube::ClusterPolicyRule& rule) {
  using Action = kube::ClusterPolicyRule::Action;
  Rule made;
  if (!rule.understood) {
    if (rule.action == Action::accept) return std::nullopt;
    made.action = PolicyAction::deny;
    made.any_peer = made.any_port = true;
    return made;
  }
  made.action = rule.action == Action::accept ? PolicyAction::allow
                : rule.action == Action::deny ? PolicyAction::deny
                                              : PolicyAction::pass;
  made.any_port = rule.ports.empty();
  for (const kube::ClusterPolicyPeer& peer : rule.peers) add_peer(peer, made);
  for (const kube::ClusterPolicyPort& port : rule.ports) add_port(port, made);
  return made;
}

// A ClusterNetworkPolicy isolates nothing: without rules it says nothing of the direction.
Policy::Side side_of(const std::vector<kube::ClusterPolicyRule>& rules) {
  Policy::Side side{!rules.empty(), {}};
  for (std::uint32_t number = 0; number < rules.size(); ++number) {
    auto rule = rule_of(rules[number]);
    if (!rule) continue;
    rule->number = number;
    side.rules.push_back(std::move(*rule));
  }
  return side;
}

}  // namespace

Policy policy_of(const kube::NetworkPolicy& policy) {
  Policy made;
  made.name = policy.meta.full_name();
  made.ns = policy.meta.ns;
  made.pods = policy.pod_selector;
  made.ingress = side_of(policy.isolates_ingress, policy.ingress);
  made.egress = side_of(policy.isolates_egress, policy.egress);
  return made;
}

Policy policy_of(const kube::ClusterNetworkPolicy& policy) {
  using Tier = kube::ClusterNetworkPolicy::Tier;
  Policy made;
  made.name = policy.meta.full_name();
  made.tier = policy.tier == Tier::admin ? tables::PolicyTier::admin : tables::PolicyTier::baseline;
  made.priority = policy.priority;
  made.namespaces = policy.subject.namespaces;
  made.pods = policy.subject.pods;
  made.ingress = side_of(policy.ingress);
  made.egress = side_of(policy.egress);
  return made;
}

}  // namespace podwire::control::build
