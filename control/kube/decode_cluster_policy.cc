// ClusterNetworkPolicy (sigs.k8s.io/network-policy-api apis/v1alpha2, NPEP-285). The API says of a
// peer that an implementation does not know: fail closed. Here it is so of a rule's every part.
#include <algorithm>

#include "control/kube/decoders.h"

namespace podwire::control::kube {
namespace {

using Doubts = std::vector<std::string>;

constexpr std::size_t kMaxItems = 25;  // of every list

void check_count(const Reader& list, std::size_t count, bool may_be_empty) {
  if (count > kMaxItems) {
    list.refuse(std::to_string(count) + " are given, but " + std::to_string(kMaxItems) +
                " are the most");
  }
  if (count == 0 && !may_be_empty) list.refuse("none is given, but at least one is needed");
}

// The name of its one member; empty when it has none. A member that is null is none.
std::string only_member(const Reader& field) {
  std::string found;
  for (const std::string& key : field.keys()) {
    const Reader member = field[key];
    if (!member.present()) continue;
    if (!found.empty()) member.refuse("is given beside " + found + "; it is one or the other");
    found = key;
  }
  return found;
}

ClusterPolicyPeer decode_pods(const Reader& pods) {
  ClusterPolicyPeer peer;
  const Reader selector = pods["podSelector"];
  if (!selector.present()) selector.refuse("is not given");
  peer.namespaces = decode_selector(pods["namespaceSelector"]);
  peer.pods = decode_selector(selector);
  return peer;
}

ClusterPolicyPeer decode_networks(const Reader& list) {
  ClusterPolicyPeer peer;
  const std::vector<Reader> cidrs = list.elements();
  check_count(list, cidrs.size(), false);
  for (const Reader& element : cidrs) {
    if (!element.present()) element.refuse("is not given");
    if (const auto cidr = element.prefix()) peer.networks.push_back(*cidr);
  }
  return peer;
}

// Nothing: a peer that podwire does not know, which is valid.
std::optional<ClusterPolicyPeer> decode_peer(const Reader& field, bool egress, Doubts& doubts) {
  const std::string kind = only_member(field);
  const Reader member = field[kind];
  if (kind == "pods") return decode_pods(member);
  if (kind == "networks" && egress) return decode_networks(member);
  if (kind == "namespaces") {
    return ClusterPolicyPeer{.namespaces = decode_selector(member), .pods = {}, .networks = {}};
  }
  doubts.push_back(kind.empty() ? field.path() + ": gives no peer that podwire knows"
                                : member.path() + ": is a peer that podwire does not know");
  return std::nullopt;
}

void decode_port_range(const Reader& field, ClusterPolicyPort& port) {
  if (!field.present()) return;
  const std::string kind = only_member(field);
  const Reader number = field["number"];
  const Reader first = field["range"]["start"], last = field["range"]["end"];
  if (kind == "number") {
    port.first = port.last = number.port();
  } else if (kind == "range") {
    for (const Reader& end : {first, last}) {
      if (!end.present()) end.refuse("is not given");
    }
    port.first = first.port(1);
    port.last = last.port(0xffff);
    if (port.first >= port.last) {
      last.refuse(last.shown() + " is not more than start, " + std::to_string(port.first));
    }
  } else {
    field.refuse("gives neither number nor range");
  }
}

ClusterPolicyPort decode_port(const Reader& field) {
  ClusterPolicyPort port;
  const std::string kind = only_member(field);
  const Reader member = field[kind];
  if (kind == "destinationNamedPort") {
    port.name = member.text();
    if (port.name.empty()) member.refuse(member.shown() + " is not a port's name");
    return port;
  }
  static constexpr std::pair<std::string_view, std::uint8_t> kProtocols[] = {
      {"tcp", 6}, {"udp", 17}, {"sctp", 132}};
  const auto* const known =
      std::ranges::find(kProtocols, kind, [](const auto& item) { return item.first; });
  if (known == std::end(kProtocols)) {
    field.refuse("gives none of tcp, udp, sctp and destinationNamedPort");
    return port;
  }
  port.protocol = known->second;
  for (const std::string& key : member.keys()) {
    if (key != "destinationPort") member[key].refuse("is a match that podwire does not know");
  }
  decode_port_range(member["destinationPort"], port);
  return port;
}

void decode_protocols(const Reader& list, ClusterPolicyRule& rule) {
  const std::vector<Reader> all = list.elements();
  if (list.present()) check_count(list, all.size(), false);
  for (const Reader& element : all) {
    rule.ports.push_back(decode_port(element));
    const bool on_networks = std::ranges::any_of(
        rule.peers, [](const ClusterPolicyPeer& peer) { return !peer.networks.empty(); });
    if (!rule.ports.back().name.empty() && on_networks) {
      element.refuse("names a port, but networks have no named ports");
    }
  }
}

void decode_match(const Reader& field, bool egress, ClusterPolicyRule& rule, Doubts& doubts) {
  const Reader peers = field[egress ? "to" : "from"];
  const std::vector<Reader> all = peers.elements();
  check_count(peers, all.size(), false);
  for (const Reader& element : all) {
    const auto peer = decode_peer(element, egress, doubts);
    rule.understood &= peer.has_value();
    if (peer) rule.peers.push_back(*peer);
  }
  decode_protocols(field["protocols"], rule);
  constexpr std::size_t kMaxName = 100;
  rule.name = field["name"].text();
  if (rule.name.size() > kMaxName) field["name"].refuse("is longer than 100 characters");
}

ClusterPolicyRule::Action decode_action(const Reader& action) {
  if (!action.present()) action.refuse("is not given");
  return static_cast<ClusterPolicyRule::Action>(action.one_of({"Accept", "Deny", "Pass"}, 1));
}

std::vector<ClusterPolicyRule> decode_rules(const Reader& field, bool egress, Doubts& doubts) {
  std::vector<ClusterPolicyRule> rules;
  const bool is_list = read_part(
      field, doubts, [](const Reader& list) { check_count(list, list.elements().size(), true); });
  for (const Reader& element : field.elements()) {
    ClusterPolicyRule rule;
    const bool right = read_part(element["action"], doubts, [&](const Reader& action) {
      rule.action = decode_action(action);
    });
    rule.understood = right;
    const auto read = [&](const Reader& part) { decode_match(part, egress, rule, doubts); };
    rule.understood &= read_part(element, doubts, read);
    rules.push_back(std::move(rule));
  }
  if (!is_list && rules.empty()) rules.emplace_back().understood = false;
  return rules;
}

void decode_policy_subject(const Reader& field, ClusterPolicyPeer& subject, Doubts& doubts) {
  std::string kind;
  read_part(field, doubts, [&](const Reader& part) {
    kind = only_member(part);
    if (kind != "namespaces" && kind != "pods") part.refuse("gives neither namespaces nor pods");
    const Reader pods = part["pods"]["podSelector"];
    if (kind == "pods" && !pods.present()) pods.refuse("is not given");
  });
  if (kind == "namespaces") subject.namespaces = decode_subject(field["namespaces"], doubts);
  if (kind != "pods") return;
  subject.namespaces = decode_subject(field["pods"]["namespaceSelector"], doubts);
  subject.pods = decode_subject(field["pods"]["podSelector"], doubts);
}

// Where it stands or whom it is about is not understood: it goes first and is about more pods
// rather than fewer, so that it may forbid and no more.
void let_it_only_deny(ClusterNetworkPolicy& policy) {
  policy.tier = ClusterNetworkPolicy::Tier::admin;
  policy.priority = 0;
  for (auto* rules : {&policy.ingress, &policy.egress}) {
    for (ClusterPolicyRule& rule : *rules) {
      if (rule.action != ClusterPolicyRule::Action::deny) rule.understood = false;
    }
  }
}

}  // namespace

ClusterNetworkPolicy decode_cluster_network_policy(const Reader& object, Meta meta) {
  ClusterNetworkPolicy policy;
  policy.meta = std::move(meta);
  const Reader spec = object["spec"];
  read_part(spec, policy.doubts, [&](const Reader& part) {
    const Reader tier = part["tier"], priority = part["priority"];
    if (!tier.present()) tier.refuse("is not given");
    policy.tier = static_cast<ClusterNetworkPolicy::Tier>(tier.one_of({"Admin", "Baseline"}, 0));
    if (!priority.present()) priority.refuse("is not given");
    policy.priority = static_cast<std::uint16_t>(priority.integer(0, 1000, 0));
  });
  decode_policy_subject(spec["subject"], policy.subject, policy.doubts);
  const bool head_understood = policy.doubts.empty();
  policy.ingress = decode_rules(spec["ingress"], false, policy.doubts);
  policy.egress = decode_rules(spec["egress"], true, policy.doubts);
  if (!head_understood) let_it_only_deny(policy);
  return policy;
}

}  // namespace podwire::control::kube
