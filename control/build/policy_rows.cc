// The half of PoliciesBuilder that turns sets of policies into rows.
#include <algorithm>

#include "control/build/policies.h"

namespace podwire::control::build {
namespace {

bool block_matches(const kube::IpBlock& block, const net::Prefix& prefix) {
  return block.cidr.contains(prefix) &&
         std::none_of(block.except.begin(), block.except.end(),
                      [&](const net::Prefix& except) { return except.contains(prefix); });
}

}  // namespace

bool PoliciesBuilder::matches(const Peer& peer, const Identity& identity) const {
  const RulePeer& wanted = *peer.peer;
  if (wanted.block) return identity.block && block_matches(*wanted.block, *identity.block);
  if (!identity.is_pod) return false;
  if (wanted.namespaces) {
    if (!matches_namespace(*wanted.namespaces, identity.ns)) return false;
  } else if (identity.ns != peer.ns) {
    return false;
  }
  return wanted.pods.matches(identity.labels);
}

bool PoliciesBuilder::matches(const Group& group, const Identity& identity) const {
  if (group.named) {
    const auto port = identity.ports.find(*group.named);
    if (port == identity.ports.end() || port->second != group.named_number) return false;
  }
  return group.any_peer || std::any_of(group.peers.begin(), group.peers.end(),
                                       [&](const Peer& p) { return matches(p, identity); });
}

// The rule by its ports: those with numbers, and one group for each number that a name has.
std::vector<PoliciesBuilder::Group> PoliciesBuilder::groups_of(const RowKey& key, const Rule& rule,
                                                               Row& row) const {
  std::vector<Group> groups;
  Group numeric;
  for (const RulePort& port : rule.ports) {
    const NamedPort name{port.name, port.protocol};
    if (port.name.empty()) {
      numeric.ports.push_back({port.protocol, port.first, port.last});
    } else if (key.direction == Direction::ingress) {
      const auto own = key.ports.find(name);
      if (own != key.ports.end()) {
        numeric.ports.push_back({port.protocol, own->second, own->second});
      }
    } else {
      row.named.insert(name);
      const auto numbers = named_numbers_.find(name);
      if (numbers == named_numbers_.end()) continue;
      for (const auto& [number, users] : numbers->second) {
        Group& group = groups.emplace_back();
        group.ports = {{port.protocol, number, number}};
        group.named = name;
        group.named_number = number;
      }
    }
  }
  std::sort(numeric.ports.begin(), numeric.ports.end());
  // Ports that are named but mean nothing match nothing; no ports at all match everything.
  if (rule.any_port || !numeric.ports.empty()) groups.push_back(std::move(numeric));
  return groups;
}

void PoliciesBuilder::add_rule(const RowKey& key, const Policy& policy, const Rule& rule,
                               Row& row) {
  const tables::RuleOrigin origin{number_of(policy.name), rule.number};
  for (Group& group : groups_of(key, rule, row)) {
    group.tier = policy.tier;
    group.action = rule.action;
    const auto same = std::find_if(row.groups.begin(), row.groups.end(), [&](const Group& other) {
      return policy.tier == tables::PolicyTier::network_policy && other.tier == policy.tier &&
             other.ports == group.ports && other.named == group.named;
    });
    Group& place = same == row.groups.end() ? row.groups.emplace_back(std::move(group)) : *same;
    place.any_peer |= rule.any_peer;
    place.origins.push_back(origin);
    for (const RulePeer& peer : rule.peers) {
      place.peers.push_back({&peer, policy.ns});
      row.selects_namespaces |= peer.namespaces.has_value();
      row.has_blocks |= peer.block.has_value();
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

void PoliciesBuilder::add_matching(const Peer& peer, std::set<IdentityId>& found) const {
  const RulePeer& wanted = *peer.peer;
  if (wanted.block) {
    // Prefixes inside of another follow it, but for those of the other family.
    const net::Prefix& cidr = wanted.block->cidr;
    for (auto at = identities_by_block_.lower_bound(cidr); at != identities_by_block_.end(); ++at) {
      const auto& [prefix, ids] = *at;
      if (!cidr.contains(prefix) && prefix.family() == cidr.family()) break;
      if (block_matches(*wanted.block, prefix)) found.insert(ids.begin(), ids.end());
    }
    return;
  }
  const auto add_pods = [&](const std::set<IdentityId>& ids) {
    for (const IdentityId id : ids) {
      if (wanted.pods.matches(identity_by_id_[id]->labels)) found.insert(id);
    }
  };
  if (!wanted.namespaces) {
    const auto own = identities_by_ns_.find(peer.ns);
    if (own != identities_by_ns_.end()) add_pods(own->second);
    return;
  }
  for (const auto& [ns, ids] : identities_by_ns_) {
    if (matches_namespace(*wanted.namespaces, ns)) add_pods(ids);
  }
}

// What matches(Group, Identity) says of every identity.
std::set<PoliciesBuilder::IdentityId> PoliciesBuilder::matching(const Group& group) const {
  std::set<IdentityId> found;
  if (!group.named) {
    for (const Peer& peer : group.peers) add_matching(peer, found);
    return found;
  }
  const auto numbers = named_numbers_.find(*group.named);
  if (numbers == named_numbers_.end()) return found;
  const auto users = numbers->second.find(group.named_number);
  if (users == numbers->second.end()) return found;
  for (const IdentityId id : users->second) {
    if (matches(group, *identity_by_id_[id])) found.insert(id);
  }
  return found;
}

std::shared_ptr<const tables::PolicyRow> PoliciesBuilder::compile(const Row& row) {
  using Tier = tables::PolicyTier;
  const auto isolates = [](const auto& policy) { return policy->tier == Tier::network_policy; };
  const auto isolating = std::find_if(row.policies.begin(), row.policies.end(), isolates);
  const auto& named = isolating == row.policies.end() ? row.policies.front() : *isolating;
  tables::PolicyRowBuilder builder(number_of(named->name));
  std::map<IdentityId, std::vector<unsigned>> by_peer;
  auto group = row.groups.begin();
  for (const Tier tier : {Tier::admin, Tier::network_policy, Tier::baseline}) {
    const auto stands = [&](const auto& policy) { return policy->tier == tier; };
    if (std::none_of(row.policies.begin(), row.policies.end(), stands)) continue;
    builder.add_tier(
        tier == Tier::network_policy ? tables::PolicyAction::deny : tables::PolicyAction::pass,
        tier);
    for (; group != row.groups.end() && group->tier == tier; ++group) {
      const bool any = group->any_peer && !group->named;
      const unsigned rule = builder.add_rule(group->action, group->ports, any, group->origins);
      if (any) continue;
      for (const IdentityId id : matching(*group)) by_peer[id].push_back(rule);
    }
  }
  for (const auto& [id, rules] : by_peer) builder.set_peer(id, rules);
  return builder.finish();
}

// Tells whether an answer may be another.
bool PoliciesBuilder::rebuild(const RowKey& key, Row& row) {
  unindex(row);
  row.policies.clear();
  row.groups.clear();
  row.named.clear();
  row.selects_namespaces = row.has_blocks = false;
  for (const std::string& name : key.policies) row.policies.push_back(policies_.at(name));
  std::sort(row.policies.begin(), row.policies.end(),
            [](const auto& a, const auto& b) { return a->before(*b); });
  for (const auto& policy : row.policies) {
    const Policy::Side& side =
        key.direction == Direction::ingress ? policy->ingress : policy->egress;
    for (const Rule& rule : side.rules) add_rule(key, *policy, rule, row);
  }
  index(row);
  auto compiled = compile(row);
  const bool same = row.row != nullptr && compiled->same_answers(*row.row);
  if (!same || !compiled->same_origins(*row.row)) replace(row, std::move(compiled));
  return !same;
}

bool PoliciesBuilder::outdated(const Row& row, const RowKey& key, const Touched& touched) {
  if (row.row == nullptr || (touched.namespaces && row.selects_namespaces)) return true;
  if (!touched.policies.empty()) {
    for (const std::string& name : key.policies) {
      if (touched.policies.contains(name)) return true;
    }
  }
  return !touched.named.empty() &&
         std::any_of(row.named.begin(), row.named.end(),
                     [&](const NamedPort& name) { return touched.named.contains(name); });
}

void PoliciesBuilder::index(Row& row) {
  for (const Group& group : row.groups) {
    for (const Peer& peer : group.peers) peer_index_.add(row, peer.ns, *peer.peer);
  }
  if (row.has_blocks) rows_with_blocks_.insert(&row);
  if (!row.named.empty()) rows_with_names_.insert(&row);
}

void PoliciesBuilder::unindex(Row& row) {
  for (const Group& group : row.groups) {
    for (const Peer& peer : group.peers) peer_index_.remove(row, peer.ns, *peer.peer);
  }
  rows_with_blocks_.erase(&row);
  rows_with_names_.erase(&row);
}

// Null: the row goes.
void PoliciesBuilder::replace(Row& row, std::shared_ptr<const tables::PolicyRow> now) {
  knowers_.resize(identity_by_id_.size());
  if (row.row != nullptr) row.row->for_each_known([&](IdentityId id) { --knowers_[id]; });
  if (now != nullptr) now->for_each_known([&](IdentityId id) { ++knowers_[id]; });
  row.row = std::move(now);
}

// f(Row&) of the rows that may know it, of some more than once. Others have no rule that can match
// it, but those for any peer.
template <typename F>
void PoliciesBuilder::for_rows_about(const Identity& identity, F&& f) const {
  if (identity.is_pod) {
    const auto selected = [&](const kube::Selector& selector) {
      return matches_namespace(selector, identity.ns);
    };
    peer_index_.for_each(identity.ns, identity.labels, selected, f);
    for (Row* row : rows_with_names_) f(*row);
  }
  if (!identity.block) return;
  for (Row* row : rows_with_blocks_) f(*row);
}

std::vector<unsigned> PoliciesBuilder::rules_for(const Row& row, const Identity& identity) const {
  std::vector<unsigned> rules;
  for (unsigned n = 0; n < row.groups.size(); ++n) {
    const Group& group = row.groups[n];
    if (group.any_peer && !group.named) continue;
    if (matches(group, identity)) rules.push_back(n);
  }
  return rules;
}

void PoliciesBuilder::drop_unused_rows() {
  for (auto& [key, row] : rows_) row.users.clear();
  for (auto& [ip, local] : local_) {
    const auto use = [&, address = ip](const std::optional<RowKey>& key) -> const Row* {
      if (!key) return nullptr;
      Row& row = rows_[*key];
      row.users.push_back(address);
      return &row;
    };
    local.ingress_row = use(local.ingress);
    local.egress_row = use(local.egress);
  }
  for (auto item = rows_.begin(); item != rows_.end();) {
    Row& row = item->second;
    if (!row.users.empty()) {
      ++item;
      continue;
    }
    unindex(row);
    replace(row, nullptr);
    item = rows_.erase(item);
  }
}

// Tells how many were.
std::size_t PoliciesBuilder::rebuild_outdated(Touched& touched) {
  std::size_t rebuilt = 0;
  for (auto& [key, row] : rows_) {
    if (!outdated(row, key, touched)) continue;
    ++rebuilt;
    const auto before = row.row;
    // A row that is new came with a local pod's change, which has been noted there.
    touched.answers |= rebuild(key, row) && before != nullptr;
    if (before != row.row) touched.rows.insert(&row);
  }
  return rebuilt;
}

void PoliciesBuilder::teach_new_identities(Touched& touched) {
  std::vector<std::pair<Row*, IdentityId>> lessons;
  for (const IdentityId id : touched.identities) {
    for_rows_about(*identity_by_id_[id], [&](Row& row) {
      if (!row.row->knows(id)) lessons.emplace_back(&row, id);
    });
  }
  std::sort(lessons.begin(), lessons.end());
  lessons.erase(std::unique(lessons.begin(), lessons.end()), lessons.end());
  for (auto lesson = lessons.begin(); lesson != lessons.end();) {
    Row& row = *lesson->first;
    std::optional<tables::PolicyRowBuilder> builder;
    std::vector<IdentityId> taught;
    for (; lesson != lessons.end() && lesson->first == &row; ++lesson) {
      const auto rules = rules_for(row, *identity_by_id_[lesson->second]);
      if (rules.empty()) continue;
      if (!builder) builder.emplace(*row.row);
      builder->set_peer(lesson->second, rules);
      taught.push_back(lesson->second);
    }
    if (!builder) continue;
    row.row = builder->finish();
    for (const IdentityId id : taught) ++knowers_[id];
    touched.rows.insert(&row);
  }
}

// So that their numbers can be given to others. Rare: it looks at every row.
void PoliciesBuilder::forget_retired(Touched& touched) {
  if (retired_identities_.size() < 1024 + identities_.size() / 4) return;
  for (auto& [key, row] : rows_) {
    if (row.row == nullptr) continue;
    std::optional<tables::PolicyRowBuilder> builder;
    for (const IdentityId id : retired_identities_) {
      if (!row.row->knows(id)) continue;
      if (!builder) builder.emplace(*row.row);
      builder->set_peer(id, {});
    }
    if (!builder) continue;
    row.row = builder->finish();
    touched.rows.insert(&row);
  }
  for (const IdentityId id : retired_identities_) knowers_[id] = 0;
  free_identities_.insert(free_identities_.end(), retired_identities_.begin(),
                          retired_identities_.end());
  retired_identities_.clear();
}

void PoliciesBuilder::settle_rows(Touched& touched) {
  knowers_.resize(identity_by_id_.size());
  if (touched.local) drop_unused_rows();
  std::size_t rebuilt = 0;
  if (touched.local || touched.namespaces || !touched.policies.empty() || !touched.named.empty()) {
    rebuilt = rebuild_outdated(touched);
  }
  // What has been compiled anew knows them already.
  if (rebuilt < rows_.size()) teach_new_identities(touched);
  forget_retired(touched);
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
    if (before == after) continue;
    // As many rows know both, and those that know the one treat them alike: no others know one.
    touched.answers |= knowers_[before] != knowers_[after];
    if (touched.answers) return;
    if (knowers_[before] == 0) continue;
    for_rows_about(*identity_by_id_[before], [&, one = before, other = after](const Row& row) {
      touched.answers |= !row.row->treats_alike(one, other);
    });
  }
}

}  // namespace podwire::control::build
