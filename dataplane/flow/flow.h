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
inline constexpr std::uint16_t kNotSince = 0xffff;

// The state of a connection. The forward entry's is the truth, changed by compare-and-swap; the
// reply entry's is a copy made right after. tcp_state.h says what moves it.
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
  // As fin_wait, close_wait and last_ack, the reply's sender having closed first.
  fin_wait_reply,
  close_wait_reply,
  last_ack_reply,
};

// Where a direction's packets came from and went to when they were last routed, having passed
// policy. Another packet of the same key that comes the same way under the same policies and routes
// needs none of the checks that depend on key, port and tables alone: whether it is allowed, whose
// address it sends from, where it may go.
//
//   Snapshot::flow_generation 32 | through a tunnel 1 | PortId 11 | NextHopId 20
class Way {
 public:
  static constexpr std::size_t kHops = 1U << 20U;
  // Of packets from a port, whatever their next hop.
  static constexpr std::uint64_t from(std::uint32_t generation, PortId port, bool tunnel) noexcept {
    return std::uint64_t{generation} << 32 | std::uint64_t{tunnel} << 31 |
           std::uint64_t{port & kPortMask} << kHopBits;
  }
  // The word to remember; 0, which is no way, when the next hop's number is out of reach.
  static constexpr std::uint64_t to(std::uint64_t from, tables::NextHopId next_hop) noexcept {
    return next_hop <= kHopMask ? from | next_hop : 0;
  }
  // As next_hop, but kHops or more when `word` was remembered for packets from elsewhere.
  static constexpr std::uint64_t next_hop_or_more(std::uint64_t word, std::uint64_t from) noexcept {
    return word ^ from;
  }
  // kNoNextHop when `word` was remembered for packets from elsewhere.
  static constexpr tables::NextHopId next_hop(std::uint64_t word, std::uint64_t from) noexcept {
    const std::uint64_t difference = next_hop_or_more(word, from);
    return difference <= kHopMask ? static_cast<tables::NextHopId>(difference) : tables::kNoNextHop;
  }

 private:
  static constexpr unsigned kHopBits = 20;
  static_assert(kHops == 1U << kHopBits);
  static constexpr std::uint64_t kHopMask = kHops - 1;
  static constexpr std::uint64_t kPortMask = (1U << 11U) - 1;
  static_assert(kMaxPorts <= kPortMask, "kNoPort, cut to these bits, is no port's number");
};

// One direction: 64 bytes for IPv4, 128 for IPv6.
template <typename F>
struct alignas(64) Flow {
  // Immutable once visible.
  typename F::Key key;
  typename F::Rewrite rewrite;
  // Deltas as net::Delta folds them; 0xffff is written as 0, so that 0 says "nothing changes".
  // l3_delta: the addresses' change. To the IPv4 header checksum, by net::updated_checksum; to a
  // partial transport checksum of TCP, UDP or ICMPv6 (which holds the pseudo-header's sum only, no
  // ports), by net::updated_sum: both families.
  // l4_delta: the change of all that a whole transport checksum covers: addresses and ports for TCP
  // and UDP; addresses and identifier for ICMPv6; the identifier alone for ICMP. Applied by
  // net::updated_checksum (UDP: updated_udp_checksum). 0 for other protocols: SCTP has a CRC32c
  // over its own bytes, in which the ports change.
  std::uint16_t l3_delta = 0;
  std::uint16_t l4_delta = 0;
  // Relaxed atomics.
  std::atomic<std::uint64_t> bytes{0};
  SlotId peer = kNoSlot;  // immutable: the other direction's entry
  std::atomic<std::uint32_t> policy_generation{0};
  // A Way, set by the route stage: one word, so that two workers never leave one's next hop under
  // the other's generation.
  std::atomic<std::uint64_t> way{0};
  std::atomic<std::uint32_t> packets{0};
  std::atomic<State> state{State::unreplied};
  // Immutable.
  bool is_reply : 1 = false;
  bool translates : 1 = false;     // rewrite differs from key
  bool from_own_node : 1 = false;  // for PolicyQuestion when it is judged again
  // Relaxed atomic: the second in which the last packet passed, modulo 2^16; kNotSince once the
  // sweep has taken it over into the flow's record.
  std::atomic<std::uint16_t> seen{kNotSince};
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
  std::uint8_t tcp_flags = 0;  // SCTP: the first chunk's type
  bool from_own_node = false;
};

}  // namespace podwire::flow
