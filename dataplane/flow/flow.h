// Flows: what one look-up yields for a known packet. One entry per direction, each on cache lines
// of its own, linked by slot number; an established packet writes its own direction's entry only.
//
// Fields are grouped by who may touch them: immutable once the entry can be seen; relaxed atomics
// that any worker may store; `state`, which changes by compare-and-swap.
#pragma once

#include <atomic>
#include <cstdint>

#include "dataplane/flow/flow_key.h"
#include "dataplane/tables/routes.h"

namespace podwire::flow {

using SlotId = std::uint32_t;
inline constexpr SlotId kNoSlot = 0xffffffff;

// The state of a connection; both directions' entries hold a copy. Names as nf_conntrack prints
// them.
enum class State : std::uint8_t {
  unreplied,  // UDP, ICMP, others: only one side has spoken
  replied,
  syn_sent,
  syn_received,
  established,
  fin_wait,
  close_wait,
  last_ack,
  time_wait,
  close,
  sctp_init,
  sctp_established,
  sctp_shutdown,
};

// One direction: 64 bytes for IPv4, 128 for IPv6.
template <typename F>
struct alignas(64) Flow {
  // Immutable once visible.
  typename F::Key key;
  typename F::Rewrite rewrite;
  // net::Delta of key -> rewrite, applied by net::updated_checksum: l3 for the IPv4 header (0 for
  // IPv6); l4 for TCP, UDP, ICMP(v6): addresses (where the protocol has a pseudo-header: not ICMP
  // over IPv4) and ports.
  std::uint16_t l3_delta = 0;
  std::uint16_t l4_delta = 0;
  // Relaxed atomics.
  std::atomic<std::uint64_t> bytes{0};
  SlotId peer = kNoSlot;  // immutable: the other direction's entry
  std::atomic<std::uint32_t> policy_generation{0};
  // Snapshot::route_generation << 32 | NextHopId, set by the route stage: one word, so that two
  // workers never leave one's next hop under the other's generation.
  std::atomic<std::uint64_t> route{0};
  std::atomic<std::uint32_t> packets{0};
  std::atomic<State> state{State::unreplied};
  // Immutable.
  bool is_reply : 1 = false;
  bool translates : 1 = false;     // rewrite differs from key
  bool from_own_node : 1 = false;  // for PolicyQuestion when it is judged again
  std::uint16_t spare = 0;
};
static_assert(sizeof(Flow<V4>) == 64);
static_assert(sizeof(Flow<V6>) == 128);

// What the new-flow stages decided, from which both entries are made.
template <typename F>
struct NewFlow {
  typename F::Key forward;      // the packet as it came
  typename F::Rewrite rewrite;  // the packet as it leaves; the reply's key is this, reversed
  std::uint32_t service_id = 0;
  std::uint32_t policy_generation = 0;
  std::uint8_t tcp_flags = 0;
  bool from_own_node = false;
};

}  // namespace podwire::flow
