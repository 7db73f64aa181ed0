#include "dataplane/flow/flow_map.h"

#include <sys/random.h>

#include <algorithm>
#include <new>

#include "dataplane/net/checksum.h"

namespace podwire::flow {
namespace {

// Stamps reach half of 2^16 seconds ahead; later deadlines are looked at on the way.
constexpr std::uint32_t kStampReach = 30'000;
constexpr unsigned kAttempts = 64;
constexpr unsigned kPlacings = 4;
constexpr unsigned kPatience = 16;  // looks at a rival

bool is_prime(std::uint32_t n) {
  for (std::uint32_t d = 3; std::uint64_t{d} * d <= n; d += 2) {
    if (n % d == 0) return false;
  }
  return true;
}

// Two slots for each connection at 80 % fill: the chance that a key finds all groups of its chain
// full is below one in 10^9, however long connections have come and gone.
std::uint32_t groups_for(std::uint32_t connections, unsigned chain) {
  check(connections >= 1 && connections <= 100'000'000,
        "a flow table holds 1 to 100,000,000 connections: change flows-v4 or flows-v6");
  std::uint64_t groups = std::uint64_t{connections} * 200 / (std::uint64_t{80} * kLanes) + 1;
  if (groups <= chain) groups = chain + 1;
  groups |= 1;
  while (!is_prime(static_cast<std::uint32_t>(groups))) groups += 2;
  return static_cast<std::uint32_t>(groups);
}

std::uint16_t plain_zero(std::uint16_t delta) {
  return delta == 0xffff ? std::uint16_t{0} : delta;
}

struct Deltas {
  std::uint16_t l3 = 0, l4 = 0;
};

// What the way back changes: a one's complement sum and its negation.
std::uint16_t opposite(std::uint16_t delta) {
  return plain_zero(static_cast<std::uint16_t>(~delta));
}

template <typename F>
net::Delta address_delta(const typename F::Key& key, const typename F::Rewrite& rewrite) {
  net::Delta delta;
  if constexpr (F::family == net::Family::v4) {
    delta.change(key.source, rewrite.source).change(key.destination, rewrite.destination);
  } else {
    delta.change(key.source.data(), rewrite.source.data(), 16)
        .change(key.destination.data(), rewrite.destination.data(), 16);
  }
  return delta;
}

template <typename F>
Deltas deltas_of(const typename F::Key& key, const typename F::Rewrite& rewrite) {
  const net::Delta addresses = address_delta<F>(key, rewrite);
  const auto with_ports = [&](net::Delta delta) {
    return plain_zero(delta.change(key.source_port, rewrite.source_port)
                          .change(key.destination_port, rewrite.destination_port)
                          .folded());
  };
  constexpr bool kV4 = F::family == net::Family::v4;
  Deltas deltas{plain_zero(addresses.folded()), 0};
  switch (key.protocol) {
    case net::protocol::tcp:
    case net::protocol::udp:
      deltas.l4 = with_ports(addresses);
      break;
    case net::protocol::icmpv6:
      if (!kV4) deltas.l4 = with_ports(addresses);
      break;
    case net::protocol::icmp:
      if (kV4) deltas.l4 = with_ports({});
      break;
    default:
      break;
  }
  return deltas;
}

// The key a packet has that comes back for one that left as `rewrite`.
template <typename Key, typename Rewrite>
Key reply_key(const Key& forward, const Rewrite& rewrite) {
  if constexpr (std::is_same_v<Key, V4::Key>) {
    return make_key(forward.protocol, forward.zone, rewrite.destination, rewrite.source,
                    rewrite.destination_port, rewrite.source_port);
  } else {
    Key reply = forward;  // protocol and zone
    reply.source = rewrite.destination;
    reply.destination = rewrite.source;
    reply.source_port = rewrite.destination_port;
    reply.destination_port = rewrite.source_port;
    return reply;
  }
}

template <typename Rewrite, typename Key>
Rewrite as_rewrite(const Key& key) {
  return {key.source, key.destination, key.source_port, key.destination_port};
}

// How far ahead the stamp of a connection that may make room can lie: the longest timeout of such.
std::uint32_t longest_expendable(const FlowTimeouts& timeouts) {
  std::uint32_t longest = kPickupSeconds;
  for (unsigned n = 0; n <= static_cast<unsigned>(State::last_ack_reply); ++n) {
    const auto state = static_cast<State>(n);
    if (!is_expendable(state)) continue;
    for (const std::uint8_t protocol :
         {net::protocol::tcp, net::protocol::udp, net::protocol::icmp, net::protocol::hop_by_hop}) {
      longest = std::max(longest, timeout_seconds(state, protocol, timeouts));
    }
  }
  return std::min(longest, kStampReach);
}

// How long ago a sixteen-bit clock showed `then`; a little ahead of us (another worker's clock)
// counts as now.
std::uint32_t since(std::uint32_t now_seconds, std::uint16_t then) {
  const auto gone = static_cast<std::uint16_t>(static_cast<std::uint16_t>(now_seconds) - then);
  return gone > 0xff00 ? 0U : gone;
}

}  // namespace

KeyHash::KeyHash() {
  check(__builtin_cpu_supports("aes"),
        "this processor has no AES instructions; podwire needs them");
  check(::getrandom(rounds_.data(), rounds_.size(), 0) == static_cast<ssize_t>(rounds_.size()),
        "the kernel gave no random bytes");
}

template <typename F>
FlowMap<F>::FlowMap(std::uint32_t connections, const FlowTimeouts& timeouts,
                    tables::Quiescence& quiescence)
    : limit_(connections),
      group_count_(groups_for(connections, kChain)),
      timeouts_(timeouts),
      expendable_reach_(longest_expendable(timeouts)),
      groups_(group_count_),
      flows_(std::size_t{group_count_} * kLanes),
      records_(std::size_t{group_count_} * kLanes),
      grace_(quiescence) {}

template <typename F>
Flow<F>* FlowMap<F>::search_further(const Key& key, std::uint32_t hash) noexcept {
  Chain chain(*this, hash);
  for (unsigned n = 1; n < kChain; ++n) {
    chain.next();
    const Lanes tags(groups_[chain.group()].tags, std::memory_order_seq_cst);
    Flow<F>* found = search_in(chain.group(), tags, key, hash);
    if (found != nullptr || tags.overflow() == 0) return found;
  }
  return nullptr;
}

// --- Slots ---------------------------------------------------------------------------------------

// Makes a TOMB whose grace period is over BUSY. Looks again once it is ours: it may have been used
// and erased anew since its epoch was read.
template <typename F>
bool FlowMap<F>::take_rested(std::uint32_t group, unsigned lane) noexcept {
  Record& record = records_[index(group * 16 + lane)];
  if (!grace_.over(record.moment.load(std::memory_order_relaxed)) ||
      !groups_[group].change_tag(lane, lane::tomb, lane::busy)) {
    return false;
  }
  if (!grace_.over(record.moment.load(std::memory_order_relaxed))) {
    groups_[group].put_tag(lane, lane::tomb);
    return false;
  }
  note_write(&record);
  record.about.store(0, std::memory_order_relaxed);
  return true;
}

template <typename F>
bool FlowMap<F>::claim_in(std::uint32_t group, std::uint32_t hash, unsigned& lane) noexcept {
  const std::uint16_t ours = lane::tentative(hash);
  const Lanes tags(groups_[group].tags, std::memory_order_acquire);
  for (unsigned free = tags.equal(lane::empty); free != 0; free &= free - 1) {
    lane = static_cast<unsigned>(std::countr_zero(free));
    if (groups_[group].change_tag(lane, lane::empty, ours)) return true;
  }
  for (unsigned tombs = tags.equal(lane::tomb); tombs != 0; tombs &= tombs - 1) {
    lane = static_cast<unsigned>(std::countr_zero(tombs));
    if (!take_rested(group, lane)) continue;
    groups_[group].put_tag(lane, ours);
    return true;
  }
  return false;
}

// A place for a key of this hash, tentative; kNoSlot when its whole chain is full.
template <typename F>
[[gnu::always_inline]] inline SlotId FlowMap<F>::claim(std::uint32_t hash) noexcept {
  const std::uint32_t group = first_group(hash);
  const Lanes tags(groups_[group].tags, std::memory_order_acquire);
  if (const unsigned free = tags.equal(lane::empty); free != 0) [[likely]] {
    const auto lane = static_cast<unsigned>(std::countr_zero(free));
    if (groups_[group].change_tag(lane, lane::empty, lane::tentative(hash))) [[likely]]
      return group * 16 + lane;
  }
  return claim_anywhere(hash);
}

// Groups that were passed, being full, count it from before it can be seen until after it is gone.
template <typename F>
SlotId FlowMap<F>::claim_anywhere(std::uint32_t hash) noexcept {
  Chain chain(*this, hash);
  unsigned lane = 0;
  if (claim_in(chain.group(), hash, lane)) return chain.group() * 16 + lane;
  for (unsigned n = 1; n < kChain; ++n) {
    groups_[chain.group()].add_overflow(1);
    chain.next();
    if (claim_in(chain.group(), hash, lane)) return chain.group() * 16 + lane;
  }
  chain = Chain(*this, hash);
  for (unsigned n = 1; n < kChain; ++n, chain.next()) groups_[chain.group()].add_overflow(-1);
  return kNoSlot;
}

// Gives a BUSY slot back, to be used again after the grace period.
template <typename F>
void FlowMap<F>::release(SlotId slot, std::uint32_t hash) noexcept {
  Record& record = records_[index(slot)];
  note_write(&record);
  record.moment.store(grace_.epoch_of_erasure(), std::memory_order_relaxed);
  groups_[slot / 16].put_tag(slot % 16, lane::tomb);
  Chain chain(*this, hash);
  for (; chain.group() != slot / 16; chain.next()) groups_[chain.group()].add_overflow(-1);
}

// Takes back a slot that this thread itself has claimed, whatever became of it.
template <typename F>
void FlowMap<F>::withdraw(SlotId slot, std::uint32_t hash) noexcept {
  Group& group = groups_[slot / 16];
  while (
      !group.change_tag(slot % 16, group.tag(slot % 16, std::memory_order_acquire), lane::busy)) {
  }
  release(slot, hash);
}

// --- Insert --------------------------------------------------------------------------------------

template <typename F>
bool FlowMap<F>::reserve(const Pair& pair, std::uint32_t now_seconds) noexcept {
  for (unsigned n = 0; n < kPlacings; ++n) {
    std::uint32_t size = size_.load(std::memory_order_relaxed);
    while (size < limit_) {
      if (size_.compare_exchange_weak(size, size + 1, std::memory_order_relaxed)) return true;
    }
    if (!make_room(pair, now_seconds)) return false;
  }
  return false;
}

template <typename F>
[[gnu::always_inline]] inline void FlowMap<F>::fill(const Pair& pair, const NewFlow<F>& flow,
                                                    const Key& reply,
                                                    std::uint32_t now_seconds) noexcept {
  const State state = first_state(flow.forward.protocol, flow.tcp_flags);
  const bool translates = !same(reversed(reply), flow.forward);
  const Deltas deltas = translates ? deltas_of<F>(flow.forward, flow.rewrite) : Deltas{};
  note_write(&at(pair.forward));
  new (&at(pair.forward)) Flow<F>{.key = flow.forward,
                                  .rewrite = flow.rewrite,
                                  .l3_delta = deltas.l3,
                                  .l4_delta = deltas.l4,
                                  .peer = pair.reply,
                                  .policy_generation = flow.policy_generation,
                                  .state = state,
                                  .translates = translates,
                                  .from_own_node = flow.from_own_node};
  note_write(&at(pair.reply));
  new (&at(pair.reply)) Flow<F>{.key = reply,
                                .rewrite = as_rewrite<typename F::Rewrite>(reversed(flow.forward)),
                                .l3_delta = opposite(deltas.l3),
                                .l4_delta = opposite(deltas.l4),
                                .peer = pair.forward,
                                .policy_generation = flow.policy_generation,
                                .state = state,
                                .is_reply = true,
                                .translates = translates,
                                .from_own_node = flow.from_own_node};
  Record& record = records_[index(pair.forward)];
  note_write(&record);
  record.moment.store(now_seconds, std::memory_order_relaxed);
  record.about.store(flow.service_id, std::memory_order_relaxed);
  groups_[pair.reply / 16].first_stamp(pair.reply % 16, kNeverDue);
  std::uint32_t look =
      std::min(timeout_seconds(state, flow.forward.protocol, timeouts_), kStampReach);
  if (state == State::established) look = std::min(look, kPickupSeconds);
  groups_[pair.forward / 16].first_stamp(pair.forward % 16, clock16(now_seconds + look));
}

// No other entry of the key of our tentative one, as one look at its first group proves for nearly
// every key.
template <typename F>
[[gnu::always_inline]] inline bool FlowMap<F>::is_alone(SlotId slot,
                                                        std::uint32_t hash) const noexcept {
  const std::uint32_t group = first_group(hash);
  const Lanes tags(groups_[group].tags, std::memory_order_seq_cst);
  return slot / 16 == group && tags.overflow() == 0 &&
         tags.equal_either(lane::committed(hash)) == 1U << slot % 16;
}

// Looks for other entries of the key of our tentative one. What is tentative may not be written
// yet: it is a rival by its tag. Of two such the one in the lower slot goes on and the other waits,
// to be cancelled by it or to see it committed. flow_map.h says why at most one of a key commits.
template <typename F>
typename FlowMap<F>::Contest FlowMap<F>::contend(SlotId slot, std::uint32_t hash, const Pair& pair,
                                                 bool impatient) noexcept {
  const Key& key = at(slot).key;
  const std::uint16_t committed = lane::committed(hash), tentative = lane::tentative(hash);
  Chain chain(*this, hash);
  for (unsigned n = 0; n < kChain; ++n, chain.next()) {
    Group& group = groups_[chain.group()];
    const Lanes tags(group.tags, std::memory_order_seq_cst);
    for (unsigned m = tags.equal_either(committed); m != 0; m &= m - 1) {
      const auto lane = static_cast<unsigned>(std::countr_zero(m));
      const SlotId other = chain.group() * 16 + lane;
      if (other == pair.forward || other == pair.reply) continue;
      if (group.tag(lane, std::memory_order_acquire) == tentative) {
        if (!impatient && other < slot) return Contest::waits;
        if (group.change_tag(lane, tentative, lane::cancelled)) continue;
      }
      if (group.tag(lane, std::memory_order_acquire) == committed && same(at(other).key, key)) {
        return Contest::lost;
      }
    }
    if (tags.overflow() == 0) break;
  }
  return Contest::won;
}

template <typename F>
[[gnu::always_inline]] inline bool FlowMap<F>::wins(SlotId slot, std::uint32_t hash,
                                                    const Pair& pair) noexcept {
  return is_alone(slot, hash) || outlasts(slot, hash, pair);
}

// Waits a moment only: a rival that is not running holds nobody up, it is cancelled.
template <typename F>
bool FlowMap<F>::outlasts(SlotId slot, std::uint32_t hash, const Pair& pair) noexcept {
  for (unsigned n = 0;; ++n) {
    const Contest contest = contend(slot, hash, pair, n >= kPatience);
    if (contest != Contest::waits) return contest == Contest::won;
    if (groups_[slot / 16].tag(slot % 16, std::memory_order_acquire) == lane::cancelled) {
      return false;
    }
    _mm_pause();
  }
}

// Both tentative and filled entries: contest, committed. False when a rival was first: then both
// are withdrawn.
template <typename F>
[[gnu::always_inline]] inline bool FlowMap<F>::publish(const Pair& pair) noexcept {
  Group& reply = groups_[pair.reply / 16];
  Group& forward = groups_[pair.forward / 16];
  const unsigned reply_lane = pair.reply % 16, forward_lane = pair.forward % 16;
  const std::uint16_t committed = lane::committed(pair.forward_hash);
  if (wins(pair.reply, pair.reply_hash, pair) && wins(pair.forward, pair.forward_hash, pair) &&
      reply.change_tag(reply_lane, lane::tentative(pair.reply_hash),
                       lane::committed(pair.reply_hash))) {
    if (forward.change_tag(forward_lane, lane::tentative(pair.forward_hash), committed)) {
      return true;
    }
    // A helper may have committed it for us, and someone erased it since; a rival may have
    // cancelled it.
    if (forward.tag(forward_lane, std::memory_order_acquire) != lane::cancelled) return true;
  }
  withdraw(pair.forward, pair.forward_hash);
  withdraw(pair.reply, pair.reply_hash);
  return false;
}

// A committed reply whose forward entry is tentative needs one last step, which anyone may take.
// False when the reply belongs to another connection than `forward_key`'s.
template <typename F>
bool FlowMap<F>::help(SlotId reply, const Key& forward_key) noexcept {
  const Flow<F>& entry = at(reply);
  if (!entry.is_reply || !same(at(entry.peer).key, forward_key)) return false;
  const std::uint32_t hash = hash_(forward_key);
  (void)groups_[entry.peer / 16].change_tag(entry.peer % 16, lane::tentative(hash),
                                            lane::committed(hash));
  return true;
}

template <typename F>
typename FlowMap<F>::Inserted FlowMap<F>::insert(const NewFlow<F>& flow, std::uint32_t hash,
                                                 std::uint32_t now_seconds) noexcept {
  const Key reply = reply_key(flow.forward, flow.rewrite);
  if (same(reply, flow.forward)) return {Outcome::reply_taken, 0, nullptr};
  Pair pair{kNoSlot, kNoSlot, hash, hash_(reply)};
  for (unsigned attempt = 0; attempt < kAttempts; ++attempt) {
    if (attempt != 0) {
      if (Flow<F>* found = search(flow.forward, hash)) return {Outcome::exists, 0, found};
    }
    if (Flow<F>* found = search(reply, pair.reply_hash)) {
      if (!help(slot_of(*found), flow.forward)) return {Outcome::reply_taken, 0, nullptr};
      continue;
    }
    if (!reserve(pair, now_seconds)) return {Outcome::full, 0, nullptr};
    pair.reply = claim(pair.reply_hash);
    pair.forward = claim(pair.forward_hash);
    const bool placed = pair.reply != kNoSlot && pair.forward != kNoSlot;
    if (placed) {
      fill(pair, flow, reply, now_seconds);
      if (publish(pair)) return {Outcome::inserted, pair.reply_hash, &at(pair.forward)};
    } else {
      if (pair.reply != kNoSlot) withdraw(pair.reply, pair.reply_hash);
      if (pair.forward != kNoSlot) withdraw(pair.forward, pair.forward_hash);
      grace_.advance();
    }
    size_.fetch_sub(1, std::memory_order_relaxed);
    if (!placed && attempt >= kPlacings) break;
  }
  return {Outcome::full, 0, nullptr};
}

// Forward entries in the groups that the new connection's keys would go to, whose stamps say that
// they may be opening, closing or one-sided: nothing else wants a look so soon. Reads no entry.
template <typename F>
unsigned FlowMap<F>::find_candidates(const Pair& pair, std::uint32_t now_seconds,
                                     Candidates& candidates) const noexcept {
  unsigned count = 0;
  for (const std::uint32_t hash : {pair.forward_hash, pair.reply_hash}) {
    Chain chain(*this, hash);
    for (unsigned n = 0; n < 2; ++n, chain.next()) {
      const Group& group = groups_[chain.group()];
      const Lanes tags(group.tags, std::memory_order_acquire);
      const Lanes stamps(group.stamps, std::memory_order_acquire);
      unsigned soon = tags.odd() & stamps.due(clock16(now_seconds + expendable_reach_));
      for (; soon != 0 && count < candidates.size(); soon &= soon - 1) {
        const SlotId slot = chain.group() * 16 + static_cast<unsigned>(std::countr_zero(soon));
        candidates[count++] = slot;
        prefetch_entry(index(slot));
        __builtin_prefetch(&records_[index(slot)]);
      }
    }
  }
  return count;
}

// At the limit: ends the longest silent opening, closing or one-sided connection among the
// candidates (nf_conntrack: early_drop). False when there is none.
template <typename F>
bool FlowMap<F>::make_room(const Pair& pair, std::uint32_t now_seconds) noexcept {
  Candidates candidates;
  const unsigned count = find_candidates(pair, now_seconds, candidates);
  for (unsigned n = 0; n < count; ++n) {
    const SlotId peer = at(candidates[n]).peer;
    __builtin_prefetch(&at(peer));
    __builtin_prefetch(&records_[index(peer)]);
  }
  SlotId oldest = kNoSlot;
  std::uint32_t silence = 0;
  for (unsigned n = 0; n < count; ++n) {
    const Flow<F>& forward = at(candidates[n]);
    if (forward.is_reply) continue;  // used anew since its stamp was read
    const State state = forward.state.load(std::memory_order_relaxed);
    const bool one_sided = state == State::established &&
                           at(forward.peer).packets.load(std::memory_order_relaxed) == 0;
    if (!is_expendable(state) && !one_sided) continue;
    const std::uint32_t silent =
        now_seconds - std::min(now_seconds, last_seen(forward, now_seconds));
    if (oldest == kNoSlot || silent > silence) {
      oldest = candidates[n];
      silence = silent;
    }
  }
  return oldest != kNoSlot && end(oldest);
}

// --- Erase ---------------------------------------------------------------------------------------

// The forward tag decides who ends a connection; a tentative one is its inserter's.
template <typename F>
bool FlowMap<F>::end(SlotId forward) noexcept {
  const Flow<F>& flow = at(forward);
  const std::uint32_t hash = hash_(flow.key);
  const std::uint32_t reply_hash = hash_(at(flow.peer).key);
  if (!groups_[forward / 16].change_tag(forward % 16, lane::committed(hash), lane::busy)) {
    return false;
  }
  const SlotId reply = flow.peer;
  const bool ours =
      groups_[reply / 16].change_tag(reply % 16, lane::committed(reply_hash), lane::busy);
  dcheck(ours, "a committed flow without its reply");
  (void)ours;
  release(forward, hash);
  release(reply, reply_hash);
  size_.fetch_sub(1, std::memory_order_relaxed);
  ended_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

template <typename F>
bool FlowMap<F>::erase(Flow<F>& flow) noexcept {
  return end(forward_of(flow));
}

// --- State and age -------------------------------------------------------------------------------

template <typename F>
void FlowMap<F>::move_on(Flow<F>& flow, std::uint8_t protocol, std::uint8_t flags,
                         std::uint32_t now_seconds) noexcept {
  const State known = flow.state.load(std::memory_order_relaxed);
  if (next_state(known, protocol, flags, flow.is_reply) == known) return;
  const SlotId slot = forward_of(flow);
  Flow<F>& forward = at(slot);
  note_write(&forward);
  State state = forward.state.load(std::memory_order_seq_cst);
  State next = state;
  do {
    next = next_state(state, protocol, flags, flow.is_reply);
    if (next == state) break;
  } while (!forward.state.compare_exchange_weak(state, next, std::memory_order_seq_cst));
  Flow<F>& reply = at(forward.peer);
  // Until the copy is of the latest: two workers may move the state at once.
  State copied = next;
  do {
    copied = forward.state.load(std::memory_order_seq_cst);
    if (reply.state.load(std::memory_order_seq_cst) != copied) {
      note_write(&reply);
      reply.state.store(copied, std::memory_order_seq_cst);
    }
  } while (forward.state.load(std::memory_order_seq_cst) != copied);
  if (next != state && timeout(forward, next) < timeout(forward, state)) {
    const std::uint32_t look = std::min(timeout(forward, next), kStampReach);
    groups_[slot / 16].put_stamp(slot % 16, clock16(now_seconds + look));
  }
}

template <typename F>
std::uint32_t FlowMap<F>::timeout(const Flow<F>& forward, State state) const noexcept {
  const std::uint32_t seconds = timeout_seconds(state, forward.key.protocol, timeouts_);
  const bool one_sided = state == State::established &&
                         flows_[index(forward.peer)].packets.load(std::memory_order_relaxed) == 0;
  return one_sided ? std::min(seconds, kPickupSeconds) : seconds;
}

template <typename F>
std::uint32_t FlowMap<F>::last_seen(const Flow<F>& forward,
                                    std::uint32_t now_seconds) const noexcept {
  std::uint32_t last =
      std::max(records_[index(slot_of(forward))].moment.load(std::memory_order_relaxed),
               records_[index(forward.peer)].about.load(std::memory_order_relaxed));
  for (const Flow<F>* entry :
       {&forward, static_cast<const Flow<F>*>(&flows_[index(forward.peer)])}) {
    const std::uint16_t seen = entry->seen.load(std::memory_order_relaxed);
    if (seen == kNotSince) continue;
    last = std::max(last, now_seconds - std::min(now_seconds, since(now_seconds, seen)));
  }
  return last;
}

// Moves the entries' sixteen-bit clocks into the record, so that silence may be longer than they
// reach.
template <typename F>
void FlowMap<F>::take_over_seen(SlotId forward, std::uint32_t now_seconds) noexcept {
  Flow<F>& flow = at(forward);
  std::atomic<std::uint32_t>& record = records_[index(flow.peer)].about;
  for (Flow<F>* entry : {&flow, &at(flow.peer)}) {
    std::uint16_t seen = entry->seen.load(std::memory_order_relaxed);
    if (seen == kNotSince) continue;
    const std::uint32_t gone = since(now_seconds, seen);
    // A packet of this very second is left for the next look.
    if (gone == 0) continue;
    const std::uint32_t then = now_seconds - std::min(now_seconds, gone);
    note_write(&record);
    note_write(entry);
    if (record.load(std::memory_order_relaxed) < then) {
      record.store(then, std::memory_order_relaxed);
    }
    // Fails when a packet has passed meanwhile, which is as good.
    entry->seen.compare_exchange_strong(seen, kNotSince, std::memory_order_relaxed);
  }
}

// A slot whose stamp is due: ends the connection, or stamps when to look again. True when it
// ended.
template <typename F>
bool FlowMap<F>::look_at(SlotId forward, std::uint32_t now_seconds) noexcept {
  Flow<F>& flow = at(forward);
  State state = flow.state.load(std::memory_order_seq_cst);
  for (;;) {
    take_over_seen(forward, now_seconds);
    const std::uint64_t deadline =
        std::uint64_t{last_seen(flow, now_seconds)} + timeout(flow, state);
    if (deadline <= now_seconds) return end(forward);
    const auto ahead =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(deadline - now_seconds, kStampReach));
    groups_[forward / 16].put_stamp(forward % 16, clock16(now_seconds + ahead));
    // A state that moved meanwhile may want an earlier look than the stamp just written.
    const State again = flow.state.load(std::memory_order_seq_cst);
    if (again == state) return false;
    state = again;
  }
}

template <typename F>
unsigned FlowMap<F>::sweep_group(std::uint32_t at, std::uint32_t now_seconds) noexcept {
  Group& group = groups_[at];
  const Lanes tags(group.tags, std::memory_order_acquire);
  const Lanes stamps(group.stamps, std::memory_order_acquire);
  unsigned expired = 0;
  for (unsigned due = tags.odd() & stamps.due(clock16(now_seconds)); due != 0; due &= due - 1) {
    const SlotId slot = at * 16 + static_cast<unsigned>(std::countr_zero(due));
    if (!flows_[index(slot)].is_reply && look_at(slot, now_seconds)) ++expired;
  }
  for (unsigned tombs = tags.equal(lane::tomb); tombs != 0; tombs &= tombs - 1) {
    const auto lane = static_cast<unsigned>(std::countr_zero(tombs));
    if (take_rested(at, lane)) group.put_tag(lane, lane::empty);
  }
  return expired;
}

template <typename F>
unsigned FlowMap<F>::sweep(unsigned part, unsigned parts, unsigned groups,
                           std::uint32_t now_seconds) noexcept {
  constexpr std::uint32_t kAhead = 128;  // beyond the page, where processors do not look ahead
  dcheck(part < parts && parts <= kParts, "no such part of the sweep");
  grace_.advance();
  const auto begin = static_cast<std::uint32_t>(std::uint64_t{group_count_} * part / parts);
  const auto end = static_cast<std::uint32_t>(std::uint64_t{group_count_} * (part + 1) / parts);
  const std::uint16_t now = clock16(now_seconds);
  std::uint32_t at = std::clamp(cursors_[part].next, begin, end);
  unsigned expired = 0;
  for (unsigned left = std::min(groups, end - begin); left != 0;) {
    if (at == end) at = begin;
    const unsigned run = std::min(left, end - at);
    for (const std::uint32_t stop = at + run; at != stop; ++at) {
      __builtin_prefetch(&groups_[at + kAhead]);
      const Lanes tags(groups_[at].tags, std::memory_order_acquire);
      const Lanes stamps(groups_[at].stamps, std::memory_order_acquire);
      if (tags.want_sweep(stamps, now)) [[unlikely]]
        expired += sweep_group(at, now_seconds);
    }
    left -= run;
  }
  cursors_[part].next = at;
  return expired;
}

template <typename F>
typename FlowMap<F>::Usage FlowMap<F>::usage() const noexcept {
  Usage usage;
  for (std::uint32_t g = 0; g < group_count_; ++g) {
    const Lanes tags(groups_[g].tags, std::memory_order_acquire);
    const auto count = [](unsigned mask) {
      return static_cast<std::uint32_t>(std::popcount(mask));
    };
    const std::uint32_t committed = count(tags.odd()), resting = count(tags.equal(lane::tomb));
    usage.slots += kLanes;
    usage.committed += committed;
    usage.resting += resting;
    usage.moving += kLanes - committed - resting - count(tags.equal(lane::empty));
    usage.overflow += tags.overflow();
  }
  return usage;
}

template <typename F>
std::uint32_t FlowMap<F>::service_id(const Flow<F>& forward) const noexcept {
  return records_[index(slot_of(forward))].about.load(std::memory_order_relaxed);
}

template <typename F>
std::uint32_t FlowMap<F>::age_seconds(const Flow<F>& forward,
                                      std::uint32_t now_seconds) const noexcept {
  const std::uint32_t created =
      records_[index(slot_of(forward))].moment.load(std::memory_order_relaxed);
  return now_seconds - std::min(now_seconds, created);
}

template <typename F>
std::uint32_t FlowMap<F>::expires_in_seconds(const Flow<F>& forward,
                                             std::uint32_t now_seconds) const noexcept {
  const State state = forward.state.load(std::memory_order_relaxed);
  const std::uint64_t deadline =
      std::uint64_t{last_seen(forward, now_seconds)} + timeout(forward, state);
  return deadline <= now_seconds ? 0U : static_cast<std::uint32_t>(deadline - now_seconds);
}

template class FlowMap<V4>;
template class FlowMap<V6>;

}  // namespace podwire::flow
