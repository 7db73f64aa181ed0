#include "dataplane/tables/policy_table.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <set>

#include "dataplane/check.h"

namespace podwire::tables {
namespace {

constexpr unsigned kWordBits = 64;

}  // namespace

// The last interval that begins at or before the port: a binary search without branches to guess.
const PolicyRow::Interval& PolicyRow::interval_of(std::uint8_t protocol,
                                                  std::uint16_t port) const noexcept {
  const std::uint32_t key = port_key(protocol, port);
  const Interval* first = intervals_.data();
  for (std::size_t count = intervals_.size(); count > 1;) {
    const std::size_t half = count / 2;
    first = first[half].begin <= key ? first + half : first;
    count -= half;
  }
  return *first;
}

PolicyAction PolicyRow::action(const std::uint64_t* by_peer,
                               const std::uint64_t* by_port) const noexcept {
  for (const Tier& tier : tiers_) {
    PolicyAction action = tier.otherwise;
    for (std::uint32_t word = tier.first_word; word < tier.last_word; ++word) {
      const std::uint64_t both = by_peer[word] & by_port[word];
      if (both == 0) continue;
      action = actions_[word * kWordBits + static_cast<unsigned>(std::countr_zero(both))];
      break;
    }
    if (action != PolicyAction::pass) return action;
  }
  return PolicyAction::allow;
}

bool PolicyRow::allows_of_many(IdentityId peer, std::uint8_t protocol,
                               std::uint16_t port) const noexcept {
  return action(mask(peer_mask(peer)), mask(interval_of(protocol, port).mask)) ==
         PolicyAction::allow;
}

PolicyDecision PolicyRow::decide(IdentityId peer, std::uint8_t protocol,
                                 std::uint16_t port) const noexcept {
  const std::uint64_t* by_peer = mask(peer_mask(peer));
  const std::uint64_t* by_port = mask(interval_of(protocol, port).mask);
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

PolicyRowBuilder::PolicyRowBuilder(std::uint32_t policy) : row_(make_in_huge_pages<PolicyRow>()) {
  row_->policy_ = policy;
  row_->origins_ = std::make_shared<const PolicyRow::Origins>();
}

PolicyRowBuilder::PolicyRowBuilder(const PolicyRow& row)
    : row_(make_in_huge_pages<PolicyRow>(row)), is_copy_(true) {
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
  if (is_copy_ && interned_.empty()) {  // of few masks: to note them all would be more work
    const auto masks = static_cast<std::uint32_t>(row_->masks_.size() / row_->words_);
    for (std::uint32_t n = 0; n < masks; ++n) {
      if (std::equal(mask.begin(), mask.end(), row_->mask(n))) return n;
    }
    row_->masks_.insert(row_->masks_.end(), mask.begin(), mask.end());
    return masks;
  }
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
  std::shared_ptr<PolicyRow::Chunk> chunk;
  if (slot == nullptr) {
    chunk = make_in_huge_pages<PolicyRow::Chunk>();
    chunk->allowed.fill(row_->allowed_to_any_);
  } else if (slot.use_count() == 1) {
    chunk = std::const_pointer_cast<PolicyRow::Chunk>(slot);
  } else {
    chunk = make_in_huge_pages<PolicyRow::Chunk>(*slot);
  }
  chunk->mask[identity % PolicyRow::kChunk] = number;
  chunk->allowed[identity % PolicyRow::kChunk] = allowed_by(number);
  slot = std::move(chunk);
}

void PolicyRowBuilder::compile_ports() {
  std::set<std::uint32_t> begins{0};
  for (const Rule& rule : rules_) {
    for (const PortRange& range : rule.ports) {
      begins.insert(PolicyRow::port_key(range.protocol, range.first));
      begins.insert(PolicyRow::port_key(range.protocol, range.last) + 1);
    }
  }
  for (const std::uint32_t begin : begins) {
    std::vector<std::uint64_t> mask(row_->words_);
    for (const Rule& rule : rules_) {
      const bool matches =
          rule.ports.empty() || std::any_of(rule.ports.begin(), rule.ports.end(), [&](auto& range) {
            return PolicyRow::port_key(range.protocol, range.first) <= begin &&
                   begin <= PolicyRow::port_key(range.protocol, range.last);
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
    compile_begins();
    PolicyRow::Origins origins(row_->actions_.size());
    for (Rule& rule : rules_) origins[rule.bit] = std::move(rule.origins);
    row_->origins_ = std::make_shared<const PolicyRow::Origins>(std::move(origins));
    is_copy_ = true;
    for (const auto& [identity, rules] : peers_) set_peer(identity, rules);
    peers_.clear();
  }
  return std::move(row_);
}

void PolicyRowBuilder::compile_begins() {
  PolicyRow& row = *row_;
  row.few_intervals_ = row.intervals_.size() <= PolicyRow::kFewIntervals;
  row.begins_.fill(std::numeric_limits<std::int32_t>::max());
  for (std::size_t n = 1; n < row.intervals_.size() && row.few_intervals_; ++n) {
    row.begins_[n - 1] = static_cast<std::int32_t>(row.intervals_[n].begin);
  }
  row.allowed_to_any_ = allowed_by(0);
}

// To the peers that a mask of rules is for.
std::uint16_t PolicyRowBuilder::allowed_by(std::uint32_t mask) {
  const PolicyRow& row = *row_;
  if (!row.few_intervals_) return 0;
  if (mask >= allowed_.size()) allowed_.resize(mask + std::size_t{1});
  if (allowed_[mask]) return *allowed_[mask];
  unsigned allowed = 0;
  for (std::size_t n = 0; n < row.intervals_.size(); ++n) {
    const auto action = row.action(row.mask(mask), row.mask(row.intervals_[n].mask));
    if (action == PolicyAction::allow) allowed |= 1U << n;
  }
  allowed_[mask] = static_cast<std::uint16_t>(allowed);
  return *allowed_[mask];
}

PolicyTable::PolicyTable()
    : rows_(std::make_shared<const RowList>()),
      names_(
          std::make_shared<const std::vector<std::string>>(std::vector<std::string>{"no policy"})) {
}

void PolicyTable::set_end(const net::Address& address, End end) {
  const net::Address at = block_of(address);
  const Block* old = blocks_.find(at);
  Block block = old == nullptr ? Block{} : *old;
  block[address.bytes[15] % kBlock] = end;
  if (std::all_of(block.begin(), block.end(), [](auto& e) { return e.rows == kNoPod; })) {
    blocks_.erase(at);
  } else {
    blocks_.set(at, block);
  }
}

// To be changed: a list that another table holds too is copied first.
PolicyTable::RowList& PolicyTable::own_rows() {
  if (rows_.use_count() != 1) rows_ = std::make_shared<const RowList>(*rows_);
  return const_cast<RowList&>(*rows_);
}

PolicyTable::Rows PolicyTable::RowList::at(std::uint32_t number) const {
  const std::size_t part = number / kKept;
  return part < kept.size() && kept[part] != nullptr ? (*kept[part])[number % kKept] : Rows{};
}

void PolicyTable::RowList::set(std::uint32_t number, Rows to) {
  if (number >= rows.size()) rows.resize(number + 1);
  rows[number] = {to.ingress.get(), to.egress.get()};
  const std::size_t part = number / kKept;
  if (part >= kept.size()) kept.resize(part + 1);
  auto& place = kept[part];
  if (place == nullptr) {
    place = std::make_shared<const Kept>();
  } else if (place.use_count() != 1) {
    place = std::make_shared<const Kept>(*place);
  }
  const_cast<Kept&>(*place)[number % kKept] = std::move(to);
}

// The number for these rows, of an address that had number `old`.
std::uint32_t PolicyTable::number_rows(std::uint32_t old, Rows rows) {
  const bool has_old = old != kNoPod && old != kNotIsolated;
  if (rows.ingress == nullptr && rows.egress == nullptr) {
    if (has_old) {
      RowList& list = own_rows();
      list.set(old, {});
      list.free.push_back(old);
    }
    return kNotIsolated;
  }
  const auto [ingress, egress] = rows_->rows[old];
  if (has_old && ingress == rows.ingress.get() && egress == rows.egress.get()) return old;
  RowList& list = own_rows();
  std::uint32_t number = old;
  if (!has_old && list.free.empty()) {
    number = static_cast<std::uint32_t>(list.rows.size());
  } else if (!has_old) {
    number = list.free.back();
    list.free.pop_back();
  }
  list.set(number, std::move(rows));
  return number;
}

void PolicyTable::set_pod(const net::Address& address, Pod pod) {
  const std::uint32_t old = end_of(address).rows;
  if (old == kNoPod) ++pods_;
  set_end(address,
          {pod.identity, number_rows(old, {std::move(pod.ingress), std::move(pod.egress)})});
}

bool PolicyTable::erase_pod(const net::Address& address) {
  const std::uint32_t old = end_of(address).rows;
  if (old == kNoPod) return false;
  --pods_;
  (void)number_rows(old, {});
  set_end(address, {});
  return true;
}

std::optional<PolicyTable::Pod> PolicyTable::pod(const net::Address& address) const {
  const End end = end_of(address);
  if (end.rows == kNoPod) return std::nullopt;
  Rows rows = rows_->at(end.rows);
  return Pod{end.identity, std::move(rows.ingress), std::move(rows.egress)};
}

PolicyTable::Explanations PolicyTable::explain(const PolicyQuestion& question) const {
  using By = PolicyExplanation::By;
  if (question.source == question.destination)
    return {{By::loopback, {}, 0}, {By::loopback, {}, 0}};
  const End source = end_of(question.source), destination = end_of(question.destination);
  const PolicyRow* egress = rows_->rows[source.rows].egress;
  const PolicyRow* ingress = rows_->rows[destination.rows].ingress;
  const auto side = [&](const PolicyRow* row, IdentityId peer) {
    if (row == nullptr) return PolicyExplanation{By::not_isolated, {}, 0};
    return PolicyExplanation{By::row,
                             row->decide(peer, question.protocol, question.destination_port.host()),
                             row->policy()};
  };
  Explanations found;
  if (source.rows != kNoPod) found.egress = side(egress, destination.identity);
  if (destination.rows != kNoPod) {
    found.ingress = question.from_own_node ? PolicyExplanation{By::own_node, {}, 0}
                                           : side(ingress, source.identity);
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
