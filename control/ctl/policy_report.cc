// Policies of either kind, in the order in which a pod's row asks them.
#include <algorithm>

#include "control/ctl/reports.h"

namespace podwire::control::ctl {
namespace {

using nlohmann::json;

// What its source says of a newer version of it that is not in force; null: nothing.
json refusal_of(const State& state, const std::string& kind_and_name) {
  for (const std::string& problem : state.input_problems) {
    if (problem.find(kind_and_name + ": ") != std::string::npos) return problem;
  }
  return nullptr;
}

json drops_of(const State& state, const std::string& policy) {
  if (!state.config.count_policy_drops) return nullptr;
  const auto& drops = state.denials.by_policy();
  const auto found = drops.find(policy);
  return found == drops.end() ? 0 : found->second;
}

// What a policy of either kind says of itself.
template <typename Policy>
json policy_row(const State& state, const Policy& policy, bool ingress, bool egress) {
  const std::string name = policy.meta.full_name();
  const std::string kind = kube::kind_name(kube::kind(kube::Object(Policy{})));
  return {{"policy", name},
          {"origin", policy.meta.origin},
          {"ingress", ingress},
          {"egress", egress},
          {"ingressRules", policy.ingress.size()},
          {"egressRules", policy.egress.size()},
          {"drops", drops_of(state, name)},
          {"doubts", policy.doubts},
          {"refused", refusal_of(state, kind + " " + name)}};
}

template <typename Selects>
json local_pods(const State& state, const Selects& selects) {
  json selected = json::array();
  for (const auto& [name, pod] : state.store.pods) {
    if (pod.node_name == state.config.node_name && !pod.host_network && selects(pod)) {
      selected.push_back(name);
    }
  }
  return selected;
}

kube::Labels labels_of_namespace(const Store& store, const std::string& name) {
  const auto found = store.namespaces.find(name);
  kube::Labels labels =
      found == store.namespaces.end() ? kube::Labels{} : found->second.meta.labels;
  labels["kubernetes.io/metadata.name"] = name;
  return labels;
}

// The policies of a tier, in the order in which they are asked.
void add_cluster_policies(const State& state, kube::ClusterNetworkPolicy::Tier tier, json& list) {
  std::vector<const kube::ClusterNetworkPolicy*> all;
  for (const auto& [name, policy] : state.store.cluster_network_policies) {
    if (policy.tier == tier) all.push_back(&policy);
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const auto* a, const auto* b) { return a->priority < b->priority; });
  for (const auto* policy : all) {
    const auto selects = [&](const kube::Pod& pod) {
      return policy->subject.namespaces.matches(labels_of_namespace(state.store, pod.meta.ns)) &&
             policy->subject.pods.matches(pod.meta.labels);
    };
    json row = policy_row(state, *policy, !policy->ingress.empty(), !policy->egress.empty());
    row["tier"] = tier == kube::ClusterNetworkPolicy::Tier::admin ? "Admin" : "Baseline";
    row["priority"] = policy->priority;
    row["localPods"] = local_pods(state, selects);
    list.push_back(std::move(row));
  }
}

}  // namespace

json policies(const Sources& sources) {
  sources.state.gather_denials();
  const State& state = sources.state;
  json list = json::array();
  add_cluster_policies(state, kube::ClusterNetworkPolicy::Tier::admin, list);
  for (const auto& entry : state.store.network_policies) {
    const kube::NetworkPolicy& policy = entry.second;
    const auto selects = [&](const kube::Pod& pod) {
      return pod.meta.ns == policy.meta.ns && policy.pod_selector.matches(pod.meta.labels);
    };
    json row = policy_row(state, policy, policy.isolates_ingress, policy.isolates_egress);
    row["tier"] = "NetworkPolicy";
    row["priority"] = nullptr;
    row["localPods"] = local_pods(state, selects);
    list.push_back(std::move(row));
  }
  add_cluster_policies(state, kube::ClusterNetworkPolicy::Tier::baseline, list);
  return list;
}

}  // namespace podwire::control::ctl
