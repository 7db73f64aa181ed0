// The fast path: a packet of a known flow, from the frame as it came to the frame as it is sent. It
// does for TCP and UDP without oddities what parse, decap, track, rewrite, route and encap do for
// everything, to the same bytes and counters, and leaves untouched what it does not do: see README.
//
// Three passes over the burst hide the cache misses: keys and their tags; tags and their entries;
// the packets themselves, in order.
#pragma once

#include <string_view>

#include "dataplane/stages/fast_path_ingress.h"

namespace podwire::stages {

class FastPath {
 public:
  static constexpr std::string_view name = "fast path";

  enum class Fate : std::uint8_t {
    sent,      // in its port's outbox
    later,     // of no flow that is known: may wait until the burst is through
    in_place,  // perhaps of a known flow: is to be carried before the frames behind it
  };

  // Begins the look-ups. Both arguments outlive it.
  FastPath(const Burst& burst, Worker& w) noexcept;
  // Carries frames from `i` on, in order, and stops at the first that is not for it: then `i` is
  // that frame's place, and its fate is returned; else `i` is the burst's size.
  Fate carry(unsigned& i) noexcept;
  // Of the frames before carry()'s place: those that are another worker's now.
  [[nodiscard]] unsigned handed_over() const noexcept { return handed_over_; }

 private:
  enum class Kind : std::uint8_t { v4, v4_in_tunnel, v6, elsewhere, later, in_place };
  struct Look {
    std::uint32_t hash;
    Kind kind;
    void* candidate;  // perhaps its flow, of its family; or null
  };

  void begin(unsigned i) noexcept;
  [[nodiscard]] bool is_elsewhere(const Burst::Frame& frame, const Look& look) const noexcept;
  bool hand_over(unsigned i) noexcept;
  Kind classify(const rte_mbuf& mbuf, const std::uint8_t* frame) noexcept;
  Kind classify_v4(const rte_mbuf& mbuf, const std::uint8_t* ip) noexcept;
  bool is_from_tunnel(const rte_mbuf& mbuf, const std::uint8_t* ip) noexcept;
  bool is_peer(std::uint64_t addresses) noexcept;
  void enter_by(PortId port) noexcept {
    if (port != ingress_.port) [[unlikely]]
      ingress_ = Ingress(port, *w_.snapshot, w_);
  }
  template <typename F>
  flow::FlowMap<F>& map() noexcept {
    if constexpr (F::family == net::Family::v4) {
      return v4_;
    } else {
      return v6_;
    }
  }
  template <typename F, bool kInTunnel>
  Fate carry_one(rte_mbuf* mbuf, const Look& look) noexcept;
  template <typename F, bool kInTunnel>
  Fate carry_run(unsigned& i) noexcept;
  void send(rte_mbuf* mbuf, PortId port) noexcept;

  static constexpr unsigned kInner = sizeof(net::Ethernet) + sizeof(net::Ipv4);

  const Burst& burst_;
  Worker& w_;
  flow::FlowMap<flow::V4>& v4_;
  flow::FlowMap<flow::V6>& v6_;
  const tables::NextHop* const hops_;
  const std::size_t hop_count_;
  const std::uint32_t policy_generation_;
  const std::uint16_t now_;
  Ingress ingress_;
  std::uint64_t peer_ = 0;  // outer addresses that is_peer() has found good
  unsigned handed_over_ = 0;
  PortId out_port_ = kNoPort;
  Worker::Outbox* outbox_ = nullptr;  // of out_port_
  std::array<Look, kBatchSize> looks_;
};

inline FastPath::FastPath(const Burst& burst, Worker& w) noexcept
    : burst_(burst),
      w_(w),
      v4_(w.shared.flows->v4),
      v6_(w.shared.flows->v6),
      hops_(w.snapshot->routes->next_hops.data()),
      hop_count_(w.snapshot->routes->next_hops.size()),
      policy_generation_(w.snapshot->policy_generation),
      now_(flow::FlowMap<flow::V4>::clock16(w.now_seconds)) {
  constexpr unsigned kAhead = 4;
  for (unsigned i = 0; i < burst.size(); ++i) {
    const unsigned ahead = std::min(i + kAhead, burst.size() - 1);
    __builtin_prefetch(rte_pktmbuf_mtod(burst[ahead].mbuf, const std::uint8_t*));
    begin(i);
  }
  for (unsigned i = 0; i < burst.size(); ++i) {
    Look& look = looks_[i];
    if (look.kind <= Kind::v4_in_tunnel) {
      look.candidate = v4_.candidate(look.hash);
    } else if (look.kind == Kind::v6) {
      look.candidate = v6_.candidate(look.hash);
    }
  }
}

inline void FastPath::begin(unsigned i) noexcept {
  rte_mbuf* mbuf = burst_[i].mbuf;
  const auto* frame = rte_pktmbuf_mtod(mbuf, const std::uint8_t*);
  Look& look = looks_[i];
  enter_by(burst_[i].in_port);
  look.kind = classify(*mbuf, frame);
  if (look.kind == Kind::v6) {
    look.hash = Wire<flow::V6>::hash(frame + sizeof(net::Ethernet), v6_.hasher());
    v6_.prefetch(look.hash);
  } else if (look.kind <= Kind::v4_in_tunnel) {
    const unsigned l3_offset = look.kind == Kind::v4 ? sizeof(net::Ethernet) : kInner;
    look.hash = Wire<flow::V4>::hash(frame + l3_offset, v4_.hasher());
    v4_.prefetch(look.hash);
  }
  if (w_.shared.handoff != nullptr && is_elsewhere(burst_[i], look)) look.kind = Kind::elsewhere;
}

// Is it the flow of another worker, though the device gave it to us?
inline bool FastPath::is_elsewhere(const Burst::Frame& frame, const Look& look) const noexcept {
  const bool spread = look.kind == Kind::v4_in_tunnel ||
                      (ingress_.uplink && ingress_.few_queues && look.kind <= Kind::v6);
  return spread && !frame.handed && w_.shared.handoff->worker_of(look.hash) != w_.index;
}

inline bool FastPath::hand_over(unsigned i) noexcept {
  Handoff& handoff = *w_.shared.handoff;
  if (!handoff.give(w_.index, handoff.worker_of(looks_[i].hash), burst_[i])) return false;
  ++handed_over_;
  return true;
}

// Which frames can be of a flow that the fast path carries. What it reads of them here is within
// the first segment: Ethernet, IP without options, eight bytes of the transport.
inline FastPath::Kind FastPath::classify(const rte_mbuf& mbuf, const std::uint8_t* frame) noexcept {
  constexpr std::uint64_t kLeftToUs = RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG;
  if (mbuf.data_len < kLeastFrame) return Kind::later;
  const __m128i start = load16(frame);
  const std::uint8_t* ip = frame + sizeof(net::Ethernet);
  const bool plain = mbuf.nb_segs == 1 && (mbuf.ol_flags & kLeftToUs) == 0;
  if (plain && ingress_.takes_v4(start)) [[likely]]
    return classify_v4(mbuf, ip);
  if (plain && ingress_.takes_v6(start) && mbuf.data_len >= kLeastFrameV6) {
    const std::uint8_t protocol = ip[offsetof(net::Ipv6, next_header)];
    if (is_carried(protocol)) return Kind::v6;
    return protocol == net::protocol::icmpv6 ? Kind::later : Kind::in_place;
  }
  return is_ip(frame) ? Kind::in_place : Kind::later;
}

inline FastPath::Kind FastPath::classify_v4(const rte_mbuf& mbuf, const std::uint8_t* ip) noexcept {
  using Ip = Wire<flow::V4>;
  const std::uint8_t protocol = Ip::protocol(ip);
  if (is_carried(protocol)) [[likely]]
    return Ip::is_fragment(ip) ? Kind::in_place : Kind::v4;
  if (protocol != net::protocol::ipip || !ingress_.uplink) return Kind::later;
  const std::uint8_t* inner = ip + sizeof(net::Ipv4);
  if (!is_from_tunnel(mbuf, ip) || Ip::is_fragment(inner)) return Kind::in_place;
  return is_carried(Ip::protocol(inner)) ? Kind::v4_in_tunnel : Kind::later;
}

// The outer header of IPIP from a node we know, without anything that parse or decap would have to
// look at.
inline bool FastPath::is_from_tunnel(const rte_mbuf& mbuf, const std::uint8_t* ip) noexcept {
  using Ip = Wire<flow::V4>;
  constexpr std::uint8_t kEcn = 3;
  constexpr unsigned kLeast = 2 * sizeof(net::Ipv4) + kLeastL4;
  const unsigned total = Ip::total(ip);
  return mbuf.data_len >= sizeof(net::Ethernet) + kLeast && total >= kLeast &&
         sizeof(net::Ethernet) + total <= mbuf.pkt_len &&
         (ip[offsetof(net::Ipv4, tos)] & kEcn) == 0 && !Ip::is_fragment(ip) &&
         ip[sizeof(net::Ipv4)] == kPlainVersionIhl &&
         (is_verified(mbuf) || Ip::is_checksum_good(ip)) &&
         is_peer(load<std::uint64_t>(ip + offsetof(net::Ipv4, source)));
}

inline bool FastPath::is_peer(std::uint64_t addresses) noexcept {
  if (addresses == peer_) [[likely]]
    return true;
  const auto source = net::be32::from_raw(static_cast<std::uint32_t>(addresses));
  const auto destination = net::be32::from_raw(static_cast<std::uint32_t>(addresses >> 32U));
  const tables::Snapshot& snapshot = *w_.snapshot;
  const bool good = snapshot.is_own_address(net::Address::from_v4(destination)) &&
                    !snapshot.is_own_address(net::Address::from_v4(source)) &&
                    snapshot.routes->is_tunnel_peer(source);
  if (good) peer_ = addresses;
  return good;
}

template <typename F, bool kInTunnel>
[[gnu::always_inline]] inline FastPath::Fate FastPath::carry_one(rte_mbuf* mbuf,
                                                                 const Look& look) noexcept {
  constexpr unsigned kL3 = kInTunnel ? kInner : sizeof(net::Ethernet);
  auto* frame = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
  std::uint8_t* ip = frame + kL3;
  auto* flow = static_cast<flow::Flow<F>*>(look.candidate);
  if (flow == nullptr || !Wire<F>::is_of(ip, flow->key)) [[unlikely]] {
    flow = map<F>().find(Wire<F>::key(ip), look.hash, flow::kNoSlot);
    if (flow == nullptr) return Fate::later;
  }
  const auto id = flow::Way::next_hop(flow->way.load(std::memory_order_relaxed),
                                      kInTunnel ? ingress_.tunnel_way : ingress_.way);
  const tables::NextHop& hop = hops_[id < hop_count_ ? id : tables::kNoNextHop];
  const bool known = leads_out(hop.kind) &&
                     flow->policy_generation.load(std::memory_order_relaxed) == policy_generation_;
  const bool to_tunnel = hop.kind == tables::NextHopKind::tunnel;
  const unsigned headers = sizeof(net::Ethernet) + (to_tunnel ? sizeof(net::Ipv4) : 0);
  const unsigned hops_lost = ingress_.forwards && hop.kind != tables::NextHopKind::host ? 1 : 0;
  const InFrame packet{ip, Wire<F>::total(ip), Wire<F>::header, flow->key.protocol};
  // An inner packet may claim no more than its outer one.
  const unsigned end = kInTunnel ? outer_end(frame) : mbuf->pkt_len;
  const auto l4 = packet.fits(end - kL3, hop.mtu) ? packet.l4() : InFrame::L4::other;
  if (!known || l4 == InFrame::L4::other || mbuf->data_off + kL3 < headers ||
      Wire<F>::hops(ip) <= hops_lost || !Wire<F>::is_sound(ip, kInTunnel || !is_verified(*mbuf)))
      [[unlikely]] {
    return Fate::in_place;
  }
  const bool steady =
      l4 == InFrame::L4::steady &&
      flow::is_steady_flow(flow->state.load(std::memory_order_relaxed), flow->is_reply);
  if (steady) [[likely]] {
    flow::FlowMap<F>::count(*flow, packet.total, now_);
  } else {
    // A frame before this one may have ended the flow, and begun another of its key.
    if (map<F>().find(Wire<F>::key(ip), look.hash, flow::kNoSlot) != flow) return Fate::in_place;
    map<F>().passed(*flow, packet.total, packet.protocol, packet.tcp_flags(), w_.now_seconds);
  }
  if (kInTunnel) w_.counters.tunnel_in.add();
  Wire<F>::translate(ip, *flow, hops_lost);
  if (to_tunnel) {
    packet.push_outer(hop, w_.next_tunnel_id++);
    w_.counters.tunnel_out.add();
  }
  packet.put_in_frame(hop, Wire<F>::ether_type, headers);
  mbuf->data_off = static_cast<std::uint16_t>(mbuf->data_off + kL3 - headers);
  mbuf->data_len = static_cast<std::uint16_t>(packet.total + headers);
  mbuf->pkt_len = packet.total + headers;
  send(mbuf, hop.port);
  return Fate::sent;
}

// As Worker::send, with the last port at hand. NextHops that lead out have a port's number.
inline void FastPath::send(rte_mbuf* mbuf, PortId port) noexcept {
  if (port != out_port_ || outbox_->size - 1 >= kBatchSize - 1) [[unlikely]] {
    if (port >= kMaxPorts) return w_.send(mbuf, port);
    outbox_ = &w_.outbox_with_room(port);
    out_port_ = port;
  }
  outbox_->append(mbuf);
}

template <typename F, bool kInTunnel>
inline FastPath::Fate FastPath::carry_run(unsigned& i) noexcept {
  const Kind kind = looks_[i].kind;
  do {
    enter_by(burst_[i].in_port);
    const Fate fate = carry_one<F, kInTunnel>(burst_[i].mbuf, looks_[i]);
    if (fate != Fate::sent) [[unlikely]]
      return fate;
    ++i;
  } while (i < burst_.size() && looks_[i].kind == kind);
  return Fate::sent;
}

inline FastPath::Fate FastPath::carry(unsigned& i) noexcept {
  Fate fate = Fate::sent;
  while (i < burst_.size() && fate == Fate::sent) {
    switch (looks_[i].kind) {
      case Kind::v4:
        fate = carry_run<flow::V4, false>(i);
        break;
      case Kind::v4_in_tunnel:
        fate = carry_run<flow::V4, true>(i);
        break;
      case Kind::v6:
        fate = carry_run<flow::V6, false>(i);
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

}  // namespace podwire::stages
