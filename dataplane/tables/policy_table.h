// The compiled NetworkPolicies of this node's pods. Immutable once published; rows, shards and
// names that did not change are shared between snapshots.
//
//   address ── identity ─┐                         (exact for pods, longest prefix for the rest)
//                        ├─ row of the local pod ── rules whose peer matches ─┐
//                        │                                                    AND ─ first rule
//   (protocol, port) ────┘                      ── rules whose ports match ───┘      decides
//
// What that comes to is kept for each set of rules that peers match and each interval of ports, a
// bit: workers read it, tools follow the rules.
//
// An identity stands for all addresses that no rule can tell apart. A row belongs to one direction
// of the local pods that the same policies select. Rules stand in tiers, in order: the first that
// matches decides, `pass` leaves the tier, `otherwise` is the answer of a tier without a match.
// NetworkPolicy needs one tier of `allow` rules that denies otherwise. Tools ask where a rule
// stands in the objects; workers do not, so that is kept apart from what they read. Sources:
// k8s.io/api/networking/v1 NetworkPolicy; sigs.k8s.io/network-policy-api for tiers.
#pragma once

#include <emmintrin.h>

#include <array>
#include <bit>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dataplane/tables/huge_pages.h"
#include "dataplane/tables/lpm.h"
#include "dataplane/tables/policies.h"
#include "dataplane/tables/sharded_map.h"

namespace podwire::tables {

inline constexpr IdentityId kWorld = 0;

enum class PolicyAction : std::uint8_t { allow, deny, pass };
// Which of the API's tiers one of a row is.
enum class PolicyTier : std::uint8_t { admin, network_policy, baseline };

// Where a rule of a row stands in the objects.
struct RuleOrigin {
  std::uint32_t policy = 0;  // a number for PolicyTable::policy_name
  std::uint32_t rule = 0;    // its place in that policy's list of the row's direction, from 0
  bool operator==(const RuleOrigin&) const = default;
};

// How a row came to its answer.
struct PolicyDecision {
  bool allowed = true;
  PolicyTier tier = PolicyTier::network_policy;
  bool by_rule = false;  // else by what the tier says where none of its rules matches
  // Of the rule: several where rules for the same ports were compiled as one.
  std::span<const RuleOrigin> origins;
};

struct PortRange {
  std::uint8_t protocol = 6;
  std::uint16_t first = 0, last = 0xffff;  // inclusive
  bool operator==(const PortRange&) const = default;
  auto operator<=>(const PortRange&) const = default;
};

// One direction of policy for the pods it is given to. Any thread may read.
class alignas(64) PolicyRow {
 public:
  // Worker threads; no allocation. Cost: a look-up by identity, a comparison with the begins of
  // intervals of ports, a bit. Where ports make more than 16 intervals: a binary search over them
  // and one AND for each 64 rules.
  [[nodiscard]] bool allows(IdentityId peer, std::uint8_t protocol,
                            std::uint16_t port) const noexcept;
  // The row's own lines that allows() reads.
  void prefetch() const noexcept {
    __builtin_prefetch(this);
    __builtin_prefetch(&begins_);
  }
  // The policy to name when the answer is no because no rule allows it.
  [[nodiscard]] std::uint32_t policy() const noexcept { return policy_; }
  // The policy to name when the answer to this is no: the one that denies, or policy().
  [[nodiscard]] std::uint32_t refused_by(IdentityId peer, std::uint8_t protocol,
                                         std::uint16_t port) const noexcept {
    const PolicyDecision decision = decide(peer, protocol, port);
    return decision.origins.empty() ? policy_ : decision.origins.front().policy;
  }

  // Control thread. Whether any rule beside those for any peer matches the identity.
  [[nodiscard]] bool knows(IdentityId peer) const noexcept { return peer_mask(peer) != 0; }
  // f(IdentityId), each that knows() is true of.
  template <typename F>
  void for_each_known(F&& f) const {
    for (std::size_t place = 0; place < chunks_.size(); ++place) {
      if (chunks_[place] == nullptr) continue;
      for (std::uint32_t n = 0; n < kChunk; ++n) {
        if (chunks_[place]->mask[n] != 0) f(static_cast<IdentityId>(place * kChunk + n));
      }
    }
  }
  // Whether the same rules match both.
  [[nodiscard]] bool treats_alike(IdentityId a, IdentityId b) const noexcept {
    return peer_mask(a) == peer_mask(b);
  }
  // Same answers to every question. May say no when it cannot tell.
  [[nodiscard]] bool same_answers(const PolicyRow& other) const;
  // The same rules of the same policies, bit by bit.
  [[nodiscard]] bool same_origins(const PolicyRow& other) const {
    return *origins_ == *other.origins_;
  }
  // As allows(), with the reason; valid as long as the row.
  [[nodiscard]] PolicyDecision decide(IdentityId peer, std::uint8_t protocol,
                                      std::uint16_t port) const noexcept;

 private:
  friend class PolicyRowBuilder;
  static constexpr std::uint32_t kChunk = 1024;
  // By identity. A missing chunk is all of peers that only the rules for any peer match.
  struct Chunk {
    std::array<std::uint16_t, kChunk> allowed;  // a bit for each interval of ports
    std::array<std::uint32_t, kChunk> mask;     // a number in masks_
  };
  struct Tier {
    std::uint32_t first_word = 0, last_word = 0;  // half open
    std::uint32_t last_bit = 0;                   // half open; what is left of the word is padding
    PolicyAction otherwise = PolicyAction::deny;
    PolicyTier name = PolicyTier::network_policy;
    bool operator==(const Tier&) const = default;
  };
  // Everything from `begin` (protocol << 16 | port) to the next one's begin.
  struct Interval {
    std::uint32_t begin = 0;
    std::uint32_t mask = 0;  // number of a mask in masks_
    bool operator==(const Interval&) const = default;
  };
  using Origins = std::vector<std::vector<RuleOrigin>>;  // by bit

  [[nodiscard]] const std::uint64_t* mask(std::uint32_t number) const noexcept {
    return masks_.data() + std::size_t{number} * words_;
  }
  [[nodiscard]] const Chunk* chunk_of(IdentityId peer) const noexcept {
    const std::size_t place = peer / kChunk;
    return place < chunks_.size() ? chunks_[place].get() : nullptr;
  }
  [[nodiscard]] std::uint32_t peer_mask(IdentityId peer) const noexcept;
  static constexpr std::uint32_t port_key(std::uint8_t protocol, std::uint32_t port) {
    return (std::uint32_t{protocol} << 16) + port;
  }
  [[nodiscard]] unsigned begun(std::uint32_t key) const noexcept;
  [[nodiscard]] bool allows_of_many(IdentityId peer, std::uint8_t protocol,
                                    std::uint16_t port) const noexcept;
  [[nodiscard]] const Interval& interval_of(std::uint8_t protocol,
                                            std::uint16_t port) const noexcept;
  [[nodiscard]] PolicyAction action(const std::uint64_t* by_peer,
                                    const std::uint64_t* by_port) const noexcept;

  // What allows() reads first, in two lines.
  std::vector<std::shared_ptr<const Chunk>, HugePageAllocator<std::shared_ptr<const Chunk>>>
      chunks_;
  std::uint16_t allowed_to_any_ = 0;  // as Chunk::allowed
  bool few_intervals_ = true;         // else Chunk::allowed says nothing
  std::uint32_t policy_ = 0;
  std::uint32_t words_ = 0;
  static constexpr std::size_t kFewIntervals = 16;
  // Of intervals_ but the first. The rest is greater than every key.
  alignas(64) std::array<std::int32_t, kFewIntervals> begins_{};

  std::vector<Tier> tiers_;
  std::vector<PolicyAction> actions_;  // by bit; padding between tiers is never set in a mask
  std::vector<std::uint64_t> masks_;   // words_ each; 0: the rules for any peer
  std::vector<Interval> intervals_;    // sorted; the first begins at 0
  std::shared_ptr<const Origins> origins_;
};

inline std::uint32_t PolicyRow::peer_mask(IdentityId peer) const noexcept {
  const Chunk* chunk = chunk_of(peer);
  return chunk == nullptr ? 0 : chunk->mask[peer % kChunk];
}

inline bool PolicyRow::allows(IdentityId peer, std::uint8_t protocol,
                              std::uint16_t port) const noexcept {
  if (!few_intervals_) [[unlikely]]
    return allows_of_many(peer, protocol, port);
  const Chunk* chunk = chunk_of(peer);
  const unsigned allowed = chunk == nullptr ? allowed_to_any_ : chunk->allowed[peer % kChunk];
  return (allowed >> begun(port_key(protocol, port)) & 1U) != 0;
}

// How many of begins_ are at most the key.
inline unsigned PolicyRow::begun(std::uint32_t key) const noexcept {
  const auto* four = reinterpret_cast<const __m128i*>(begins_.data());
  const __m128i limit = _mm_set1_epi32(static_cast<int>(key) + 1);
  const auto less = [&](unsigned n) { return _mm_cmpgt_epi32(limit, _mm_load_si128(four + n)); };
  const __m128i low = _mm_packs_epi32(less(0), less(1)), high = _mm_packs_epi32(less(2), less(3));
  const int bytes = _mm_movemask_epi8(_mm_packs_epi16(low, high));
  return static_cast<unsigned>(std::popcount(static_cast<unsigned>(bytes)));
}

// Makes a row, or a changed copy of one that shares the unchanged chunks. Control thread.
class PolicyRowBuilder {
 public:
  // `policy`: PolicyTable's number of the policy to name in a refusal.
  explicit PolicyRowBuilder(std::uint32_t policy);
  // A copy to which only set_peer() may be applied.
  explicit PolicyRowBuilder(const PolicyRow& row);

  void add_tier(PolicyAction otherwise, PolicyTier name = PolicyTier::network_policy);
  // Adds a rule to the last tier and returns its number. No ports: every port of every protocol.
  unsigned add_rule(PolicyAction action, std::span<const PortRange> ports, bool any_peer,
                    std::span<const RuleOrigin> origins = {});
  // The rules (beside those for any peer) that match this identity; replaces what was said before.
  void set_peer(IdentityId identity, std::span<const unsigned> rules);
  [[nodiscard]] std::shared_ptr<const PolicyRow> finish();

 private:
  struct Rule {
    unsigned bit;
    std::vector<PortRange> ports;
    bool any_peer;
    std::vector<RuleOrigin> origins;
  };
  void compile_ports();
  void compile_begins();
  std::uint16_t allowed_by(std::uint32_t mask);
  std::uint32_t intern(const std::vector<std::uint64_t>& mask);

  std::shared_ptr<PolicyRow> row_;
  std::vector<Rule> rules_;
  bool is_copy_ = false;
  std::map<std::vector<std::uint64_t>, std::uint32_t> interned_;  // of a new row
  std::vector<std::optional<std::uint16_t>> allowed_;  // by number of a mask, once asked for
  std::map<IdentityId, std::vector<unsigned>> peers_;  // of a new row, until finish()
};

// Why one end of a flow lets it pass or not.
struct PolicyExplanation {
  enum class By : std::uint8_t {
    loopback,      // a pod to itself
    no_local_pod,  // the end is no pod of this node: this node does not judge it
    not_isolated,  // no policy selects the pod in this direction
    own_node,      // from the node itself into its pod
    row            // `decision`
  };
  By by = By::no_local_pod;
  PolicyDecision decision;
  std::uint32_t policy = 0;  // of a row: the policy that a refusal is logged with
};

class PolicyTable {
 public:
  PolicyTable();

  // Both sides that are pods of this node are judged. A pod's traffic to itself and the node's own
  // into its pods is always allowed. Worker threads; no allocation.
  [[nodiscard]] PolicyAnswer judge(const PolicyQuestion& question) const noexcept {
    return judge(question, ends(question.source, question.destination));
  }
  // The same in steps: ends() prefetches what judge() reads first.
  [[nodiscard]] PolicyEnds ends(const net::Address& from, const net::Address& to) const noexcept;
  [[nodiscard]] static PolicyAnswer judge(const PolicyQuestion& question,
                                          const PolicyEnds& ends) noexcept;

  struct Explanations {
    PolicyExplanation egress, ingress;
  };
  // judge() with its reasons. Control thread and tools; valid as long as the table.
  [[nodiscard]] Explanations explain(const PolicyQuestion& question) const;

  // "namespace/name" by PolicyAnswer::policy. Control thread and tools.
  [[nodiscard]] const std::string& policy_name(std::uint32_t policy) const;

  // What follows makes the table, on the control thread before it is published. A copy shares what
  // is not changed in it.

  // A pod's address, of any node. Rows are for this node's pods; null: that side is not isolated.
  struct Pod {
    IdentityId identity = kWorld;
    std::shared_ptr<const PolicyRow> ingress, egress;
    bool operator==(const Pod&) const = default;
  };
  void set_pod(const net::Address& address, Pod pod);
  bool erase_pod(const net::Address& address);
  [[nodiscard]] std::optional<Pod> pod(const net::Address& address) const;
  // Addresses of no pod. The most specific prefix counts.
  void set_prefix(const net::Prefix& prefix, IdentityId identity) {
    prefixes_.set(prefix, identity);
  }
  bool erase_prefix(const net::Prefix& prefix) { return prefixes_.erase(prefix); }
  // As judge() takes it for a peer.
  [[nodiscard]] IdentityId identity_of(const net::Address& address) const noexcept {
    return end_of(address).identity;
  }
  void set_policy_names(std::shared_ptr<const std::vector<std::string>> names);
  [[nodiscard]] std::size_t pods() const noexcept { return pods_; }

 private:
  // Of an address.
  struct End {
    IdentityId identity = kWorld;
    std::uint32_t rows = kNoPod;  // a number in RowList
  };
  // Pods' addresses lie together: 16 of them, two lines, are found as one.
  static constexpr unsigned kBlock = 16;
  using Block = std::array<End, kBlock>;
  static net::Address block_of(net::Address address) noexcept {
    address.bytes[15] &= 0xf0;
    return address;
  }
  struct BlockHash {  // the map mixes the bits
    std::size_t operator()(const net::Address& block) const noexcept {
      const auto [high, low] = block.halves();
      return high * 0x9e3779b97f4a7c15ULL ^ low;
    }
  };
  struct Rows {
    std::shared_ptr<const PolicyRow> ingress, egress;
  };
  static constexpr std::uint32_t kNoPod = 0, kNotIsolated = 1;  // nobody's rows, and no rows
  struct RowList {
    struct Pair {
      const PolicyRow *ingress = nullptr, *egress = nullptr;
    };
    static constexpr std::size_t kKept = 32;
    using Kept = std::array<Rows, kKept>;
    [[nodiscard]] Rows at(std::uint32_t number) const;
    void set(std::uint32_t number, Rows to);

    std::vector<Pair> rows{2};  // what workers read
    // Keeps them. In parts, so that a list with one other entry costs little.
    std::vector<std::shared_ptr<const Kept>> kept{};
    std::vector<std::uint32_t> free{};
  };

  [[nodiscard]] End end_of(const net::Address& address) const noexcept {
    const Block* block = blocks_.find(block_of(address));
    if (block != nullptr) {
      const End end = (*block)[address.bytes[15] % kBlock];
      if (end.rows != kNoPod) return end;
    }
    const IdentityId* found = prefixes_.find(address);
    return {found == nullptr ? kWorld : *found, kNoPod};
  }
  void set_end(const net::Address& address, End end);
  RowList& own_rows();
  std::uint32_t number_rows(std::uint32_t old, Rows rows);

  ShardedMap<net::Address, Block, BlockHash> blocks_;
  std::shared_ptr<const RowList> rows_;
  Lpm<IdentityId> prefixes_;
  std::size_t pods_ = 0;
  std::shared_ptr<const std::vector<std::string>> names_;
};

inline PolicyEnds PolicyTable::ends(const net::Address& from,
                                    const net::Address& to) const noexcept {
  const End source = end_of(from), destination = end_of(to);
  const RowList::Pair* rows = rows_->rows.data();
  const PolicyEnds ends{rows[source.rows].egress, rows[destination.rows].ingress, source.identity,
                        destination.identity};
  if (ends.egress != nullptr) ends.egress->prefetch();
  if (ends.ingress != nullptr) ends.ingress->prefetch();
  return ends;
}

inline PolicyAnswer PolicyTable::judge(const PolicyQuestion& question,
                                       const PolicyEnds& ends) noexcept {
  const auto [egress, ingress, source, destination] = ends;
  const std::uint8_t protocol = question.protocol;
  const std::uint16_t port = question.destination_port.host();
  PolicyAnswer answer;
  // A pod cannot be cut off from itself (NetworkPolicy; upstream's tests ignore loopback).
  if (question.source == question.destination) return answer;
  answer.egress_denied = egress != nullptr && !egress->allows(destination, protocol, port);
  answer.ingress_denied =
      ingress != nullptr && !question.from_own_node && !ingress->allows(source, protocol, port);
  answer.allowed = !answer.egress_denied && !answer.ingress_denied;
  if (answer.allowed) [[likely]]
    return answer;
  answer.policy = answer.egress_denied ? egress->refused_by(destination, protocol, port)
                                       : ingress->refused_by(source, protocol, port);
  return answer;
}

}  // namespace podwire::tables
