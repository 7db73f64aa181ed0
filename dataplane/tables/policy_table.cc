#include "dataplane/tables/policy_table.h"

#include <algorithm>
#include <bit>
#include <set>

#include "dataplane/check.h"

namespace podwire::tables {
namespace {

constexpr unsigned kWordBits = 64;

constexpr std::uint32_t port_key(std::uint8_t protocol, std::uint32_t port) {
  return (std::uint32_t{protocol} << 16) + port;
}

}  // namespace

// The last interval that begins at or before the port: a binary search without branches to guess.
inline std::uint32_t PolicyRow::port_mask(std::uint8_t protocol,
                                          std::uint16_t port) const noexcept {
  const std::uint32_t key = port_key(protocol, port);
  const Interval* first = intervals_.data();
  for (std::size_t count = intervals_.size(); count > 1;) {
    const std::size_t half = count / 2;
    first = first[half].begin <= key ? first + half : first;
    count -= half;
  }
  return first->mask;
}

bool PolicyRow::allows(IdentityId peer, std::uint8_t protocol, std::uint16_t port) const noexcept {
  const std::uint64_t* by_peer = mask(peer_mask(peer));
  const std::uint64_t* by_port = mask(port_mask(protocol, port));
  for (const Tier& tier : tiers_) {
    PolicyAction action = tier.otherwise;
    for (std::uint32_t word = tier.first_word; word < tier.last_word; ++word) {
      const std::uint64_t both = by_peer[word] & by_port[word];
      if (both == 0) continue;
      action = actions_[word * kWordBits + static_cast<unsigned>(std::countr_zero(both))];
      break;
    }
    if (action != PolicyAction::pass) return action == PolicyAction::allow;
  }
  return true;
}

PolicyDecision PolicyRow::decide(IdentityId peer, std::uint8_t protocol,
                                 std::uint16_t port) const noexcept {
  const std::uint64_t* by_peer = mask(peer_mask(peer));
  const std::uint64_t* by_port = mask(port_mask(protocol, port));
  PolicyDecision decision;
  for (const Tier& tier : tiers_) {
    decision = {tier.otherwise == PolicyAction::allow, tier.name, false, {}};
    PolicyAction action = tier.otherwise;
    for (std::uint32_t word = tier.first_word; word < tier.last_word; ++word) {
      const std::uint64_t both = by_peer[word] & by_port[word];
      if (both == 0) continue;
      const auto bit = word * kWordBits + static_cast<unsigned>(std::countr_zero(both));
      action = actions_[bit];
      decision = {action == PolicyAction::allow, tier.name, true, (*origins_)[bit]};
      break;
    }
    if (action != PolicyAction::pass) return decision;
  }
  // Every tier passed it on: no rule has decided.
  return {true, decision.tier, false, {}};
}

bool PolicyRow::same_answers(const PolicyRow& other) const {
  const auto same_mask = [&](std::uint32_t mine, std::uint32_t theirs) {
    return std::equal(mask(mine), mask(mine) + words_, other.mask(theirs));
  };
  if (policy_ != other.policy_ || words_ != other.words_ || actions_ != other.actions_ ||
      tiers_ != other.tiers_ || intervals_.size() != other.intervals_.size()) {
    return false;
  }
  if (!same_mask(0, 0)) return false;  // of the peers that no chunk holds
  for (std::size_t n = 0; n < intervals_.size(); ++n) {
    if (intervals_[n].begin != other.intervals_[n].begin ||
        !same_mask(intervals_[n].mask, other.intervals_[n].mask)) {
      return false;
    }
  }
  const std::size_t chunks = std::max(chunks_.size(), other.chunks_.size());
  for (IdentityId peer = 0; peer < chunks * kChunk; ++peer) {
    if (!same_mask(peer_mask(peer), other.peer_mask(peer))) return false;
  }
  return true;
}

PolicyRowBuilder::PolicyRowBuilder(std::uint32_t policy) : row_(std::make_shared<PolicyRow>()) {
  row_->policy_ = policy;
  row_->origins_ = std::make_shared<const PolicyRow::Origins>();
}

PolicyRowBuilder::PolicyRowBuilder(const PolicyRow& row)
    : row_(std::make_shared<PolicyRow>(row)), is_copy_(true) {
  const std::size_t masks = row_->words_ == 0 ? 0 : row_->masks_.size() / row_->words_;
  for (std::uint32_t n = 0; n < masks; ++n) {
    interned_.try_emplace(std::vector<std::uint64_t>(row_->mask(n), row_->mask(n) + row_->words_),
                          n);
  }
  // Of the rules only their bits are needed from here on.
  for (const PolicyRow::Tier& tier : row_->tiers_) {
    for (unsigned bit = tier.first_word * kWordBits; bit < tier.last_bit; ++bit) {
      rules_.push_back(Rule{bit, {}, false, {}});
    }
  }
}

void PolicyRowBuilder::add_tier(PolicyAction otherwise, PolicyTier name) {
  check(!is_copy_, "a copied policy row takes no new tiers");
  const std::uint32_t word = row_->tiers_.empty() ? 0 : row_->tiers_.back().last_word;
  row_->tiers_.push_back({word, word, word * kWordBits, otherwise, name});
}

unsigned PolicyRowBuilder::add_rule(PolicyAction action, std::span<const PortRange> ports,
                                    bool any_peer, std::span<const RuleOrigin> origins) {
  check(!is_copy_ && !row_->tiers_.empty(), "a policy rule needs a tier to stand in");
  PolicyRow::Tier& tier = row_->tiers_.back();
  const unsigned bit = tier.last_bit++;
  tier.last_word = bit / kWordBits + 1;
  row_->actions_.resize(bit + 1, PolicyAction::pass);
  row_->actions_[bit] = action;
  rules_.push_back(
      Rule{bit, {ports.begin(), ports.end()}, any_peer, {origins.begin(), origins.end()}});
  return static_cast<unsigned>(rules_.size() - 1);
}

std::uint32_t PolicyRowBuilder::intern(const std::vector<std::uint64_t>& mask) {
  const auto [place, added] =
      interned_.try_emplace(mask, static_cast<std::uint32_t>(interned_.size()));
  if (added) row_->masks_.insert(row_->masks_.end(), mask.begin(), mask.end());
  return place->second;
}

void PolicyRowBuilder::set_peer(IdentityId identity, std::span<const unsigned> rules) {
  if (!is_copy_) {
    peers_[identity].assign(rules.begin(), rules.end());
    return;
  }
  std::vector<std::uint64_t> mask(row_->mask(0), row_->mask(0) + row_->words_);
  for (const unsigned rule : rules) {
    const unsigned bit = rules_.at(rule).bit;
    mask[bit / kWordBits] |= 1ULL << (bit % kWordBits);
  }
  const std::uint32_t number = intern(mask);
  if (row_->peer_mask(identity) == number) return;
  const std::size_t place = identity / PolicyRow::kChunk;
  if (place >= row_->chunks_.size()) row_->chunks_.resize(place + 1);
  auto& slot = row_->chunks_[place];
  // A chunk that nobody else holds was made by this builder and may be written on.
  auto chunk = slot == nullptr         ? std::make_shared<PolicyRow::Chunk>()
               : slot.use_count() == 1 ? std::const_pointer_cast<PolicyRow::Chunk>(slot)
                                       : std::make_shared<PolicyRow::Chunk>(*slot);
  (*chunk)[identity % PolicyRow::kChunk] = number;
  slot = std::move(chunk);
}

void PolicyRowBuilder::compile_ports() {
  std::set<std::uint32_t> begins{0};
  for (const Rule& rule : rules_) {
    for (const PortRange& range : rule.ports) {
      begins.insert(port_key(range.protocol, range.first));
      begins.insert(port_key(range.protocol, range.last) + 1);
    }
  }
  for (const std::uint32_t begin : begins) {
    std::vector<std::uint64_t> mask(row_->words_);
    for (const Rule& rule : rules_) {
      const bool matches =
          rule.ports.empty() || std::any_of(rule.ports.begin(), rule.ports.end(), [&](auto& range) {
            return port_key(range.protocol, range.first) <= begin &&
                   begin <= port_key(range.protocol, range.last);
          });
      if (matches) mask[rule.bit / kWordBits] |= 1ULL << (rule.bit % kWordBits);
    }
    const std::uint32_t number = intern(mask);
    if (row_->intervals_.empty() || row_->intervals_.back().mask != number) {
      row_->intervals_.push_back({begin, number});
    }
  }
}

std::shared_ptr<const PolicyRow> PolicyRowBuilder::finish() {
  if (!is_copy_) {
    // One word at least, so that every mask has an address.
    row_->words_ = row_->tiers_.empty() ? 1 : std::max(1U, row_->tiers_.back().last_word);
    std::vector<std::uint64_t> any(row_->words_);
    for (const Rule& rule : rules_) {
      if (rule.any_peer) any[rule.bit / kWordBits] |= 1ULL << (rule.bit % kWordBits);
    }
    intern(any);
    compile_ports();
    PolicyRow::Origins origins(row_->actions_.size());
    for (Rule& rule : rules_) origins[rule.bit] = std::move(rule.origins);
    row_->origins_ = std::make_shared<const PolicyRow::Origins>(std::move(origins));
    is_copy_ = true;
    for (const auto& [identity, rules] : peers_) set_peer(identity, rules);
    peers_.clear();
  }
  return std::move(row_);
}

PolicyTable::PolicyTable()
    : names_(
          std::make_shared<const std::vector<std::string>>(std::vector<std::string>{"no policy"})) {
}

IdentityId PolicyTable::identity(const Pod* pod, const net::Address& address) const noexcept {
  if (pod != nullptr) return pod->identity;
  const IdentityId* found = prefixes_.find(address);
  return found == nullptr ? kWorld : *found;
}

PolicyAnswer PolicyTable::judge(const PolicyQuestion& question) const noexcept {
  PolicyAnswer answer;
  // A pod cannot be cut off from itself (NetworkPolicy; upstream's tests ignore loopback).
  if (question.source == question.destination) return answer;
  const Pod* source = pods_.find(question.source);
  const Pod* destination = pods_.find(question.destination);
  const std::uint16_t port = question.destination_port.host();
  if (source != nullptr && source->egress != nullptr) {
    const IdentityId peer = identity(destination, question.destination);
    if (!source->egress->allows(peer, question.protocol, port)) {
      answer = {false, true, false, source->egress->refused_by(peer, question.protocol, port)};
    }
  }
  if (destination != nullptr && destination->ingress != nullptr && !question.from_own_node) {
    const IdentityId peer = identity(source, question.source);
    if (!destination->ingress->allows(peer, question.protocol, port)) {
      if (answer.allowed) {
        answer.policy = destination->ingress->refused_by(peer, question.protocol, port);
      }
      answer.allowed = false;
      answer.ingress_denied = true;
    }
  }
  return answer;
}

PolicyTable::Explanations PolicyTable::explain(const PolicyQuestion& question) const {
  using By = PolicyExplanation::By;
  if (question.source == question.destination)
    return {{By::loopback, {}, 0}, {By::loopback, {}, 0}};
  const Pod* source = pods_.find(question.source);
  const Pod* destination = pods_.find(question.destination);
  const auto side = [&](const PolicyRow& row, IdentityId peer) {
    return PolicyExplanation{By::row,
                             row.decide(peer, question.protocol, question.destination_port.host()),
                             row.policy()};
  };
  Explanations found;
  if (source != nullptr) {
    found.egress = source->egress == nullptr
                       ? PolicyExplanation{By::not_isolated, {}, 0}
                       : side(*source->egress, identity(destination, question.destination));
  }
  if (destination != nullptr) {
    found.ingress = question.from_own_node ? PolicyExplanation{By::own_node, {}, 0}
                    : destination->ingress == nullptr
                        ? PolicyExplanation{By::not_isolated, {}, 0}
                        : side(*destination->ingress, identity(source, question.source));
  }
  return found;
}

const std::string& PolicyTable::policy_name(std::uint32_t policy) const {
  return (*names_)[policy < names_->size() ? policy : 0];
}

void PolicyTable::set_policy_names(std::shared_ptr<const std::vector<std::string>> names) {
  check(names != nullptr && !names->empty(), "policy names need a first one for \"no policy\"");
  names_ = std::move(names);
}

}  // namespace podwire::tables
