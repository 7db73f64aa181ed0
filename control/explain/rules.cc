#include "control/explain/rules.h"

#include <algorithm>

#include "control/explain/question.h"

namespace podwire::control::explain {
namespace {

// As the compiler has it: every Namespace carries its name as a label.
bool namespace_matches(const Store& store, const kube::Selector& selector, const std::string& ns) {
  kube::Labels labels;
  if (const auto found = store.namespaces.find(ns); found != store.namespaces.end()) {
    labels = found->second.meta.labels;
  }
  labels["kubernetes.io/metadata.name"] = ns;
  return selector.matches(labels);
}

bool peer_matches(const Store& store, const std::string& ns, const kube::PolicyPeer& peer,
                  const Seen& seen) {
  if (peer.ip_block) {
    return peer.ip_block->cidr.contains(seen.peer_address) &&
           std::ranges::none_of(peer.ip_block->except, [&](const net::Prefix& except) {
             return except.contains(seen.peer_address);
           });
  }
  if (seen.peer.kind != End::Kind::pod) return false;
  const kube::Meta& meta = seen.peer.pod->meta;
  if (peer.namespace_selector) {
    if (!namespace_matches(store, *peer.namespace_selector, meta.ns)) return false;
  } else if (meta.ns != ns) {
    return false;
  }
  return !peer.pod_selector || peer.pod_selector->matches(meta.labels);
}

// A name means the port of the end that takes the flow.
std::optional<std::uint16_t> number_of(const kube::PolicyPort& port, const Seen& seen) {
  if (port.port->name.empty()) return port.port->number;
  const End& taker = seen.inward ? seen.pod : seen.peer;
  if (taker.pod == nullptr || taker.kind != End::Kind::pod) return std::nullopt;
  for (const kube::ContainerPort& own : taker.pod->ports) {
    if (own.name == port.port->name && own.protocol == port.protocol) return own.port;
  }
  return std::nullopt;
}

bool port_matches(const kube::PolicyPort& port, const Seen& seen) {
  if (!port.port) return true;
  const auto first = number_of(port, seen);
  return first && *first <= seen.port && seen.port <= std::max(*first, port.end_port);
}

std::string shown(const kube::PolicyPort& port, const Seen& seen) {
  std::string text = protocol_name(port.protocol);
  if (!port.port) return text;
  if (port.port->name.empty()) {
    text += " " + std::to_string(port.port->number);
    return port.end_port == 0 ? text : text + "-" + std::to_string(port.end_port);
  }
  const auto number = number_of(port, seen);
  text += " \"" + port.port->name + "\"";
  return text + (number ? " (" + std::to_string(*number) + ")" : ", which the pod does not have");
}

}  // namespace

const std::vector<kube::PolicyRule>& rules_of(const kube::NetworkPolicy& policy, bool inward) {
  return inward ? policy.ingress : policy.egress;
}

Difference compare(const Store& store, const kube::NetworkPolicy& policy,
                   const kube::PolicyRule& rule, const Seen& seen) {
  Difference best;
  if (!rule.understood) return {true, true, true};
  best.peer =
      !rule.peers.empty() && std::ranges::none_of(rule.peers, [&](const kube::PolicyPeer& peer) {
        return peer_matches(store, policy.meta.ns, peer, seen);
      });
  if (rule.ports.empty()) return best;
  best.protocol = best.port = true;
  for (const kube::PolicyPort& port : rule.ports) {
    Difference now = best;
    now.protocol = port.protocol != seen.protocol;
    now.port = !port_matches(port, seen);
    if (now.count() < best.count()) best = now;
  }
  return best;
}

std::optional<Nearest> nearest(const Store& store, const Seen& seen) {
  std::optional<Nearest> best;
  for (const kube::NetworkPolicy* policy : seen.inward ? seen.pod.ingress : seen.pod.egress) {
    const auto& rules = rules_of(*policy, seen.inward);
    for (std::size_t n = 0; n < rules.size(); ++n) {
      if (!rules[n].understood) continue;
      const Difference differs = compare(store, *policy, rules[n], seen);
      if (!best || differs.count() < best->differs.count()) best = Nearest{policy, n, differs};
    }
  }
  return best;
}

std::string sentence(const Nearest& nearest, const Seen& seen) {
  const kube::PolicyRule& rule = rules_of(*nearest.policy, seen.inward)[nearest.rule];
  std::string text = "policy " + nearest.policy->meta.full_name() +
                     (seen.inward ? " ingress[" : " egress[") + std::to_string(nearest.rule) + "]";
  if (nearest.differs.protocol || nearest.differs.port) {
    text += " allows ";
    for (std::size_t n = 0; n < rule.ports.size(); ++n) {
      text += (n == 0 ? "" : ", ") + shown(rule.ports[n], seen);
    }
    text += ", asked was " + protocol_name(seen.protocol) +
            (has_ports(seen.protocol) ? " " + std::to_string(seen.port) : "");
  }
  if (nearest.differs.peer) {
    text += nearest.differs.count() == 1 ? " does" : ", and does";
    text += std::string(" not name ") + seen.peer.name + (seen.inward ? " in from" : " in to");
  }
  return text;
}

bool speaks_of_addresses(const std::vector<const kube::NetworkPolicy*>& policies, bool inward) {
  return std::ranges::any_of(policies, [&](const kube::NetworkPolicy* policy) {
    return std::ranges::any_of(rules_of(*policy, inward), [](const kube::PolicyRule& rule) {
      return std::ranges::any_of(rule.peers, [](const kube::PolicyPeer& peer) {
        return peer.ip_block && (peer.ip_block->cidr.length != 0 || !peer.ip_block->except.empty());
      });
    });
  });
}

}  // namespace podwire::control::explain
