// Inside of the fast path: its last step, a packet of a flow that was found.
#pragma once

#include "dataplane/stages/fast_path.h"
#include "dataplane/stages/opening.h"

namespace podwire::stages {

// Where the packet of a flow begins in its frame.
constexpr unsigned l3_of(bool in_tunnel) noexcept {
  return sizeof(net::Ethernet) + (in_tunnel ? sizeof(net::Ipv4) : 0);
}

// An inner packet may claim no more than its outer one.
template <bool kInTunnel>
inline unsigned FastPath::frame_end(const Look& look) noexcept {
  return kInTunnel ? outer_end(look.ip - l3_of(true)) : look.mbuf->pkt_len;
}

inline bool FastPath::hand_over(unsigned i) noexcept {
  Handoff& handoff = *w_.shared.handoff;
  const Burst::Frame frame{looks_[i].mbuf, run_->in_port, false};
  if (!handoff.give(w_.index, handoff.worker_of(looks_[i].hash), frame)) return false;
  ++handed_over_;
  return true;
}

template <typename F, bool kInTunnel>
[[gnu::always_inline]] inline FastPath::Fate FastPath::carry_one(const Look& look,
                                                                 std::uint16_t tunnel_id,
                                                                 Outgoing& out) noexcept {
  auto* flow = static_cast<flow::Flow<F>*>(look.candidate);
  if (!Wire<F>::is_of(look.ip, flow->key)) [[unlikely]] {
    flow = find<F>(look.ip, look.hash);
    if (flow == nullptr) return Fate::later;
  }
  std::uint64_t id = flow::Way::next_hop_or_more(flow->way.load(std::memory_order_relaxed),
                                                 kInTunnel ? origin_.tunnel_way : origin_.way);
  if (id >= hop_count_) [[unlikely]] {
    id = learn<F, kInTunnel>(look, *flow);
    if (id >= hop_count_) return Fate::in_place;
  }
  const tables::NextHop& hop = hops_[id];
  if (hop.port != out.port() && !out.open(hop.port, w_, left_from(look))) [[unlikely]]
    return Fate::in_place;
  if (F::family == net::Family::v4 && hop.kind == tables::NextHopKind::tunnel) [[likely]]
    return deliver<F, kInTunnel, true>(look, *flow, hop, tunnel_id, out);
  return leads_out(hop.kind) ? deliver<F, kInTunnel, false>(look, *flow, hop, tunnel_id, out)
                             : Fate::in_place;
}

template <typename F, bool kInTunnel, bool kToTunnel>
[[gnu::always_inline]] inline FastPath::Fate FastPath::deliver(const Look& look,
                                                               flow::Flow<F>& flow,
                                                               const tables::NextHop& hop,
                                                               std::uint16_t tunnel_id,
                                                               Outgoing& out) noexcept {
  constexpr unsigned kL3 = l3_of(kInTunnel);
  constexpr unsigned kHeaders = sizeof(net::Ethernet) + (kToTunnel ? sizeof(net::Ipv4) : 0);
  rte_mbuf* mbuf = look.mbuf;
  const InFrame<F> packet{look.ip, Wire<F>::total(look.ip)};
  const unsigned end = frame_end<kInTunnel>(look);
  const unsigned hop_less = hop.kind == tables::NextHopKind::host ? 0 : origin_.hop_less;
  if (packet.total + kL3 > end || packet.total > hop.mtu || Wire<F>::hops(packet.ip) <= hop_less)
      [[unlikely]]
    return Fate::in_place;
  if (flow.key.protocol == net::protocol::udp) [[likely]] {
    if (!packet.is_whole_datagram()) [[unlikely]]
      return Fate::in_place;
    // UDP is steady: the flow's way was remembered when a packet of this direction had passed.
    flow::FlowMap<F>::count(flow, packet.total, now_);
    packet.update_udp_checksum(flow.l4_delta);
  } else {
    const Segment segment = packet.segment();
    if (segment == Segment::steady &&
        flow::is_steady_flow(flow.state.load(std::memory_order_relaxed), flow.is_reply)) [[likely]]
      flow::FlowMap<F>::count(flow, packet.total, now_);
    else if (segment == Segment::other || !move_on(packet, look.hash, flow)) [[unlikely]]
      return Fate::in_place;
    packet.update_tcp_checksum(flow.l4_delta);
  }
  Wire<F>::translate(packet.ip, flow, hop_less);
  packet.template put_in_frame<kToTunnel>(hop, tunnel_id);
  const unsigned length = packet.total + kHeaders;
  mbuf->data_off = static_cast<std::uint16_t>(mbuf->data_off + kL3 - kHeaders);
  mbuf->data_len = static_cast<std::uint16_t>(length);
  mbuf->pkt_len = length;
  out.append(mbuf, length, kToTunnel);
  return Fate::sent;
}

template <typename F>
[[gnu::noinline]] flow::Flow<F>* FastPath::find(const std::uint8_t* ip,
                                                std::uint32_t hash) noexcept {
  return map<F>().find(Wire<F>::key(ip), hash, flow::kNoSlot);
}

// The next hop of a direction of which no packet has come this way yet, under these tables; no
// hop's number when the stages have to see it. Only of a packet that they would count as one of the
// flow, for what is remembered says that one has passed.
template <typename F, bool kInTunnel>
[[gnu::noinline]] std::uint64_t FastPath::learn(const Look& look, flow::Flow<F>& flow) noexcept {
  if constexpr (F::family == net::Family::v4) {
    const InFrame<F> packet{look.ip, Wire<F>::total(look.ip)};
    const bool udp = flow.key.protocol == net::protocol::udp;
    const bool whole = udp ? packet.is_whole_datagram() : packet.segment() != Segment::other;
    if (!whole || packet.total + l3_of(kInTunnel) > frame_end<kInTunnel>(look)) {
      return flow::Way::kHops;
    }
    const FirstOfWay first{look.mbuf, look.ip, run_->in_port, kInTunnel, look.hash};
    if (const tables::NextHop* hop = learn_way(first, flow, w_)) {
      if (udp) map<F>().move(flow, net::protocol::udp, 0, w_.now_seconds);
      return static_cast<std::uint64_t>(hop - hops_);
    }
  }
  return flow::Way::kHops;
}

// A packet that may move its connection's state. False when its flow is no more.
template <typename F>
[[gnu::noinline]] bool FastPath::move_on(InFrame<F> packet, std::uint32_t hash,
                                         flow::Flow<F>& flow) noexcept {
  // A frame before this one may have ended the flow, and begun another of its key.
  if (find<F>(packet.ip, hash) != &flow) return false;
  map<F>().passed(flow, packet.total, flow.key.protocol, packet.tcp_flags(), w_.now_seconds);
  return true;
}

template <typename F, Classifier::Kind kind>
inline FastPath::Fate FastPath::carry_alike(unsigned& i, unsigned end) noexcept {
  constexpr bool kInTunnel = kind == Kind::v4_in_tunnel;
  Outgoing out;
  const Look* look = &looks_[i];
  const Look* const behind = &looks_[end];
  auto tunnel_id = static_cast<std::uint16_t>(tunnel_id_ + i);
  Fate fate = Fate::sent;
  do {
    fate = carry_one<F, kInTunnel>(*look, tunnel_id++, out);
  } while (fate == Fate::sent && ++look != behind && look->kind == kind);
  const auto at = static_cast<unsigned>(look - looks_.data());
  if (kInTunnel) w_.counters.tunnel_in.add(at - i);
  out.settle(w_);
  i = at;
  return fate;
}

// Of one run, and ready.
inline FastPath::Fate FastPath::carry_portion(unsigned& i, unsigned end) noexcept {
  Fate fate = Fate::sent;
  while (i < end && fate == Fate::sent) {
    switch (looks_[i].kind) {
      case Kind::v4:
        fate = carry_alike<flow::V4, Kind::v4>(i, end);
        break;
      case Kind::v4_in_tunnel:
        fate = carry_alike<flow::V4, Kind::v4_in_tunnel>(i, end);
        break;
      case Kind::v6:
        fate = carry_alike<flow::V6, Kind::v6>(i, end);
        break;
      case Kind::elsewhere:
        if (!hand_over(i)) return Fate::in_place;
        ++i;
        break;
      case Kind::later:
        return Fate::later;
      case Kind::in_place:
        return Fate::in_place;
    }
  }
  return fate;
}

inline FastPath::Fate FastPath::carry(unsigned& i) noexcept {
  Fate fate = Fate::sent;
  while (i < burst_.size() && fate == Fate::sent) {
    while (i >= ready_) look_ahead();
    while (run_->end <= i) ++run_;
    if (run_->in_port != origin_.port) origin_ = Origin(run_->in_port, *w_.snapshot);
    fate = carry_portion(i, std::min(run_->end, ready_));
  }
  return fate;
}

}  // namespace podwire::stages
