// What track and the new-flow stages share: a packet's key, its flow, and the flow's first look.
#pragma once

#include "dataplane/flow/flows.h"
#include "dataplane/packet.h"
#include "dataplane/worker.h"

namespace podwire::stages {

// Calls with flow::V4{} or flow::V6{}, by the packet's family.
template <typename Call>
decltype(auto) by_family(const Packet& p, Call&& call) noexcept {
  return p.family == net::Family::v4 ? call(flow::V4{}) : call(flow::V6{});
}

// The part of a flow's Way that says where this packet comes from.
[[nodiscard]] inline std::uint64_t way_from(const Packet& p, const Worker& w) noexcept {
  return flow::Way::from(w.snapshot->flow_generation(), p.in_port, p.source == Source::tunnel);
}

// Packet::flow, which is of the packet's own family. Not for a packet without a flow.
template <typename F>
[[nodiscard]] flow::Flow<F>& flow_of(const Packet& p) noexcept {
  return *static_cast<flow::Flow<F>*>(p.flow);
}

// The key of the packet's own direction, as its bytes stand now. Zone 0.
template <typename F>
[[nodiscard]] typename F::Key key_of(const Packet& p) noexcept {
  if constexpr (F::family == net::Family::v4) {
    return flow::make_key(p.protocol, net::be16{}, p.ipv4().source, p.ipv4().destination,
                          p.source_port, p.destination_port);
  } else {
    typename F::Key key;
    key.protocol = p.protocol;
    key.source = p.ipv6().source;
    key.destination = p.ipv6().destination;
    key.source_port = p.source_port;
    key.destination_port = p.destination_port;
    return key;
  }
}

// What moves a flow's state: TCP's flags, or the type of an SCTP packet's first chunk.
[[nodiscard]] inline std::uint8_t state_flags(const Packet& p) noexcept {
  if (p.protocol == net::protocol::tcp) return p.tcp_flags;
  if (p.protocol == net::protocol::sctp && p.l4_offset != 0 &&
      p.l4_readable() > sizeof(net::Sctp)) {
    return p.l4()[sizeof(net::Sctp)];
  }
  return 0;
}

[[nodiscard]] inline bool is_plain_syn(const Packet& p) noexcept {
  constexpr std::uint8_t kOthers = net::Tcp::ack | net::Tcp::rst | net::Tcp::fin;
  return (p.tcp_flags & net::Tcp::syn) != 0 && (p.tcp_flags & kOthers) == 0;
}

template <typename F>
void count_passed(Packet& p, flow::Flow<F>& flow, Worker& w) noexcept {
  w.shared.flows->map<F>().passed(flow, p.l3_length, p.protocol, state_flags(p), w.now_seconds);
}

// May one more flow of this burst be entered? At the limit only a few may.
template <typename F>
[[nodiscard]] bool may_enter(Worker& w) noexcept {
  if (!w.shared.flows->map<F>().full()) [[likely]]
    return true;
  if (w.room_left == 0) return false;
  --w.room_left;
  return true;
}

// The packet takes the new-flow stages; they find their notes in its Admission.
inline void make_fresh(Packet& p, Worker& w, bool to_judge_again = false) noexcept {
  p.fresh = true;
  p.admission = static_cast<std::uint16_t>(w.next_admission++ % kBatchSize);
  w.admissions[p.admission].begin(to_judge_again);
}

// Ties the packet to a flow that exists: it is known, or is to be judged again when the flow was
// admitted under another policy. Expects p.fresh to be false.
template <typename F>
void attach(Packet& p, flow::Flow<F>& flow, Worker& w) noexcept {
  p.flow = &flow;
  p.reply = flow.is_reply;
  if (flow.policy_generation.load(std::memory_order_relaxed) == w.snapshot->policy_generation) {
    count_passed(p, flow, w);
  } else {
    make_fresh(p, w, true);
  }
}

}  // namespace podwire::stages
