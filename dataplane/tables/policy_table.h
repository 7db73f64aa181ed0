// The compiled NetworkPolicies of this node's pods. Immutable once published; rows, shards and
// names that did not change are shared between snapshots.
//
//   address ── identity ─┐                         (exact for pods, longest prefix for the rest)
//                        ├─ row of the local pod ── rules whose peer matches ─┐
//                        │                                                    AND ─ first rule
//   (protocol, port) ────┘                      ── rules whose ports match ───┘      decides
//
// An identity stands for all addresses that no rule can tell apart. A row belongs to one direction
// of the local pods that the same policies select. Rules stand in tiers, in order: the first that
// matches decides, `pass` leaves the tier, `otherwise` is the answer of a tier without a match.
// NetworkPolicy needs one tier of `allow` rules that denies otherwise. Tools ask where a rule
// stands in the objects; workers do not, so that is kept apart from what they read. Sources:
// k8s.io/api/networking/v1 NetworkPolicy; sigs.k8s.io/network-policy-api for tiers.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dataplane/tables/lpm.h"
#include "dataplane/tables/policies.h"
#include "dataplane/tables/sharded_map.h"

namespace podwire::tables {

// Small numbers, given by the maker of the table. 0: an address that no selector and no ipBlock
// names; rules for any peer still match it.
using IdentityId = std::uint32_t;
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
class PolicyRow {
 public:
  // Worker threads; no allocation. Cost: one look-up by identity, a binary search over the ports
  // named in the row, and one AND for each 64 rules.
  [[nodiscard]] bool allows(IdentityId peer, std::uint8_t protocol,
                            std::uint16_t port) const noexcept;
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
  // Identity -> number of a mask in masks_. A missing chunk holds mask 0 only.
  using Chunk = std::array<std::uint32_t, kChunk>;
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
  [[nodiscard]] std::uint32_t peer_mask(IdentityId peer) const noexcept;
  [[nodiscard]] std::uint32_t port_mask(std::uint8_t protocol, std::uint16_t port) const noexcept;

  std::uint32_t policy_ = 0;
  std::uint32_t words_ = 0;
  std::vector<Tier> tiers_;
  std::vector<PolicyAction> actions_;  // by bit; padding between tiers is never set in a mask
  std::vector<std::uint64_t> masks_;   // words_ each; 0: the rules for any peer
  std::vector<std::shared_ptr<const Chunk>> chunks_;
  std::vector<Interval> intervals_;  // sorted; the first begins at 0
  std::shared_ptr<const Origins> origins_;
};

inline std::uint32_t PolicyRow::peer_mask(IdentityId peer) const noexcept {
  const std::size_t chunk = peer / kChunk;
  if (chunk >= chunks_.size() || chunks_[chunk] == nullptr) return 0;
  return (*chunks_[chunk])[peer % kChunk];
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
  std::uint32_t intern(const std::vector<std::uint64_t>& mask);

  std::shared_ptr<PolicyRow> row_;
  std::vector<Rule> rules_;
  bool is_copy_ = false;
  std::map<std::vector<std::uint64_t>, std::uint32_t> interned_;
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
  [[nodiscard]] PolicyAnswer judge(const PolicyQuestion& question) const noexcept;

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
  void set_pod(const net::Address& address, Pod pod) { pods_.set(address, std::move(pod)); }
  bool erase_pod(const net::Address& address) { return pods_.erase(address); }
  [[nodiscard]] const Pod* pod(const net::Address& address) const { return pods_.find(address); }
  // Addresses of no pod. The most specific prefix counts.
  void set_prefix(const net::Prefix& prefix, IdentityId identity) {
    prefixes_.set(prefix, identity);
  }
  bool erase_prefix(const net::Prefix& prefix) { return prefixes_.erase(prefix); }
  // As judge() takes it for a peer.
  [[nodiscard]] IdentityId identity_of(const net::Address& address) const noexcept {
    return identity(pods_.find(address), address);
  }
  void set_policy_names(std::shared_ptr<const std::vector<std::string>> names);
  [[nodiscard]] std::size_t pods() const noexcept { return pods_.size(); }

 private:
  [[nodiscard]] IdentityId identity(const Pod* pod, const net::Address& address) const noexcept;

  ShardedMap<net::Address, Pod, net::AddressHash> pods_;
  Lpm<IdentityId> prefixes_;
  std::shared_ptr<const std::vector<std::string>> names_;
};

}  // namespace podwire::tables
