// NetworkPolicy (k8s.io/api/networking/v1; rules: k8s.io/kubernetes pkg/apis/networking/validation)
// and IPPool (projectcalico.org/v3). In a NetworkPolicy an empty part and an absent one differ.
#include <algorithm>

#include "control/kube/decoders.h"

namespace podwire::control::kube {
namespace {

Requirement decode_requirement(const Reader& field) {
  Requirement requirement;
  const Reader key = field["key"];
  requirement.key = key.text();
  if (!is_label_key(requirement.key)) key.refuse(key.shown() + " is not a label's name");
  const Reader op = field["operator"];
  if (!op.present()) op.refuse("is not given");
  requirement.op =
      static_cast<Requirement::Operator>(op.one_of({"In", "NotIn", "Exists", "DoesNotExist"}, 0));
  const Reader values = field["values"];
  requirement.values = values.text_list();
  const bool takes_values = requirement.op == Requirement::Operator::in ||
                            requirement.op == Requirement::Operator::not_in;
  if (takes_values && requirement.values.empty()) {
    values.refuse("none is given, but In and NotIn need some");
  }
  if (!takes_values && !requirement.values.empty()) {
    values.refuse("are given, but Exists and DoesNotExist take none");
  }
  for (const Reader& value : values.elements()) {
    if (!is_label_value(value.text())) value.refuse(value.shown() + " is not a label's value");
  }
  return requirement;
}

void decode_match_label(const Reader& label, const std::string& key, Selector& selector) {
  const std::string value = label.text();
  if (!is_label_key(key)) label.refuse("the key is not a label's name");
  if (!is_label_value(value)) label.refuse(label.shown() + " is not a label's value");
  selector.match_labels[key] = value;
}

IpBlock decode_ip_block(const Reader& field) {
  IpBlock block;
  const Reader cidr = field["cidr"];
  if (!cidr.present()) cidr.refuse("is not given");
  block.cidr = cidr.prefix().value_or(net::Prefix{});
  for (const Reader& element : field["except"].elements()) {
    const auto except = element.prefix();
    if (!except) continue;
    if (!block.cidr.contains(*except) || except->length == block.cidr.length) {
      element.refuse(element.shown() + " is not a part of " + cidr.shown());
    }
    block.except.push_back(*except);
  }
  return block;
}

PolicyPeer decode_peer(const Reader& field) {
  PolicyPeer peer;
  const Reader pods = field["podSelector"];
  const Reader namespaces = field["namespaceSelector"];
  const Reader block = field["ipBlock"];
  if (pods.present()) peer.pod_selector = decode_selector(pods);
  if (namespaces.present()) peer.namespace_selector = decode_selector(namespaces);
  if (block.present()) {
    if (peer.pod_selector || peer.namespace_selector) {
      block.refuse("is given beside a selector; a peer is one or the other");
    }
    peer.ip_block = decode_ip_block(block);
  }
  if (!pods.present() && !namespaces.present() && !block.present()) {
    field.refuse("gives none of podSelector, namespaceSelector and ipBlock");
  }
  return peer;
}

PolicyPort decode_policy_port(const Reader& field) {
  PolicyPort port;
  port.protocol = field["protocol"].protocol();
  if (field["port"].present()) port.port = field["port"].port_or_name();
  const Reader end = field["endPort"];
  if (!end.present()) return port;
  port.end_port = end.port();
  if (!port.port) {
    end.refuse("is given without port");
  } else if (!port.port->name.empty()) {
    end.refuse("is given with a named port; a range has numbers only");
  } else if (port.end_port < port.port->number) {
    end.refuse(end.shown() + " is less than port, " + std::to_string(port.port->number));
  }
  return port;
}

PolicyRule decode_rule(const Reader& field, std::string_view peers) {
  PolicyRule rule;
  for (const Reader& peer : field[peers].elements()) rule.peers.push_back(decode_peer(peer));
  for (const Reader& port : field["ports"].elements()) {
    rule.ports.push_back(decode_policy_port(port));
  }
  return rule;
}

std::vector<PolicyRule> decode_rules(const Reader& field, std::string_view peers,
                                     NetworkPolicy& policy) {
  std::vector<PolicyRule> rules;
  for (const Reader& element : field.elements()) {
    PolicyRule rule;
    const auto read = [&](const Reader& part) { rule = decode_rule(part, peers); };
    rule.understood = read_part(element, policy.doubts, read);
    rules.push_back(std::move(rule));
  }
  const bool is_list = read_part(field, policy.doubts, [](const Reader& r) { (void)r.elements(); });
  if (!is_list) rules.push_back({.peers = {}, .ports = {}, .understood = false});
  return rules;
}

// A type that is not understood isolates in both directions.
void decode_policy_types(const Reader& spec, NetworkPolicy& policy) {
  bool ingress = false, egress = false;
  const bool right = read_part(spec["policyTypes"], policy.doubts, [&](const Reader& types) {
    const std::vector<Reader> given = types.elements();
    ingress = given.empty();
    egress = given.empty() && !policy.egress.empty();
    for (const Reader& type : given) {
      if (!type.present()) type.refuse("is not given");
      (type.one_of({"Ingress", "Egress"}, 0) == 1 ? egress : ingress) = true;
    }
  });
  policy.isolates_ingress = ingress || !right;
  policy.isolates_egress = egress || !right;
}

}  // namespace

bool read_part(const Reader& part, std::vector<std::string>& doubts,
               const std::function<void(const Reader&)>& read) {
  std::optional<FieldProblem> problem;
  read(part.recording_in(problem));
  if (!problem) return true;
  part.refuse(*problem);
  doubts.push_back(problem->field + ": " + problem->sentence);
  return false;
}

Selector decode_selector(const Reader& field) {
  Selector selector;
  const Reader labels = field["matchLabels"];
  for (const auto& [key, value] : labels.text_map()) {
    decode_match_label(labels[key], key, selector);
  }
  for (const Reader& element : field["matchExpressions"].elements()) {
    selector.match_expressions.push_back(decode_requirement(element));
  }
  return selector;
}

Selector decode_subject(const Reader& field, std::vector<std::string>& doubts) {
  Selector selector;
  read_part(field, doubts, [](const Reader& whole) {
    (void)whole["matchLabels"]["any"];
    (void)whole["matchExpressions"].elements();
  });
  const Reader labels = field["matchLabels"];
  for (const std::string& key : labels.keys()) {
    Selector one;
    const auto read = [&](const Reader& label) { decode_match_label(label, key, one); };
    if (read_part(labels[key], doubts, read)) selector.match_labels.merge(one.match_labels);
  }
  for (const Reader& element : field["matchExpressions"].elements()) {
    Requirement requirement;
    const auto read = [&](const Reader& part) { requirement = decode_requirement(part); };
    if (read_part(element, doubts, read)) selector.match_expressions.push_back(requirement);
  }
  return selector;
}

NetworkPolicy decode_network_policy(const Reader& object, Meta meta) {
  NetworkPolicy policy;
  policy.meta = std::move(meta);
  const Reader spec = object["spec"];
  policy.pod_selector = decode_subject(spec["podSelector"], policy.doubts);
  policy.ingress = decode_rules(spec["ingress"], "from", policy);
  policy.egress = decode_rules(spec["egress"], "to", policy);
  decode_policy_types(spec, policy);
  return policy;
}

}  // namespace podwire::control::kube
