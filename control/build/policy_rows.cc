// The half of PoliciesBuilder that turns sets of policies into rows.
#include <algorithm>

#include "control/build/policies.h"

namespace podwire::control::build {
namespace {

tables::PortRange range_of(const kube::PolicyPort& port, std::uint16_t first) {
  return {port.protocol, first, std::max(first, port.end_port)};
}

bool block_matches(const kube::IpBlock& block, const net::Prefix& prefix) {
  return block.cidr.contains(prefix) &&
         std::none_of(block.except.begin(), block.except.end(),
                      [&](const net::Prefix& except) { return except.contains(prefix); });
}

}  // namespace

bool PoliciesBuilder::matches(const Peer& peer, const Identity& identity) const {
  const kube::PolicyPeer& wanted = *peer.peer;
  if (wanted.ip_block) return identity.block && block_matches(*wanted.ip_block, *identity.block);
  if (!identity.is_pod) return false;
  if (wanted.namespace_selector) {
    if (!matches_namespace(*wanted.namespace_selector, identity.ns)) return false;
  } else if (identity.ns != peer.ns) {
    return false;
  }
  return !wanted.pod_selector || wanted.pod_selector->matches(identity.labels);
}

bool PoliciesBuilder::matches(const Group& group, const Identity& identity) const {
  if (group.named) {
    const auto port = identity.ports.find(*group.named);
    if (port == identity.ports.end() || port->second != group.named_number) return false;
  }
  return group.any_peer || std::any_of(group.peers.begin(), group.peers.end(),
                                       [&](const Peer& p) { return matches(p, identity); });
}

void PoliciesBuilder::add_rule(const RowKey& key, const kube::NetworkPolicy& policy,
                               std::uint32_t number, Row& row) {
  const bool inward = key.direction == Direction::ingress;
  const kube::PolicyRule& rule = (inward ? policy.ingress : policy.egress)[number];
  const tables::RuleOrigin origin{number_of(policy.meta.full_name()), number};
  std::vector<Group> groups;
  Group numeric;
  for (const kube::PolicyPort& port : rule.ports) {
    if (!port.port) {
      numeric.ports.push_back({port.protocol, 0, 0xffff});
    } else if (port.port->name.empty()) {
      numeric.ports.push_back(range_of(port, port.port->number));
    } else if (const NamedPort name{port.port->name, port.protocol}; inward) {
      const auto own = key.ports.find(name);
      if (own != key.ports.end()) {
        numeric.ports.push_back({port.protocol, own->second, own->second});
      }
    } else {
      row.named.insert(name);
      const auto numbers = named_numbers_.find(name);
      if (numbers == named_numbers_.end()) continue;
      for (const auto& [number, users] : numbers->second) {
        groups.push_back({{{port.protocol, number, number}}, name, number, false, {}, {}});
      }
    }
  }
  std::sort(numeric.ports.begin(), numeric.ports.end());
  // Ports that are named but mean nothing allow nothing; no ports at all allow everything.
  if (rule.ports.empty() || !numeric.ports.empty()) groups.push_back(std::move(numeric));
  for (Group& group : groups) {
    const auto same = std::find_if(row.groups.begin(), row.groups.end(), [&](const Group& other) {
      return other.ports == group.ports && other.named == group.named;
    });
    Group& place = same == row.groups.end() ? row.groups.emplace_back(std::move(group)) : *same;
    place.any_peer |= rule.peers.empty();
    place.origins.push_back(origin);
    for (const kube::PolicyPeer& peer : rule.peers) {
      place.peers.push_back({&peer, policy.meta.ns});
      row.selects_namespaces |= peer.namespace_selector.has_value();
    }
  }
}

std::uint32_t PoliciesBuilder::number_of(const std::string& policy) {
  const auto [place, added] = policy_numbers_.try_emplace(policy, 0);
  if (!added) return place->second;
  if (free_policy_numbers_.empty()) {
    place->second = static_cast<std::uint32_t>(policy_names_.size());
    policy_names_.push_back(policy);
  } else {
    place->second = free_policy_numbers_.back();
    free_policy_numbers_.pop_back();
    policy_names_[place->second] = policy;
  }
  given_names_ = nullptr;
  return place->second;
}

std::shared_ptr<const tables::PolicyRow> PoliciesBuilder::compile(const Row& row) {
  tables::PolicyRowBuilder builder(number_of(row.policies.front()->meta.full_name()));
  builder.add_tier(tables::PolicyAction::deny);
  std::map<IdentityId, std::vector<unsigned>> by_peer;
  for (const Group& group : row.groups) {
    const bool any = group.any_peer && !group.named;
    const unsigned rule =
        builder.add_rule(tables::PolicyAction::allow, group.ports, any, group.origins);
    if (any) continue;
    std::set<IdentityId> candidates;
    const auto add_namespace = [&](const std::string& ns) {
      const auto found = identities_by_ns_.find(ns);
      if (found != identities_by_ns_.end()) {
        candidates.insert(found->second.begin(), found->second.end());
      }
    };
    bool all = group.any_peer;
    for (const Peer& peer : group.peers) {
      all |= peer.peer->ip_block.has_value();
      if (peer.peer->ip_block) continue;
      if (!peer.peer->namespace_selector) {
        add_namespace(peer.ns);
        continue;
      }
      for (const auto& [ns, ids] : identities_by_ns_) {
        if (matches_namespace(*peer.peer->namespace_selector, ns)) add_namespace(ns);
      }
    }
    if (all) {
      for (const auto& [identity, id] : identities_) {
        if (matches(group, identity)) by_peer[id].push_back(rule);
      }
      continue;
    }
    for (const IdentityId id : candidates) {
      if (matches(group, *identity_by_id_[id])) by_peer[id].push_back(rule);
    }
  }
  for (const auto& [id, rules] : by_peer) builder.set_peer(id, rules);
  return builder.finish();
}

// Tells whether an answer may be another.
bool PoliciesBuilder::rebuild(const RowKey& key, Row& row) {
  row.policies.clear();
  row.groups.clear();
  row.named.clear();
  row.selects_namespaces = false;
  for (const std::string& name : key.policies) {
    row.policies.push_back(policies_.at(name));
    const kube::NetworkPolicy& policy = *row.policies.back();
    const auto& rules = key.direction == Direction::ingress ? policy.ingress : policy.egress;
    for (std::uint32_t n = 0; n < rules.size(); ++n) add_rule(key, policy, n, row);
  }
  auto compiled = compile(row);
  const bool same = row.row != nullptr && compiled->same_answers(*row.row);
  if (!same || !compiled->same_origins(*row.row)) row.row = std::move(compiled);
  return !same;
}

bool PoliciesBuilder::outdated(const Row& row, const RowKey& key, const Touched& touched) const {
  if (row.row == nullptr || (touched.namespaces && row.selects_namespaces)) return true;
  for (const std::string& name : key.policies) {
    if (touched.policies.contains(name)) return true;
  }
  return std::any_of(row.named.begin(), row.named.end(),
                     [&](const NamedPort& name) { return touched.named.contains(name); });
}

// Teaches the row the identities that are new. A number may have belonged to another before.
void PoliciesBuilder::extend(Row& row, const Touched& touched) const {
  std::optional<tables::PolicyRowBuilder> builder;
  for (const IdentityId id : touched.identities) {
    const Identity& identity = *identity_by_id_[id];
    std::vector<unsigned> rules;
    for (unsigned n = 0; n < row.groups.size(); ++n) {
      const Group& group = row.groups[n];
      if (group.any_peer && !group.named) continue;
      if (matches(group, identity)) rules.push_back(n);
    }
    if (rules.empty() && !row.row->knows(id)) continue;
    if (!builder) builder.emplace(*row.row);
    builder->set_peer(id, rules);
  }
  if (builder) row.row = builder->finish();
}

void PoliciesBuilder::settle_rows(Touched& touched) {
  if (touched.local || !touched.policies.empty()) {
    std::set<RowKey> used;
    for (const auto& [ip, local] : local_) {
      if (local.ingress) used.insert(*local.ingress);
      if (local.egress) used.insert(*local.egress);
    }
    std::erase_if(rows_, [&](const auto& row) { return !used.contains(row.first); });
    for (const RowKey& key : used) rows_.try_emplace(key);
  }
  for (auto& [key, row] : rows_) {
    const auto before = row.row;
    if (outdated(row, key, touched)) {
      // A row that is new came with a local pod's change, which has been noted there.
      touched.answers |= rebuild(key, row) && before != nullptr;
    } else {
      extend(row, touched);
    }
    touched.rows |= before != row.row;
  }
}

void PoliciesBuilder::compare_answers(Touched& touched) const {
  for (const auto& [prefix, id] : touched.prefixes) {
    IdentityId parent = tables::kWorld;
    for (unsigned length = prefix.length; length-- > 0 && parent == tables::kWorld;) {
      const auto around =
          prefix_ids_.find(net::Prefix::around(prefix.address, static_cast<std::uint8_t>(length)));
      if (around != prefix_ids_.end()) parent = around->second;
    }
    touched.moves.emplace_back(id, parent);
  }
  for (const auto& [before, after] : touched.moves) {
    for (const auto& [key, row] : rows_) {
      if (touched.answers) return;
      touched.answers = !row.row->treats_alike(before, after);
    }
  }
}

}  // namespace podwire::control::build
