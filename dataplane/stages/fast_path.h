// The fast path: a packet of a known flow, from the frame as it was received to the frame as it is
// sent, in one pass. It does for TCP and UDP without oddities what parse, decap, track, rewrite,
// route and encap do for everything, to the same bytes and counters; whatever it does not do it
// leaves untouched for them. So a rule that changes there and matters to known flows changes here
// too; tests/packet/cases_fast_path.cc compares the two.
//
// What makes it short: a flow that was routed remembers its Way (flow.h), and with it that every
// check of addresses, ports and routes has passed.
//
// Three passes over the burst hide the cache misses: keys and their tags; tags and their entries;
// the packets themselves, in order.
#pragma once

#include <string_view>

#include "dataplane/stages/fast_path_wire.h"

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
  // Frame `i` of the burst, each once and in order.
  [[nodiscard]] Fate carry(unsigned i) noexcept;

 private:
  struct Look {
    std::uint32_t hash, hint;
    std::uint8_t l3_offset;
    enum Kind : std::uint8_t { v4, v6, later, in_place } kind;
    bool tunnel;
  };

  Look::Kind classify(const rte_mbuf& mbuf, const std::uint8_t* frame, Look& look) noexcept;
  bool take_tunnel(const rte_mbuf& mbuf, const std::uint8_t* ip, Look& look) noexcept;
  bool is_peer(std::uint64_t addresses) noexcept;
  template <typename F>
  void begin(const std::uint8_t* ip, Look& look) noexcept;
  template <typename F>
  Fate carry(rte_mbuf* mbuf, const Look& look) noexcept;
  void enter_by(PortId port) noexcept {
    if (port != ingress_.port) [[unlikely]]
      ingress_ = Ingress(port, *w_.snapshot);
  }

  const Burst& burst_;
  Worker& w_;
  Ingress ingress_;
  std::uint64_t peer_ = 0;  // outer addresses that is_peer() has found good
  std::array<Look, kBatchSize> looks_;
};

inline FastPath::FastPath(const Burst& burst, Worker& w) noexcept : burst_(burst), w_(w) {
  constexpr unsigned kAhead = 4;
  const bool synced = w.snapshot->synced;
  for (unsigned i = 0; i < burst.size(); ++i) {
    if (i + kAhead < burst.size()) {
      __builtin_prefetch(rte_pktmbuf_mtod(burst[i + kAhead].mbuf, const std::uint8_t*));
    }
    const auto* frame = rte_pktmbuf_mtod(burst[i].mbuf, const std::uint8_t*);
    Look& look = looks_[i];
    enter_by(burst[i].in_port);
    look.kind = synced ? classify(*burst[i].mbuf, frame, look) : Look::later;
    if (look.kind == Look::v4) {
      begin<flow::V4>(frame + look.l3_offset, look);
    } else if (look.kind == Look::v6) {
      begin<flow::V6>(frame + look.l3_offset, look);
    }
  }
  for (unsigned i = 0; i < burst.size(); ++i) {
    Look& look = looks_[i];
    if (look.kind == Look::v4) {
      look.hint = w.shared.flows->v4.hint(look.hash);
    } else if (look.kind == Look::v6) {
      look.hint = w.shared.flows->v6.hint(look.hash);
    }
  }
}

template <typename F>
inline void FastPath::begin(const std::uint8_t* ip, Look& look) noexcept {
  auto& map = w_.shared.flows->map<F>();
  look.hash = map.hash(Wire<F>::key(ip));
  map.prefetch(look.hash);
}

// Which frames can be of a flow that the fast path carries. Wholly inside the first segment is
// what it reads here: Ethernet, IP without options, eight bytes of the transport.
inline FastPath::Look::Kind FastPath::classify(const rte_mbuf& mbuf, const std::uint8_t* frame,
                                               Look& look) noexcept {
  constexpr std::uint64_t kLeftToUs = RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG;
  if (mbuf.data_len < kLeastFrame || !ingress_.takes(frame)) return Look::later;
  const auto start = load<std::uint32_t>(frame + offsetof(net::Ethernet, type));
  look.l3_offset = sizeof(net::Ethernet);
  look.tunnel = false;
  const std::uint8_t* ip = frame + sizeof(net::Ethernet);
  if ((mbuf.ol_flags & kLeftToUs) != 0) return Look::in_place;
  if (Wire<flow::V4>::is_plain(start)) {
    std::uint8_t protocol = ip[offsetof(net::Ipv4, protocol)];
    if (protocol == net::protocol::ipip && ingress_.uplink) {
      if (!take_tunnel(mbuf, ip, look)) return Look::in_place;
      ip += sizeof(net::Ipv4);
      protocol = ip[offsetof(net::Ipv4, protocol)];
    }
    if (protocol != net::protocol::udp && protocol != net::protocol::tcp) return Look::later;
    return Wire<flow::V4>::is_fragment(ip) ? Look::in_place : Look::v4;
  }
  if (Wire<flow::V6>::is_plain(start) && mbuf.data_len >= kLeastFrameV6) {
    const std::uint8_t protocol = ip[offsetof(net::Ipv6, next_header)];
    if (protocol == net::protocol::udp || protocol == net::protocol::tcp) return Look::v6;
    return protocol == net::protocol::icmpv6 ? Look::later : Look::in_place;
  }
  return is_ip(start) ? Look::in_place : Look::later;
}

// The outer header of IPIP from a node we know, without anything that parse or decap would have to
// look at: then the inner packet is the one to carry.
inline bool FastPath::take_tunnel(const rte_mbuf& mbuf, const std::uint8_t* ip,
                                  Look& look) noexcept {
  constexpr std::uint8_t kEcn = 3;
  constexpr unsigned kLeast = 2 * sizeof(net::Ipv4) + sizeof(net::Udp);
  const unsigned total = Wire<flow::V4>::total(ip);
  look.l3_offset = sizeof(net::Ethernet) + sizeof(net::Ipv4);
  look.tunnel = true;
  return mbuf.data_len >= sizeof(net::Ethernet) + kLeast && total >= kLeast &&
         sizeof(net::Ethernet) + total <= mbuf.pkt_len &&
         (ip[offsetof(net::Ipv4, tos)] & kEcn) == 0 && !Wire<flow::V4>::is_fragment(ip) &&
         ip[sizeof(net::Ipv4)] == 0x45 &&
         (is_verified(mbuf) || Wire<flow::V4>::is_checksum_good(ip)) &&
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

template <typename F>
inline FastPath::Fate FastPath::carry(rte_mbuf* mbuf, const Look& look) noexcept {
  auto& map = w_.shared.flows->map<F>();
  auto* frame = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
  InFrame packet{mbuf, frame + look.l3_offset, look.l3_offset,
                 Wire<F>::total(frame + look.l3_offset)};
  flow::Flow<F>* flow = map.find(Wire<F>::key(packet.ip), look.hash, look.hint);
  if (flow == nullptr) return Fate::later;

  const tables::Snapshot& snapshot = *w_.snapshot;
  const auto id = flow::Way::next_hop(flow->way.load(std::memory_order_relaxed),
                                      ingress_.way[look.tunnel ? 1 : 0]);
  const tables::NextHop& hop = snapshot.routes->at(id);
  const std::uint8_t protocol = flow->key.protocol;
  const bool known =
      id != tables::kNoNextHop && leads_out(hop.kind) &&
      flow->policy_generation.load(std::memory_order_relaxed) == snapshot.policy_generation;
  // What of an outer header's length the inner packet may claim.
  const unsigned end = look.tunnel ? unsigned{sizeof(net::Ethernet)} +
                                         Wire<flow::V4>::total(frame + sizeof(net::Ethernet))
                                   : mbuf->pkt_len;
  const unsigned hops_lost = ingress_.forwards && hop.kind != tables::NextHopKind::host ? 1 : 0;
  const unsigned headers =
      sizeof(net::Ethernet) + (hop.kind == tables::NextHopKind::tunnel ? sizeof(net::Ipv4) : 0);
  if (!known || !packet.fits(Wire<F>::header, end, hop.mtu, headers) ||
      !Wire<F>::is_sound(packet.ip, look.tunnel || !is_verified(*mbuf)) ||
      Wire<F>::hops(packet.ip) <= hops_lost || !packet.is_plain_l4(Wire<F>::header, protocol) ||
      !flow::is_steady(flow->state.load(std::memory_order_relaxed), protocol, 0, flow->is_reply)) {
    return Fate::in_place;
  }
  map.count(*flow, packet.total, w_.now_seconds);
  if (look.tunnel) w_.counters.tunnel_in.add();
  Wire<F>::translate(packet.ip, *flow, hops_lost);
  packet.put_in_frame(hop, F::family, headers, w_);
  w_.send(mbuf, hop.port);
  return Fate::sent;
}

inline FastPath::Fate FastPath::carry(unsigned i) noexcept {
  const Look& look = looks_[i];
  const auto& [mbuf, in_port] = burst_[i];
  enter_by(in_port);
  switch (look.kind) {
    case Look::v4:
      return carry<flow::V4>(mbuf, look);
    case Look::v6:
      return carry<flow::V6>(mbuf, look);
    case Look::later:
      return Fate::later;
    case Look::in_place:
      break;
  }
  return Fate::in_place;
}

}  // namespace podwire::stages
