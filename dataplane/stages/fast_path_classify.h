// Inside of the fast path: which frames can be of a flow that it carries.
#pragma once

#include "dataplane/stages/fast_path_ingress.h"

namespace podwire::stages {

// Looks at a frame alone. What it reads is within the first segment: Ethernet, IP without options,
// eight bytes of the transport.
class Classifier {
 public:
  enum class Kind : std::uint8_t {
    v4,
    v4_in_tunnel,
    v6,
    elsewhere,  // another worker's
    later,      // of no flow that is known: may wait until the burst is through
    in_place,   // perhaps of a known flow: is to be carried before the frames behind it
  };

  explicit Classifier(const tables::Snapshot& snapshot) : snapshot_(snapshot) {}

  Kind operator()(const Ingress& ingress, const rte_mbuf& mbuf) noexcept {
    // In front of what is sent stands one header more than in front of what came.
    constexpr unsigned kHeadroom = sizeof(net::Ipv4);
    constexpr std::uint64_t kLeftToUs = RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG;
    const auto* frame = rte_pktmbuf_mtod(&mbuf, const std::uint8_t*);
    if (mbuf.data_len < kLeastFrame) return Kind::later;
    const __m128i start = load16(frame);
    const bool plain =
        mbuf.nb_segs == 1 && (mbuf.ol_flags & kLeftToUs) == 0 && mbuf.data_off >= kHeadroom;
    if (plain && ingress.takes_v4(start)) [[likely]]
      return of_v4(ingress, mbuf, frame + sizeof(net::Ethernet));
    if (plain && ingress.takes_v6(start) && mbuf.data_len >= kLeastFrameV6) {
      const std::uint8_t protocol = frame[sizeof(net::Ethernet) + offsetof(net::Ipv6, next_header)];
      if (is_carried(protocol)) return Kind::v6;
      return protocol == net::protocol::icmpv6 ? Kind::later : Kind::in_place;
    }
    return is_ip(frame) ? Kind::in_place : Kind::later;
  }

 private:
  Kind of_v4(const Ingress& ingress, const rte_mbuf& mbuf, const std::uint8_t* ip) noexcept;
  bool is_from_tunnel(const rte_mbuf& mbuf, const std::uint8_t* ip) noexcept;
  bool is_peer(std::uint64_t addresses) noexcept;

  const tables::Snapshot& snapshot_;
  std::uint64_t peer_ = 0;  // outer addresses that is_peer() has found good
};

inline Classifier::Kind Classifier::of_v4(const Ingress& ingress, const rte_mbuf& mbuf,
                                          const std::uint8_t* ip) noexcept {
  using Ip = Wire<flow::V4>;
  const std::uint8_t protocol = Ip::protocol(ip);
  if (is_carried(protocol)) [[likely]]
    return Ip::is_fragment(ip) || !Ip::is_checksum_good(ip) ? Kind::in_place : Kind::v4;
  if (protocol != net::protocol::ipip || !ingress.uplink) return Kind::later;
  const std::uint8_t* inner = ip + sizeof(net::Ipv4);
  if (!is_from_tunnel(mbuf, ip) || Ip::is_fragment(inner) || !Ip::is_checksum_good(inner))
    return Kind::in_place;
  return is_carried(Ip::protocol(inner)) ? Kind::v4_in_tunnel : Kind::later;
}

// The outer header of IPIP from a node we know, without anything that parse or decap would have to
// look at.
inline bool Classifier::is_from_tunnel(const rte_mbuf& mbuf, const std::uint8_t* ip) noexcept {
  using Ip = Wire<flow::V4>;
  constexpr std::uint8_t kEcn = 3;
  constexpr unsigned kLeast = 2 * sizeof(net::Ipv4) + kLeastL4;
  const unsigned total = Ip::total(ip);
  return mbuf.data_len >= sizeof(net::Ethernet) + kLeast && total >= kLeast &&
         sizeof(net::Ethernet) + total <= mbuf.pkt_len &&
         (ip[offsetof(net::Ipv4, tos)] & kEcn) == 0 && !Ip::is_fragment(ip) &&
         ip[sizeof(net::Ipv4)] == kPlainVersionIhl && Ip::is_checksum_good(ip) &&
         is_peer(load<std::uint64_t>(ip + offsetof(net::Ipv4, source)));
}

inline bool Classifier::is_peer(std::uint64_t addresses) noexcept {
  if (addresses == peer_) [[likely]]
    return true;
  const auto source = net::be32::from_raw(static_cast<std::uint32_t>(addresses));
  const auto destination = net::be32::from_raw(static_cast<std::uint32_t>(addresses >> 32U));
  const bool good = snapshot_.is_own_address(net::Address::from_v4(destination)) &&
                    !snapshot_.is_own_address(net::Address::from_v4(source)) &&
                    snapshot_.routes->is_tunnel_peer(source);
  if (good) peer_ = addresses;
  return good;
}

}  // namespace podwire::stages
