// The flow table of one family, shared by all workers. See flow/README.md for the layout and why.
//
// Contract: any thread that is online in the quiescence domain may find, insert, touch and erase at
// the same time. An entry is complete before it can be found. A slot is reused only after every
// worker has passed a quiescent point since its erasure, so a Flow* stays readable until the
// caller's next report. Slots never move: the slot number is the flow's id. No call waits for
// another thread.
//
// Work of an insert, at any fill: without a rival for its keys at most kPlacings + 1 rounds over
// six chains of kChain groups (to look, to claim, to look again; two keys), and to make room
// kPlacings times the tags of four groups and 16 connections. A rival costs at most kPatience looks
// at either chain a round; there are never more than kAttempts rounds.
//
// Port reuse: when find() yields a flow and opens_again() (tcp_state.h) says the packet opens a new
// connection on it, erase() it and treat the packet as one without flow: both keys are free at
// once.
//
// Why a reader never sees a half-made entry. A tag's lane goes EMPTY, tentative, committed, BUSY,
// TOMB, EMPTY, by read-modify-write only; readers heed committed tags alone.
//   1. An entry is written while its lane is tentative, by the one thread whose compare-and-swap
//      claimed it. Others may make it CANCELLED then, and nothing else; it stays the claimer's.
//   2. Both entries are written before either is committed. The step to committed releases what
//      was written; who takes it for the owner has acquired the peer's, committed before. Every
//      later change of the same 64-bit word is a read-modify-write, hence part of its release
//      sequence: who acquires the word in any later state sees both entries whole.
//   3. find() asks the tag first and reads the entry after it, never the other way.
//
// Why it never sees a reused slot.
//   1. A lane leaves TOMB only when the epoch noted in its record is over (grace.h). The epoch's
//      number is read after the lane left committed, its token is taken after the number has moved
//      on: the token is younger than the unlinking and passes only when every reader has reported
//      since, so that none still holds the entry.
//   2. Of two claimers of a TOMB one compare-and-swap wins. If the slot was used and erased anew
//      between a claimer's look at the epoch and its swap, the second look, with the lane BUSY and
//      its own, sees the new number and puts the TOMB back.
//
// Why of racing inserts of one key one wins. Each makes its two lanes tentative, writes the
// entries, then looks at the whole chain for others of the same tag, then commits the reply and
// after it the forward entry, all of it sequentially consistent. A committed one is a rival when
// its key is the same; a tentative one always, since its key may not be written yet: two inserts
// that share only 14 bits of hash may make each other try again. Suppose A and B were both
// committed, and A became tentative first. B's look came after both: it saw A committed, and
// withdrew; or tentative, and withdrew or turned A into CANCELLED. If that swap succeeded A's
// commit failed; if not, A was committed and B withdrew. A look at the first group is a look at the
// chain when the count of entries that passed it is zero: they count themselves before they can be
// seen. Of two tentative rivals the one in the lower slot goes on; the other looks a few times
// more, then cancels it, so that a stopped thread holds nobody up. Once a reply is committed only a
// cancelled forward entry can stop the connection, so a rival who meets that state commits the
// forward entry for its owner.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "dataplane/config.h"
#include "dataplane/flow/flow.h"
#include "dataplane/flow/grace.h"
#include "dataplane/flow/group.h"
#include "dataplane/flow/key_hash.h"
#include "dataplane/flow/line_writes.h"
#include "dataplane/flow/tcp_state.h"
#include "dataplane/flow/zeroed_array.h"
#include "dataplane/tables/quiescence.h"

namespace podwire::flow {

enum class Outcome : std::uint8_t {
  inserted,
  exists,  // another worker (or an earlier packet) was first: `flow` is the entry whose key is
           // `forward`: the winner's forward entry, or the reply entry of a connection that the
           // other side opened
  reply_taken,  // the reply key belongs to another connection (or is the forward key itself):
                // choose another source port
  full,         // at the limit, and nothing half-open could make room
};

template <typename F>
class FlowMap {
 public:
  using Key = typename F::Key;

  FlowMap(std::uint32_t connections, const FlowTimeouts& timeouts, tables::Quiescence& quiescence);
  FlowMap(const FlowMap&) = delete;
  FlowMap& operator=(const FlowMap&) = delete;

  // The three steps of a look-up, so that a batch overlaps its cache misses: hash and prefetch the
  // tags; from the tags a candidate slot, whose entry is prefetched; the entry itself.
  [[nodiscard]] std::uint32_t hash(const Key& key) const noexcept { return hash_(key); }
  [[nodiscard]] const KeyHash& hasher() const noexcept { return hash_; }
  // Returns the group whose tags they are.
  std::uint32_t prefetch(std::uint32_t hash) const noexcept {
    const std::uint32_t group = first_group(hash);
    __builtin_prefetch(&groups_[group]);
    return group;
  }
  [[nodiscard]] std::uint32_t hint(std::uint32_t hash) const noexcept;
  // In one, with prefetch()'s group, for a caller who compares the key itself and asks find() when
  // it differs: the entry of the first such tag, prefetched. Complete, as the tag was committed
  // when it was read. Null when there is none; then, once the other look-ups are on their way:
  // perhaps one from the next group, or one whose key is no packet's.
  [[nodiscard]] Flow<F>* candidate(std::uint32_t group, std::uint32_t hash) noexcept;
  [[nodiscard]] Flow<F>* candidate_further(std::uint32_t hash) noexcept;
  // Null when there is none. The hint (of this look-up, or kNoSlot) may be stale; it only saves
  // time.
  [[nodiscard]] Flow<F>* find(const Key& key, std::uint32_t hash, std::uint32_t hint) noexcept;
  [[nodiscard]] Flow<F>* find(const Key& key) noexcept { return find(key, hash(key), kNoSlot); }
  [[nodiscard]] Flow<F>& at(SlotId slot) noexcept { return flows_[index(slot)]; }

  struct Inserted {
    Outcome outcome;
    std::uint32_t reply_hash;  // of the reply's key, when `inserted`
    Flow<F>* flow;             // null for reply_taken and full
  };
  // Enters both directions, the reply first. Bounded work, see above. The packet itself is counted
  // by passed(), as every other.
  Inserted insert(const NewFlow<F>& flow, std::uint32_t now_seconds) noexcept {
    const std::uint32_t hash = hash_(flow.forward);
    if (Flow<F>* found = search(flow.forward, hash)) return {Outcome::exists, 0, found};
    return insert(flow, hash, now_seconds);
  }
  // For a caller who has looked for flow.forward since its last report, and not found it: saves
  // time when nobody entered it since. `hash` is its.
  Inserted insert(const NewFlow<F>& flow, std::uint32_t hash, std::uint32_t now_seconds) noexcept;
  // For a key that is likely to be entered next, whose tags are in the cache: prefetches the place
  // that it will get, of a forward entry or of a reply's; or the tags of its second group.
  void prefetch_place(std::uint32_t hash, bool forward) const noexcept;
  // Those tags being in the cache: the place there, if the first group is full.
  void prefetch_second_place(std::uint32_t hash, bool forward) const noexcept;

  // A packet of the flow passed: counts it, keeps the flow alive and moves its state on.
  // `flags` are TCP's, the first chunk's type for SCTP, else 0. Writes the packet's own direction's
  // entry only, except when the state changes. Two workers that carry one direction at once may
  // lose counts to each other.
  void passed(Flow<F>& flow, std::uint32_t length, std::uint8_t protocol, std::uint8_t flags,
              std::uint32_t now_seconds) noexcept;
  // Moves the state on alone: for who counts the packet by count().
  void move(Flow<F>& flow, std::uint8_t protocol, std::uint8_t flags,
            std::uint32_t now_seconds) noexcept;
  // As passed(), for a packet that cannot move the state: is_steady() (tcp_state.h). `now` is the
  // second as entries have it.
  static void count(Flow<F>& flow, std::uint32_t length, std::uint16_t now) noexcept;
  // 0xffff is kept for kNotSince and kNeverDue.
  static std::uint16_t clock16(std::uint32_t seconds) noexcept {
    const auto low = static_cast<std::uint16_t>(seconds);
    return low == 0xffff ? std::uint16_t{0xfffe} : low;
  }

  // Ends both directions; true for the one caller who did. Idempotent, also on a flow found before
  // and ended since, until the caller's next report.
  bool erase(Flow<F>& flow) noexcept;

  // Ageing: looks at up to `groups` groups from where the last call of this part stopped; part of
  // parts, each part one thread at a time. Returns how many connections expired. Every group wants
  // a look at least every 30,000 seconds (8 hours); about once a second in practice.
  unsigned sweep(unsigned part, unsigned parts, unsigned groups,
                 std::uint32_t now_seconds) noexcept;

  // Connections in the table, and the limit. Any thread.
  [[nodiscard]] std::uint32_t size() const noexcept {
    return size_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint32_t limit() const noexcept { return limit_; }
  // A new connection would have to take the place of another.
  [[nodiscard]] bool full() const noexcept { return size() >= limit_; }
  // Connections that have ended, whatever the cause, since the start.
  [[nodiscard]] std::uint64_t ended() const noexcept {
    return ended_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint32_t groups() const noexcept { return group_count_; }
  // All memory of the table.
  [[nodiscard]] std::size_t bytes() const noexcept {
    return sizeof *this + groups_.bytes() + flows_.bytes() + records_.bytes();
  }

  // How the slots stand, counted one by one: slow, and exact only while nobody writes. Any thread.
  struct Usage {
    std::uint32_t slots = 0;
    std::uint32_t committed = 0;  // two for each connection
    std::uint32_t resting = 0;    // erased, grace period not over or not yet noticed
    std::uint32_t moving = 0;     // being inserted or erased
    std::uint64_t overflow = 0;   // groups passed by the entries that stand beyond their first
  };
  [[nodiscard]] Usage usage() const noexcept;

  // What only control asks of a forward entry.
  [[nodiscard]] std::uint32_t service_id(const Flow<F>& forward) const noexcept;
  [[nodiscard]] std::uint32_t age_seconds(const Flow<F>& forward,
                                          std::uint32_t now_seconds) const noexcept;
  [[nodiscard]] std::uint32_t expires_in_seconds(const Flow<F>& forward,
                                                 std::uint32_t now_seconds) const noexcept;

  // f(SlotId, Flow<F>&) for every forward entry, or those of `count` groups from `first`. The
  // caller is online in the quiescence domain for the whole call.
  template <typename Visit>
  void for_each(Visit&& visit) {
    for_each(0, group_count_, visit);
  }
  template <typename Visit>
  void for_each(std::uint32_t first, std::uint32_t count, Visit&& visit);

 private:
  // What packets do not need, by slot: a connection has two.
  struct Record {
    // Of a forward entry: the second in which it began. Of a TOMB: the epoch of its erasure.
    std::atomic<std::uint32_t> moment;
    // Of a forward entry: its Service's id. Of a reply: the second of the connection's last packet,
    // older than either entry's `seen` that is set; or one before the connection began.
    std::atomic<std::uint32_t> about;
  };

  // The groups in which a key may stand: from its first by a step of its own. The number of groups
  // is prime, so no group comes twice.
  static constexpr unsigned kChain = 16;
  class Chain {
   public:
    Chain(const FlowMap& map, std::uint32_t hash) noexcept
        : count_(map.group_count_), group_(map.first_group(hash)) {
      const std::uint32_t other = std::rotl(hash, 16) * 0x9e3779b1U;
      step_ = 1 + static_cast<std::uint32_t>((std::uint64_t{other} * (count_ - 1)) >> 32);
    }
    [[nodiscard]] std::uint32_t group() const noexcept { return group_; }
    void next() noexcept {
      const std::uint64_t sum = std::uint64_t{group_} + step_;
      group_ = static_cast<std::uint32_t>(sum >= count_ ? sum - count_ : sum);
    }

   private:
    std::uint32_t count_, group_, step_ = 0;
  };

  // A slot is 16 * group + lane; entries stand without gaps, 15 to a group.
  static std::uint32_t index(SlotId slot) noexcept { return slot - slot / 16; }
  [[nodiscard]] SlotId slot_of(const Flow<F>& flow) const noexcept {
    const auto i = static_cast<std::uint32_t>(&flow - flows_.data());
    return i + i / kLanes;
  }
  [[nodiscard]] SlotId forward_of(const Flow<F>& flow) const noexcept {
    return flow.is_reply ? flow.peer : slot_of(flow);
  }
  [[nodiscard]] std::uint32_t first_group(std::uint32_t hash) const noexcept {
    return static_cast<std::uint32_t>((std::uint64_t{hash} * group_count_) >> 32);
  }
  static bool same(const Key& a, const Key& b) noexcept { return equal(a, b); }
  void prefetch_lane(std::uint32_t group, unsigned mask, bool forward) const noexcept;
  void prefetch_entry(std::uint32_t place) const noexcept {
    const auto* entry = reinterpret_cast<const std::uint8_t*>(&flows_[place]);
    for (std::size_t line = 0; line < sizeof(Flow<F>); line += 64) {
      __builtin_prefetch(entry + line, 1);
    }
  }
  void prefetch_further(const Lanes& first, std::uint32_t hash) const noexcept;
  [[nodiscard]] Flow<F>* search(const Key& key, std::uint32_t hash) noexcept;
  [[nodiscard]] Flow<F>* search_in(std::uint32_t group, const Lanes& tags, const Key& key,
                                   std::uint32_t hash) noexcept;
  [[nodiscard]] Flow<F>* search_further(const Key& key, std::uint32_t hash) noexcept;

  enum class Contest : std::uint8_t { won, waits, lost };
  struct Pair {
    SlotId forward, reply;
    std::uint32_t forward_hash, reply_hash;
  };
  bool reserve(const Pair& pair, std::uint32_t now_seconds) noexcept;
  SlotId claim(std::uint32_t hash) noexcept;
  SlotId claim_anywhere(std::uint32_t hash) noexcept;
  bool claim_in(std::uint32_t group, std::uint32_t hash, unsigned& lane) noexcept;
  bool take_rested(std::uint32_t group, unsigned lane) noexcept;
  void fill(const Pair& pair, const NewFlow<F>& flow, const Key& reply,
            std::uint32_t now_seconds) noexcept;
  bool publish(const Pair& pair) noexcept;
  [[nodiscard]] bool is_alone(SlotId slot, std::uint32_t hash) const noexcept;
  bool wins(SlotId slot, std::uint32_t hash, const Pair& pair) noexcept;
  bool outlasts(SlotId slot, std::uint32_t hash, const Pair& pair) noexcept;
  Contest contend(SlotId slot, std::uint32_t hash, const Pair& pair, bool impatient) noexcept;
  bool help(SlotId reply, const Key& forward_key) noexcept;
  void withdraw(SlotId slot, std::uint32_t hash) noexcept;
  void release(SlotId slot, std::uint32_t hash) noexcept;
  bool end(SlotId forward) noexcept;
  using Candidates = std::array<SlotId, 16>;
  unsigned find_candidates(const Pair& pair, std::uint32_t now_seconds,
                           Candidates& candidates) const noexcept;
  bool make_room(const Pair& pair, std::uint32_t now_seconds) noexcept;
  void move_on(Flow<F>& flow, std::uint8_t protocol, std::uint8_t flags,
               std::uint32_t now_seconds) noexcept;
  [[nodiscard]] std::uint32_t last_seen(const Flow<F>& forward,
                                        std::uint32_t now_seconds) const noexcept;
  void take_over_seen(SlotId forward, std::uint32_t now_seconds) noexcept;
  [[nodiscard]] std::uint32_t timeout(const Flow<F>& forward, State state) const noexcept;
  bool look_at(SlotId forward, std::uint32_t now_seconds) noexcept;
  unsigned sweep_group(std::uint32_t at, std::uint32_t now_seconds) noexcept;

  const std::uint32_t limit_;
  const std::uint32_t group_count_;
  const FlowTimeouts timeouts_;
  const std::uint32_t expendable_reach_;  // seconds
  const KeyHash hash_;
  ZeroedArray<Group> groups_;
  ZeroedArray<Flow<F>> flows_;
  ZeroedArray<Record> records_;
  Flow<F> none_;
  alignas(64) std::atomic<std::uint32_t> size_{0};
  std::atomic<std::uint64_t> ended_{0};
  Grace grace_;
  static constexpr unsigned kParts = 128;
  struct alignas(64) Cursor {
    std::uint32_t next = 0;
  };
  std::array<Cursor, kParts> cursors_;
};

template <typename F>
inline void FlowMap<F>::prefetch_further(const Lanes& first, std::uint32_t hash) const noexcept {
  if (first.overflow() == 0) return;
  Chain chain(*this, hash);
  chain.next();
  __builtin_prefetch(&groups_[chain.group()]);
}

template <typename F>
inline std::uint32_t FlowMap<F>::hint(std::uint32_t hash) const noexcept {
  const std::uint32_t group = first_group(hash);
  const Lanes tags(groups_[group].tags, std::memory_order_acquire);
  const unsigned matches = tags.equal(lane::committed(hash));
  if (matches == 0) {
    prefetch_further(tags, hash);
    return kNoSlot;
  }
  const SlotId slot = group * 16 + static_cast<unsigned>(std::countr_zero(matches));
  prefetch_entry(index(slot));
  return slot;
}

template <typename F>
inline void FlowMap<F>::prefetch_place(std::uint32_t hash, bool forward) const noexcept {
  const Lanes tags(groups_[first_group(hash)].tags, std::memory_order_relaxed);
  const unsigned free = tags.equal(lane::empty);
  if (free != 0) prefetch_lane(first_group(hash), free, forward);
  if (free != 0 && tags.overflow() == 0) [[likely]]
    return;
  Chain chain(*this, hash);
  chain.next();
  __builtin_prefetch(&groups_[chain.group()]);
}

template <typename F>
inline void FlowMap<F>::prefetch_second_place(std::uint32_t hash, bool forward) const noexcept {
  const Lanes first(groups_[first_group(hash)].tags, std::memory_order_relaxed);
  if (first.equal(lane::empty) != 0) [[likely]]
    return;
  Chain chain(*this, hash);
  chain.next();
  const Lanes tags(groups_[chain.group()].tags, std::memory_order_relaxed);
  if (const unsigned free = tags.equal(lane::empty)) prefetch_lane(chain.group(), free, forward);
}

// The first of the group's lanes in the mask.
template <typename F>
inline void FlowMap<F>::prefetch_lane(std::uint32_t group, unsigned mask,
                                      bool forward) const noexcept {
  const std::uint32_t place = index(group * 16 + static_cast<unsigned>(std::countr_zero(mask)));
  prefetch_entry(place);
  if (forward) __builtin_prefetch(&records_[place], 1);
}

template <typename F>
inline Flow<F>* FlowMap<F>::candidate_further(std::uint32_t hash) noexcept {
  Chain chain(*this, hash);
  const Lanes first(groups_[chain.group()].tags, std::memory_order_acquire);
  if (first.overflow() == 0) return &none_;
  chain.next();
  Flow<F>* found = candidate(chain.group(), hash);
  return found == nullptr ? &none_ : found;
}

// The tag is asked first: while it is committed the entry is complete, and it stays so until the
// caller reports.
template <typename F>
inline Flow<F>* FlowMap<F>::candidate(std::uint32_t group, std::uint32_t hash) noexcept {
  const Lanes tags(groups_[group].tags, std::memory_order_acquire);
  const unsigned matches = tags.equal(lane::committed(hash));
  if (matches == 0) [[unlikely]] {
    prefetch_further(tags, hash);
    return nullptr;
  }
  const std::uint32_t place = group * kLanes + static_cast<unsigned>(std::countr_zero(matches));
  prefetch_entry(place);
  return &flows_[place];
}

template <typename F>
inline Flow<F>* FlowMap<F>::find(const Key& key, std::uint32_t hash, std::uint32_t hint) noexcept {
  if (hint != kNoSlot) [[likely]] {
    const std::uint16_t tag = groups_[hint / 16].tag(hint % 16, std::memory_order_acquire);
    if (tag == lane::committed(hash)) [[likely]] {
      Flow<F>& flow = flows_[index(hint)];
      if (same(flow.key, key)) [[likely]]
        return &flow;
    }
  }
  return search(key, hash);
}

template <typename F>
inline Flow<F>* FlowMap<F>::search_in(std::uint32_t group, const Lanes& tags, const Key& key,
                                      std::uint32_t hash) noexcept {
  for (unsigned m = tags.equal(lane::committed(hash)); m != 0; m &= m - 1) {
    Flow<F>& flow = flows_[index(group * 16 + static_cast<unsigned>(std::countr_zero(m)))];
    if (same(flow.key, key)) return &flow;
  }
  return nullptr;
}

template <typename F>
inline Flow<F>* FlowMap<F>::search(const Key& key, std::uint32_t hash) noexcept {
  const std::uint32_t group = first_group(hash);
  const Lanes tags(groups_[group].tags, std::memory_order_seq_cst);
  Flow<F>* found = search_in(group, tags, key, hash);
  if (found != nullptr || tags.overflow() == 0) [[likely]]
    return found;
  return search_further(key, hash);
}

template <typename F>
inline void FlowMap<F>::count(Flow<F>& flow, std::uint32_t length, std::uint16_t now) noexcept {
  constexpr auto kRelaxed = std::memory_order_relaxed;
  note_write(&flow);
  flow.packets.store(flow.packets.load(kRelaxed) + 1, kRelaxed);
  flow.bytes.store(flow.bytes.load(kRelaxed) + length, kRelaxed);
  flow.seen.store(now, kRelaxed);
}

template <typename F>
inline void FlowMap<F>::passed(Flow<F>& flow, std::uint32_t length, std::uint8_t protocol,
                               std::uint8_t flags, std::uint32_t now_seconds) noexcept {
  count(flow, length, clock16(now_seconds));
  move(flow, protocol, flags, now_seconds);
}

template <typename F>
inline void FlowMap<F>::move(Flow<F>& flow, std::uint8_t protocol, std::uint8_t flags,
                             std::uint32_t now_seconds) noexcept {
  const State state = flow.state.load(std::memory_order_relaxed);
  if (!is_steady(state, protocol, flags, flow.is_reply)) [[unlikely]]
    move_on(flow, protocol, flags, now_seconds);
}

template <typename F>
template <typename Visit>
void FlowMap<F>::for_each(std::uint32_t first, std::uint32_t count, Visit&& visit) {
  for (std::uint32_t g = first; g < first + count && g < group_count_; ++g) {
    const Lanes tags(groups_[g].tags, std::memory_order_acquire);
    for (unsigned live = tags.odd(); live != 0; live &= live - 1) {
      const SlotId slot = g * 16 + static_cast<unsigned>(std::countr_zero(live));
      Flow<F>& flow = flows_[index(slot)];
      if (!flow.is_reply) visit(slot, flow);
    }
  }
}

extern template class FlowMap<V4>;
extern template class FlowMap<V6>;

}  // namespace podwire::flow
