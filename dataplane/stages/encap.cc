#include "dataplane/stages/encap.h"

#include <rte_ip.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "dataplane/net/checksum.h"
#include "dataplane/stages/icmp_origin.h"

namespace podwire::stages {
namespace {

using tables::NextHop;
using tables::NextHopKind;

constexpr std::uint8_t kTunnelTtl = 64;
constexpr unsigned kMaxPieces = 64;

bool is_unsegmented(const rte_mbuf* mbuf) {
  return (mbuf->ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0;
}

unsigned l4_header_length(const Packet& p) {
  if (p.protocol == net::protocol::udp) return sizeof(net::Udp);
  if (p.protocol == net::protocol::sctp) return sizeof(net::Sctp);
  return (reinterpret_cast<const net::Tcp*>(p.l4())->data_offset >> 4) * 4U;
}

// RFC 2003 section 3.1. ECN as RFC 6040 section 4.1, normal mode: copied.
void push_outer(Packet& p, const NextHop& hop, Worker& w) {
  const net::Ipv4& inner = p.ipv4();
  net::Ipv4 outer{};
  outer.version_ihl = 0x45;
  outer.tos = inner.tos;
  const unsigned total = inner.total_length.host() + unsigned{sizeof(net::Ipv4)};
  outer.total_length = net::be16(static_cast<std::uint16_t>(std::min(total, 65535U)));
  outer.id = net::be16(w.next_tunnel_id++);
  outer.fragment = net::be16(inner.fragment.host() & net::Ipv4::kDontFragment);
  outer.ttl = kTunnelTtl;
  outer.protocol = net::protocol::ipip;
  outer.source = hop.tunnel_source;
  outer.destination = hop.tunnel_destination;
  outer.checksum = net::checksum_of(net::add_sum(0, &outer, sizeof outer));
  p.l3_offset = static_cast<std::uint16_t>(p.l3_offset - sizeof outer);
  std::memcpy(p.l3(), &outer, sizeof outer);
  w.counters.tunnel_out.add();
}

// What DPDK and the port drivers want to know about a frame whose checksum or segmentation is still
// to be done.
void describe_offloads(Packet& p, bool tunnel, unsigned inner_header) {
  constexpr std::uint64_t kOurs = RTE_MBUF_F_TX_TUNNEL_MASK | RTE_MBUF_F_TX_OUTER_IPV4 |
                                  RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IPV6 | RTE_MBUF_F_TX_IP_CKSUM;
  rte_mbuf* mbuf = p.mbuf;
  const bool v4 = p.family == net::Family::v4;
  mbuf->ol_flags &= ~kOurs;
  mbuf->ol_flags |= v4 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6;
  if (v4 && is_unsegmented(mbuf)) mbuf->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM;
  if (tunnel) mbuf->ol_flags |= RTE_MBUF_F_TX_TUNNEL_IPIP | RTE_MBUF_F_TX_OUTER_IPV4;
  mbuf->outer_l2_len = tunnel ? sizeof(net::Ethernet) : 0;
  mbuf->outer_l3_len = tunnel ? sizeof(net::Ipv4) : 0;
  mbuf->l2_len = tunnel ? 0 : sizeof(net::Ethernet);
  mbuf->l3_len = inner_header;
  mbuf->l4_len = l4_header_length(p);
}

// Makes the buffer's data begin with the Ethernet header of a packet that has `headers` bytes of
// new headers in front of p.l3_offset. False without headroom.
bool make_room(Packet& p, unsigned headers) {
  if (p.l3_offset >= headers) {
    const auto surplus = static_cast<std::uint16_t>(p.l3_offset - headers);
    if (surplus != 0) rte_pktmbuf_adj(p.mbuf, surplus);
  } else {
    const auto missing = static_cast<std::uint16_t>(headers - p.l3_offset);
    if (rte_pktmbuf_prepend(p.mbuf, missing) == nullptr) return false;
  }
  if (p.l4_offset != 0) {
    p.l4_offset = static_cast<std::uint16_t>(p.l4_offset - p.l3_offset + headers);
  }
  p.l3_offset = static_cast<std::uint16_t>(headers);
  return true;
}

bool frame(Packet& p, const NextHop& hop, Worker& w) {
  const bool tunnel = hop.kind == NextHopKind::tunnel;
  const unsigned outer = tunnel ? sizeof(net::Ipv4) : 0;
  const unsigned inner_header = p.l4_offset == 0 ? 0U : p.l4_offset - p.l3_offset;
  if (!make_room(p, sizeof(net::Ethernet) + outer)) return false;
  if (p.partial_checksum) describe_offloads(p, tunnel, inner_header);
  const bool v4 = tunnel || p.family == net::Family::v4;
  if (tunnel) push_outer(p, hop, w);
  net::Ethernet& ethernet = p.ethernet();
  ethernet.destination = hop.destination_mac;
  ethernet.source = hop.source_mac;
  ethernet.type = net::be16(v4 ? net::ether_type::ipv4 : net::ether_type::ipv6);
  p.out_port = hop.port;
  return true;
}

// A datagram that is cut in pieces can leave no checksum to its last owner.
void finish_checksum(Packet& p) {
  if (!p.partial_checksum) return;
  // The field holds the pseudo-header's sum, which belongs to the whole.
  std::uint16_t sum = 0;
  const unsigned offset = p.protocol == net::protocol::tcp ? offsetof(net::Tcp, checksum)
                                                           : offsetof(net::Udp, checksum);
  const unsigned length = p.mbuf->pkt_len - p.l4_offset;
  if (rte_raw_cksum_mbuf(p.mbuf, p.l4_offset, length, &sum) == 0) {
    const std::uint16_t checksum = static_cast<std::uint16_t>(~sum);
    const std::uint16_t field = checksum == 0 ? 0xffff : checksum;
    std::memcpy(p.l4() + offset, &field, sizeof field);
  }
  p.mbuf->ol_flags &= ~(RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TUNNEL_MASK);
  p.partial_checksum = false;
}

// RFC 791 section 3.1: an option whose copied bit is not set stands in the first fragment only.
// Later ones carry no-operations in its place, which keeps the header's length.
void drop_uncopied_options(std::uint8_t* option, const std::uint8_t* end) {
  constexpr std::uint8_t kEnd = 0, kNoOperation = 1, kCopied = 0x80;
  while (option < end && *option != kEnd) {
    const unsigned length = *option == kNoOperation ? 1 : option[1];
    if ((*option & kCopied) == 0) std::memset(option, kNoOperation, length);
    option += length;
  }
}

struct Piece {
  unsigned offset, length;  // of the payload
  bool last;
};

// One fragment of `whole` in a buffer of its own, without Ethernet header.
void fill_piece(rte_mbuf* mbuf, const Packet& whole, const Piece& piece) {
  const net::Ipv4& from = whole.ipv4();
  const unsigned header = from.header_length();
  auto* to = reinterpret_cast<std::uint8_t*>(
      rte_pktmbuf_append(mbuf, static_cast<std::uint16_t>(header + piece.length)));
  std::memcpy(to, &from, header);
  const unsigned at = whole.l3_offset + header + piece.offset;
  const void* payload = rte_pktmbuf_read(whole.mbuf, at, piece.length, to + header);
  if (payload != to + header) std::memcpy(to + header, payload, piece.length);

  auto& ip = *reinterpret_cast<net::Ipv4*>(to);
  if (piece.offset != 0) drop_uncopied_options(to + sizeof ip, to + header);
  ip.total_length = net::be16(static_cast<std::uint16_t>(header + piece.length));
  const std::uint16_t was = from.fragment.host();
  const unsigned offset = (was & net::Ipv4::kOffsetMask) + piece.offset / 8;
  const bool more = !piece.last || (was & net::Ipv4::kMoreFragments) != 0;
  ip.fragment =
      net::be16(static_cast<std::uint16_t>(offset | (more ? net::Ipv4::kMoreFragments : 0U)));
  ip.checksum = net::be16{};
  ip.checksum = net::checksum_of(net::add_sum(0, to, header));
}

// RFC 791 section 3.2. Sends the pieces and takes the datagram; on failure leaves it.
Verdict fragment(Packet& p, const NextHop& hop, Worker& w) {
  finish_checksum(p);
  const unsigned header = p.ipv4().header_length(), payload = p.l3_length - header;
  const unsigned room = rte_pktmbuf_data_room_size(w.shared.packet_pool) - RTE_PKTMBUF_HEADROOM;
  const unsigned step = (std::min(unsigned{hop.mtu}, room) - header) & ~7U;
  const unsigned pieces = (payload + step - 1) / step;
  std::array<rte_mbuf*, kMaxPieces> mbufs;
  if (hop.mtu < header + 8 || pieces > kMaxPieces) return Verdict::drop(Reason::too_big);
  if (rte_pktmbuf_alloc_bulk(w.shared.packet_pool, mbufs.data(), pieces) != 0) {
    return Verdict::drop(Reason::no_memory);
  }
  for (unsigned i = 0; i < pieces; ++i) {
    const unsigned at = i * step;
    fill_piece(mbufs[i], p, Piece{at, std::min(step, payload - at), i + 1 == pieces});
    Packet piece = p;
    piece.mbuf = mbufs[i];
    piece.l3_offset = piece.l4_offset = 0;
    frame(piece, hop, w);  // a fresh buffer has its headroom
    w.send(mbufs[i], piece.out_port);
  }
  w.counters.originated.add(pieces - 1);
  rte_pktmbuf_free(p.mbuf);
  return Verdict::taken();
}

Verdict too_big(Packet& p, const NextHop& hop, Worker& w) {
  originate(w, p, IcmpError::too_big, hop.mtu);
  return Verdict::drop(Reason::too_big);
}

}  // namespace

Verdict Encap::decide(Packet& p, Worker& w) noexcept {
  const NextHop& hop = w.snapshot->routes->at(p.next_hop);
  const bool may_fragment =
      p.family == net::Family::v4 && (p.ipv4().fragment.host() & net::Ipv4::kDontFragment) == 0;
  if (is_unsegmented(p.mbuf)) {
    const unsigned headers = p.l4_offset - p.l3_offset + l4_header_length(p);
    if (headers + p.mbuf->tso_segsz > hop.mtu) {
      if (!may_fragment || headers + 8 > hop.mtu) return too_big(p, hop, w);
      p.mbuf->tso_segsz = static_cast<std::uint16_t>(hop.mtu - headers);
    }
  } else if (p.l3_length > hop.mtu) {
    return may_fragment ? fragment(p, hop, w) : too_big(p, hop, w);
  }
  return frame(p, hop, w) ? Verdict::next() : Verdict::drop(Reason::no_memory);
}

}  // namespace podwire::stages
