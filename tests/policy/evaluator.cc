#include "tests/policy/evaluator.h"

#include <algorithm>

namespace podwire::tests {

namespace kube = control::kube;

namespace {

bool holds(const kube::Requirement& requirement, const kube::Labels& labels) {
  using Operator = kube::Requirement::Operator;
  const auto label = labels.find(requirement.key);
  const bool exists = label != labels.end();
  bool listed = false;
  for (const std::string& value : requirement.values) {
    if (exists && value == label->second) listed = true;
  }
  if (requirement.op == Operator::in) return listed;
  if (requirement.op == Operator::not_in) return !listed;  // also without the key
  if (requirement.op == Operator::exists) return exists;
  return !exists;
}

// An empty selector selects everything; all that stands in it must hold.
bool selects(const kube::Selector& selector, const kube::Labels& labels) {
  for (const auto& [key, value] : selector.match_labels) {
    const auto label = labels.find(key);
    if (label == labels.end() || label->second != value) return false;
  }
  for (const kube::Requirement& requirement : selector.match_expressions) {
    if (!holds(requirement, labels)) return false;
  }
  return true;
}

// The number that the pod's first port of that name and protocol has is the flow's.
bool port_is_named(const kube::Pod* pod, const std::string& name, std::uint8_t protocol,
                   std::uint16_t port) {
  if (pod == nullptr) return false;
  for (const kube::ContainerPort& candidate : pod->ports) {
    if (candidate.name == name && candidate.protocol == protocol) return candidate.port == port;
  }
  return false;
}

bool may_be_peer(const kube::Pod& pod) {
  return !pod.host_network && !pod.finished;
}

}  // namespace

// A pod may always speak to itself; the node may always speak to its own pods.
bool Evaluator::allows(const Question& question) const {
  if (question.source == question.destination) return true;
  return end_allows(question, Direction::egress) &&
         (question.from_own_node || end_allows(question, Direction::ingress));
}

// Only the node of a pod judges that end. A pod whose object is not known is closed.
bool Evaluator::end_allows(const Question& question, Direction direction) const {
  const bool egress = direction == Direction::egress;
  const net::Address& own = egress ? question.source : question.destination;
  const net::Address& peer = egress ? question.destination : question.source;
  const auto attached = attached_.find(own);
  if (attached == attached_.end() || attached->second.empty()) return true;
  const auto subject = store_.pods.find(attached->second);
  if (subject == store_.pods.end()) return false;
  const Flow flow{direction,    &subject->second,  peer,
                  pod_at(peer), question.protocol, question.port};
  using Tier = kube::ClusterNetworkPolicy::Tier;
  Answer answer = cluster_tier(flow, Tier::admin);
  if (answer == Answer::none) answer = network_policies(flow);
  if (answer == Answer::none) answer = cluster_tier(flow, Tier::baseline);
  return answer != Answer::deny;
}

// Lower priorities first, then names; rules in their order; the first that matches decides, and
// Pass leaves it to the next tier.
Evaluator::Answer Evaluator::cluster_tier(const Flow& flow,
                                          kube::ClusterNetworkPolicy::Tier tier) const {
  std::vector<const kube::ClusterNetworkPolicy*> policies;
  for (const auto& [name, policy] : store_.cluster_network_policies) {
    const bool about =
        selects(policy.subject.namespaces, labels_of_namespace(flow.subject->meta.ns)) &&
        selects(policy.subject.pods, flow.subject->meta.labels);
    if (policy.tier == tier && about) policies.push_back(&policy);
  }
  std::stable_sort(policies.begin(), policies.end(),
                   [](const auto* a, const auto* b) { return a->priority < b->priority; });
  using Action = kube::ClusterPolicyRule::Action;
  for (const auto* policy : policies) {
    for (const auto& rule :
         flow.direction == Direction::egress ? policy->egress : policy->ingress) {
      if (!rule.understood) {  // "fail closed"
        if (rule.action == Action::accept) continue;
        return Answer::deny;
      }
      if (!rule_matches(rule, flow)) continue;
      if (rule.action == Action::pass) return Answer::none;
      return rule.action == Action::accept ? Answer::allow : Answer::deny;
    }
  }
  return Answer::none;
}

// Policies add up: isolated by any, allowed by any rule of those.
Evaluator::Answer Evaluator::network_policies(const Flow& flow) const {
  const bool egress = flow.direction == Direction::egress;
  Answer answer = Answer::none;
  for (const auto& [name, policy] : store_.network_policies) {
    if (policy.meta.ns != flow.subject->meta.ns) continue;
    if (!selects(policy.pod_selector, flow.subject->meta.labels)) continue;
    if (!(egress ? policy.isolates_egress : policy.isolates_ingress)) continue;
    answer = Answer::deny;
    for (const kube::PolicyRule& rule : egress ? policy.egress : policy.ingress) {
      if (rule.understood && rule_matches(rule, policy.meta.ns, flow)) return Answer::allow;
    }
  }
  return answer;
}

// Ports are those of the pod where the flow goes: the subject of ingress, the peer of egress.
bool Evaluator::rule_matches(const kube::PolicyRule& rule, const std::string& ns,
                             const Flow& flow) const {
  const kube::Pod* target = flow.direction == Direction::egress ? flow.peer_pod : flow.subject;
  bool port_matches = rule.ports.empty();
  for (const kube::PolicyPort& port : rule.ports) {
    if (port.protocol != flow.protocol) continue;
    if (!port.port) {
      port_matches = true;
    } else if (!port.port->name.empty()) {
      port_matches |= port_is_named(target, port.port->name, port.protocol, flow.port);
    } else if (port.end_port == 0) {
      port_matches |= flow.port == port.port->number;
    } else {
      port_matches |= port.port->number <= flow.port && flow.port <= port.end_port;
    }
  }
  bool peer_found = rule.peers.empty();
  for (const kube::PolicyPeer& peer : rule.peers) peer_found |= peer_matches(peer, ns, flow);
  return port_matches && peer_found;
}

bool Evaluator::rule_matches(const kube::ClusterPolicyRule& rule, const Flow& flow) const {
  const kube::Pod* target = flow.direction == Direction::egress ? flow.peer_pod : flow.subject;
  bool port_matches = rule.ports.empty();
  for (const kube::ClusterPolicyPort& port : rule.ports) {
    if (!port.name.empty()) {
      const bool has_ports = flow.protocol == 6 || flow.protocol == 17 || flow.protocol == 132;
      port_matches |= has_ports && port_is_named(target, port.name, flow.protocol, flow.port);
    } else {
      port_matches |=
          port.protocol == flow.protocol && port.first <= flow.port && flow.port <= port.last;
    }
  }
  bool peer_found = false;
  for (const kube::ClusterPolicyPeer& peer : rule.peers) peer_found |= peer_matches(peer, flow);
  return port_matches && peer_found;
}

bool Evaluator::peer_matches(const kube::PolicyPeer& peer, const std::string& ns,
                             const Flow& flow) const {
  if (peer.ip_block) {
    bool inside = peer.ip_block->cidr.contains(flow.peer);
    for (const net::Prefix& except : peer.ip_block->except) {
      if (except.contains(flow.peer)) inside = false;
    }
    return inside;
  }
  if (flow.peer_pod == nullptr) return false;
  const kube::Meta& pod = flow.peer_pod->meta;
  if (!peer.namespace_selector && pod.ns != ns) return false;
  if (peer.namespace_selector && !selects(*peer.namespace_selector, labels_of_namespace(pod.ns))) {
    return false;
  }
  return !peer.pod_selector || selects(*peer.pod_selector, pod.labels);
}

bool Evaluator::peer_matches(const kube::ClusterPolicyPeer& peer, const Flow& flow) const {
  for (const net::Prefix& network : peer.networks) {
    if (network.contains(flow.peer)) return true;
  }
  if (!peer.networks.empty() || flow.peer_pod == nullptr) return false;
  const kube::Meta& pod = flow.peer_pod->meta;
  return selects(peer.namespaces, labels_of_namespace(pod.ns)) && selects(peer.pods, pod.labels);
}

// Of several pods that say an address is theirs: the one attached here; else one that is not being
// deleted; else the first by name. Finished pods have none, those of the host's network the node's.
const kube::Pod* Evaluator::pod_at(const net::Address& address) const {
  if (const auto attached = attached_.find(address); attached != attached_.end()) {
    const auto pod = store_.pods.find(attached->second);
    return pod != store_.pods.end() && may_be_peer(pod->second) ? &pod->second : nullptr;
  }
  const kube::Pod* found = nullptr;
  for (const auto& [name, pod] : store_.pods) {
    if (!may_be_peer(pod)) continue;
    if (std::find(pod.ips.begin(), pod.ips.end(), address) == pod.ips.end()) continue;
    if (found == nullptr || (found->meta.deleting && !pod.meta.deleting)) found = &pod;
  }
  return found;
}

// A namespace that has pods exists, and has its name as a label, whether its object came yet or
// not.
kube::Labels Evaluator::labels_of_namespace(const std::string& name) const {
  kube::Labels labels;
  if (const auto found = store_.namespaces.find(name); found != store_.namespaces.end()) {
    labels = found->second.meta.labels;
  }
  labels["kubernetes.io/metadata.name"] = name;
  return labels;
}

}  // namespace podwire::tests
