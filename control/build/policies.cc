#include "control/build/policies.h"

#include <algorithm>

namespace podwire::control::build {
namespace {

// Every Namespace carries its name as a label; the API server sees to it, manifests may not.
constexpr const char* kNamespaceName = "kubernetes.io/metadata.name";

// The pod's own ports that the policy's ingress rules name.
void note_named_ports(const Policy& policy, const kube::Pod& pod,
                      std::map<std::pair<std::string, std::uint8_t>, std::uint16_t>& found) {
  for (const Rule& rule : policy.ingress.rules) {
    for (const RulePort& wanted : rule.ports) {
      if (wanted.name.empty()) continue;
      for (const kube::ContainerPort& port : pod.ports) {
        if (port.name != wanted.name || port.protocol != wanted.protocol) continue;
        found.try_emplace({port.name, port.protocol}, port.port);
      }
    }
  }
}

// Finished pods have given their address back; those on the host's network have the node's.
bool has_own_address(const kube::Pod& pod) {
  return !pod.finished && !pod.host_network;
}

}  // namespace

void PoliciesBuilder::note_prefixes(const Policy& policy, bool comes, Touched& touched) {
  const auto note = [&](const net::Prefix& prefix) {
    touched.prefixes.try_emplace(prefix, tables::kWorld);
    if (comes) {
      ++prefix_users_[prefix];
    } else if (--prefix_users_[prefix] == 0) {
      prefix_users_.erase(prefix);
    }
  };
  for (const auto* side : {&policy.ingress, &policy.egress}) {
    for (const Rule& rule : side->rules) {
      for (const RulePeer& peer : rule.peers) {
        if (!peer.block) continue;
        note(peer.block->cidr);
        for (const net::Prefix& except : peer.block->except) note(except);
      }
    }
  }
}

// Null: there is none by that name any more.
void PoliciesBuilder::learn_policy(const std::string& name, std::shared_ptr<const Policy> now,
                                   Touched& touched) {
  const auto old = policies_.find(name);
  if (old == policies_.end() && now == nullptr) return;
  const std::string ns = now != nullptr ? now->ns : old->second->ns;
  if (old != policies_.end()) note_prefixes(*old->second, false, touched);
  if (now != nullptr) {
    note_prefixes(*now, true, touched);
    policies_[name] = std::move(now);
    policies_by_ns_[ns].insert(name);
  } else {
    policies_.erase(old);
    policies_by_ns_[ns].erase(name);
    if (const auto number = policy_numbers_.find(name); number != policy_numbers_.end()) {
      free_policy_numbers_.push_back(number->second);
      policy_numbers_.erase(number);
    }
  }
  touched.policies.insert(name);
  touched.policy_namespaces.insert(ns);
}

void PoliciesBuilder::learn_policies(const Changes& changes, const Store& store, Touched& touched) {
  const auto learn = [&](const std::vector<std::string>& names, const auto& objects) {
    for (const std::string& name : names) {
      const auto found = objects.find(name);
      learn_policy(name,
                   found == objects.end()
                       ? nullptr
                       : std::make_shared<const Policy>(policy_of(found->second)),
                   touched);
    }
  };
  learn(changes.network_policies, store.network_policies);
  learn(changes.cluster_network_policies, store.cluster_network_policies);
}

void PoliciesBuilder::learn_namespaces(const Changes& changes, const Store& store,
                                       Touched& touched) {
  if (!changes.namespaces) return;
  std::map<std::string, kube::Labels> now;
  for (const auto& [name, ns] : store.namespaces) {
    now[name] = ns.meta.labels;
    now[name][kNamespaceName] = name;
  }
  touched.namespaces = now != namespaces_;
  namespaces_ = std::move(now);
}

bool PoliciesBuilder::matches_namespace(const kube::Selector& selector,
                                        const std::string& ns) const {
  const auto found = namespaces_.find(ns);
  if (found != namespaces_.end()) return selector.matches(found->second);
  return selector.matches({{kNamespaceName, ns}});
}

void PoliciesBuilder::claim(const std::string& pod, const std::vector<net::Address>& ips,
                            Touched& touched) {
  std::vector<net::Address>& old = pod_addresses_[pod];
  for (const net::Address& ip : old) {
    addresses_[ip].claims.erase(pod);
    touched.addresses.insert(ip);
  }
  for (const net::Address& ip : ips) {
    addresses_[ip].claims.insert(pod);
    touched.addresses.insert(ip);
  }
  old = ips;
  if (ips.empty()) pod_addresses_.erase(pod);
}

void PoliciesBuilder::learn_attachments(const Inputs& inputs, Touched& touched) {
  if (!inputs.attachments_changed && last_ != nullptr) return;
  std::map<std::string, std::vector<net::Address>> now;
  for (const Attachment& a : inputs.attachments) {
    auto& ips = now[a.pod];
    ips.insert(ips.end(), a.ips.begin(), a.ips.end());
  }
  for (const auto* side : {&attached_, &now}) {
    for (const auto& [pod, ips] : *side) {
      const auto before = attached_.find(pod);
      const auto after = now.find(pod);
      if (before != attached_.end() && after != now.end() && before->second == after->second) {
        continue;
      }
      touched.pods.insert(pod);
      touched.addresses.insert(ips.begin(), ips.end());
      if (side == &attached_) touched.unplugged.insert(ips.begin(), ips.end());
    }
  }
  attached_ = std::move(now);
}

void PoliciesBuilder::learn_pods(const Inputs& inputs, Touched& touched) {
  touched.pods.insert(inputs.changes.pods.begin(), inputs.changes.pods.end());
  for (const std::string& name : touched.pods) {
    std::vector<net::Address> ips;
    if (const auto pod = inputs.store.pods.find(name);
        pod != inputs.store.pods.end() && has_own_address(pod->second)) {
      ips = pod->second.ips;
      if (const auto attached = attached_.find(name); attached != attached_.end()) {
        ips.insert(ips.end(), attached->second.begin(), attached->second.end());
      }
    }
    claim(name, ips, touched);
  }
  // Prefixes that only now are, or no longer are, named by any policy change what lies in them.
  std::erase_if(touched.prefixes, [&](const auto& item) {
    return prefix_users_.contains(item.first) == prefix_ids_.contains(item.first);
  });
  if (touched.prefixes.empty()) return;
  for (const auto& [prefix, id] : touched.prefixes) {
    // Its addresses stand together, but for those of the other family.
    for (auto at = addresses_.lower_bound(prefix.address); at != addresses_.end(); ++at) {
      if (prefix.contains(at->first)) {
        touched.addresses.insert(at->first);
      } else if (at->first.family() == prefix.family()) {
        break;
      }
    }
  }
}

// Of the pods that claim an address the one attached here has it; else one that is not on its way
// out; else the first by name, so that the outcome does not depend on the order of arrival.
const kube::Pod* PoliciesBuilder::owner(const Store& store, const net::Address& address) const {
  const auto found = addresses_.find(address);
  if (found == addresses_.end()) return nullptr;
  const kube::Pod* best = nullptr;
  for (const std::string& name : found->second.claims) {
    const auto pod = store.pods.find(name);
    if (pod == store.pods.end()) continue;
    if (best == nullptr || (best->meta.deleting && !pod->second.meta.deleting)) {
      best = &pod->second;
    }
  }
  const auto local = local_.find(address);
  if (local == local_.end()) return best;
  const auto attached = store.pods.find(local->second.pod);
  return attached != store.pods.end() && has_own_address(attached->second) ? &attached->second
                                                                           : nullptr;
}

std::optional<net::Prefix> PoliciesBuilder::block_around(const net::Address& address) const {
  const net::Prefix* found = blocks_.find(address);
  return found == nullptr ? std::nullopt : std::optional(*found);
}

PoliciesBuilder::IdentityId PoliciesBuilder::intern(const Identity& identity, Touched& touched) {
  const auto [place, added] = identities_.try_emplace(identity, tables::kWorld);
  if (added) {
    if (free_identities_.empty()) {
      place->second = static_cast<IdentityId>(identity_by_id_.size());
      identity_by_id_.push_back(nullptr);
      identity_users_.push_back(0);
    } else {
      place->second = free_identities_.back();
      free_identities_.pop_back();
    }
    identity_by_id_[place->second] = &place->first;
    if (identity.is_pod) identities_by_ns_[identity.ns].insert(place->second);
    for (const auto& [port, number] : identity.ports) {
      auto& users = named_numbers_[port][number];
      if (users.empty()) touched.named.insert(port);
      users.insert(place->second);
    }
    if (identity.block) identities_by_block_[*identity.block].insert(place->second);
    touched.identities.insert(place->second);
  }
  ++identity_users_[place->second];
  return place->second;
}

void PoliciesBuilder::release(IdentityId id) {
  if (id == tables::kWorld || --identity_users_[id] != 0) return;
  const Identity& identity = *identity_by_id_[id];
  if (identity.is_pod) identities_by_ns_[identity.ns].erase(id);
  for (const auto& [port, number] : identity.ports) {
    auto& users = named_numbers_[port][number];
    users.erase(id);
    if (users.empty()) named_numbers_[port].erase(number);
  }
  if (identity.block) {
    auto& alike = identities_by_block_[*identity.block];
    alike.erase(id);
    if (alike.empty()) identities_by_block_.erase(*identity.block);
  }
  identity_by_id_[id] = nullptr;
  identities_.erase(identities_.find(identity));
  retired_identities_.push_back(id);
}

void PoliciesBuilder::settle_prefixes(Touched& touched) {
  for (auto& [prefix, id] : touched.prefixes) {
    if (prefix_users_.contains(prefix)) {
      blocks_.set(prefix, prefix);
      Identity identity;
      identity.block = prefix;
      id = intern(identity, touched);
      prefix_ids_[prefix] = id;
    } else {
      blocks_.erase(prefix);
      id = prefix_ids_.at(prefix);
      touched.released.push_back(id);
      prefix_ids_.erase(prefix);
    }
  }
}

void PoliciesBuilder::settle_addresses(const Store& store, Touched& touched) {
  for (const net::Address& ip : touched.addresses) {
    const kube::Pod* pod = owner(store, ip);
    Identity identity;
    identity.block = block_around(ip);
    if (pod != nullptr) {
      identity.is_pod = true;
      identity.ns = pod->meta.ns;
      identity.labels = pod->meta.labels;
      for (const kube::ContainerPort& port : pod->ports) {
        if (!port.name.empty()) identity.ports.try_emplace({port.name, port.protocol}, port.port);
      }
    }
    Address& address = addresses_[ip];
    touched.released.push_back(address.identity);
    address.listed = pod != nullptr || local_.contains(ip);
    address.identity = tables::kWorld;
    if (address.listed && identity != Identity{}) address.identity = intern(identity, touched);
    const IdentityId before = last_ == nullptr ? tables::kWorld : last_->identity_of(ip);
    const IdentityId after = address.listed   ? address.identity
                             : identity.block ? prefix_ids_.at(*identity.block)
                                              : tables::kWorld;
    if (before != after) touched.moves.emplace_back(before, after);
    if (!address.listed && address.claims.empty()) addresses_.erase(ip);
  }
}

bool PoliciesBuilder::selects(const Policy& policy, const kube::Pod& pod) const {
  return policy.pods.matches(pod.meta.labels) &&
         (!policy.namespaces || matches_namespace(*policy.namespaces, pod.meta.ns));
}

PoliciesBuilder::LocalPod PoliciesBuilder::describe_local(const Store& store,
                                                          const std::string& pod_name) const {
  LocalPod local;
  local.pod = pod_name;
  if (pod_name.empty()) return local;  // no pod of Kubernetes: nothing can select it
  const auto found = store.pods.find(pod_name);
  if (found == store.pods.end()) {
    local.held_back = true;
    return local;
  }
  const kube::Pod& pod = found->second;
  RowKey ingress{Direction::ingress, {}, {}};
  RowKey egress{Direction::egress, {}, {}};
  for (const std::string& ns : {std::string(), pod.meta.ns}) {
    const auto names = policies_by_ns_.find(ns);
    if (names == policies_by_ns_.end()) continue;
    for (const std::string& name : names->second) {
      const Policy& policy = *policies_.at(name);
      if (!selects(policy, pod)) continue;
      if (policy.egress.applies) egress.policies.push_back(name);
      if (!policy.ingress.applies) continue;
      ingress.policies.push_back(name);
      note_named_ports(policy, pod, ingress.ports);
    }
  }
  for (RowKey* key : {&ingress, &egress}) std::sort(key->policies.begin(), key->policies.end());
  if (!ingress.policies.empty()) local.ingress = std::move(ingress);
  if (!egress.policies.empty()) local.egress = std::move(egress);
  return local;
}

// The attached pods that may be given other rows.
std::set<std::string> PoliciesBuilder::local_pods_touched(const Touched& touched) const {
  std::set<std::string> pods;
  const auto of_cluster = policies_by_ns_.find("");
  const bool all =
      touched.policy_namespaces.contains("") ||
      (touched.namespaces && of_cluster != policies_by_ns_.end() && !of_cluster->second.empty());
  if (all) {
    for (const auto& [pod, ips] : attached_) pods.insert(pod);
    return pods;
  }
  for (const std::string& pod : touched.pods) {
    if (attached_.contains(pod)) pods.insert(pod);
  }
  for (const std::string& ns : touched.policy_namespaces) {
    const std::string begin = ns + "/";
    for (auto at = attached_.lower_bound(begin); at != attached_.end(); ++at) {
      if (!at->first.starts_with(begin)) break;
      pods.insert(at->first);
    }
  }
  return pods;
}

void PoliciesBuilder::settle_local_pods(const Store& store, Touched& touched) {
  std::map<net::Address, std::optional<LocalPod>> next;
  for (const net::Address& ip : touched.unplugged) next[ip];
  for (const std::string& pod : local_pods_touched(touched)) {
    const LocalPod local = describe_local(store, pod);
    for (const net::Address& ip : attached_.at(pod)) next[ip] = local;
  }
  for (const auto& [ip, local] : next) {
    const auto old = local_.find(ip);
    const bool was = old != local_.end();
    if (was == local.has_value() &&
        (!was || (old->second.pod == local->pod && old->second.same_rows(*local)))) {
      continue;
    }
    touched.addresses.insert(ip);
    touched.local = true;
    touched.answers |= !(was ? old->second : LocalPod{}).same_rows(local ? *local : LocalPod{});
    if (local) {
      local_[ip] = *local;
    } else {
      local_.erase(old);
    }
  }
}

void PoliciesBuilder::fill_local(const net::Address& address, tables::PolicyTable::Pod& pod) {
  const auto found = local_.find(address);
  if (found == local_.end()) return;
  const LocalPod& local = found->second;
  if (local.held_back) pod.ingress = pod.egress = closed_;
  if (local.ingress_row != nullptr) pod.ingress = local.ingress_row->row;
  if (local.egress_row != nullptr) pod.egress = local.egress_row->row;
}

void PoliciesBuilder::fill_table(Touched& touched) {
  auto table = last_ == nullptr ? std::make_shared<tables::PolicyTable>()
                                : std::make_shared<tables::PolicyTable>(*last_);
  for (const Row* row : touched.rows) {
    touched.addresses.insert(row->users.begin(), row->users.end());
  }
  for (const net::Address& ip : touched.addresses) {
    const auto old = table->pod(ip);
    const auto found = addresses_.find(ip);
    if (found == addresses_.end() || !found->second.listed) {
      if (old) table->erase_pod(ip);
      continue;
    }
    tables::PolicyTable::Pod pod;
    pod.identity = found->second.identity;
    fill_local(ip, pod);
    if (old != pod) table->set_pod(ip, std::move(pod));
  }
  for (const auto& [prefix, id] : touched.prefixes) {
    if (prefix_ids_.contains(prefix)) {
      table->set_prefix(prefix, id);
    } else {
      table->erase_prefix(prefix);
    }
  }
  if (given_names_ == nullptr) {
    given_names_ = std::make_shared<const std::vector<std::string>>(policy_names_);
  }
  table->set_policy_names(given_names_);
  last_ = std::move(table);
}

PoliciesBuilder::PoliciesBuilder() : policy_names_{"(the pod is not known yet)"} {
  tables::PolicyRowBuilder closed(0);
  closed.add_tier(tables::PolicyAction::deny);
  closed_ = closed.finish();
}

PoliciesBuilder::Result PoliciesBuilder::build(const Inputs& inputs) {
  Touched touched;
  learn_policies(inputs.changes, inputs.store, touched);
  learn_namespaces(inputs.changes, inputs.store, touched);
  learn_attachments(inputs, touched);
  learn_pods(inputs, touched);
  const bool idle = touched.policies.empty() && !touched.namespaces && touched.pods.empty();
  if (idle && last_ != nullptr) return {last_, generation_};
  settle_local_pods(inputs.store, touched);
  settle_prefixes(touched);
  settle_addresses(inputs.store, touched);
  settle_rows(touched);
  compare_answers(touched);
  for (const IdentityId id : touched.released) release(id);
  if (last_ == nullptr || touched.answers) ++generation_;
  fill_table(touched);
  return {last_, generation_};
}

}  // namespace podwire::control::build
