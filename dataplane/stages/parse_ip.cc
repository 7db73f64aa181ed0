#include "dataplane/stages/parse_ip.h"

#include "dataplane/stages/fragments.h"
#include "dataplane/stages/neighbour.h"
#include "dataplane/stages/parse.h"
#include "dataplane/stages/parse_l4.h"

namespace podwire::stages {
namespace {

constexpr std::uint16_t kVxlanPort = 4789;  // RFC 7348 section 5
constexpr unsigned kMaxDatagram = 65535;
constexpr unsigned kMinSegment = 48;  // as Linux's TCP_MIN_SND_MSS; less only multiplies packets

bool is_tunnel(std::uint8_t protocol) {
  return protocol == net::protocol::ipip || protocol == net::protocol::ipv6;
}

// A fragment's place must make sense by itself (RFC 791 section 3.2, RFC 8200 section 4.5).
Verdict check_place(const FragmentPlace& place) {
  if (place.length == 0 || (place.more && place.length % 8 != 0)) {
    return Verdict::drop(Reason::bad_ip_header);
  }
  if (place.offset + place.length > kMaxDatagram) return Verdict::drop(Reason::fragment_overlap);
  return Verdict::next();
}

// What a peer leaves to us must be something that can be done to the packet it sent.
bool offloads_fit(const Packet& p) {
  const std::uint64_t flags = p.mbuf->ol_flags;
  if ((flags & RTE_MBUF_F_TX_TCP_SEG) != 0) {
    return p.protocol == net::protocol::tcp && p.mbuf->tso_segsz >= kMinSegment;
  }
  switch (flags & RTE_MBUF_F_TX_L4_MASK) {
    case RTE_MBUF_F_TX_TCP_CKSUM:
      return p.protocol == net::protocol::tcp;
    case RTE_MBUF_F_TX_UDP_CKSUM:
      return p.protocol == net::protocol::udp;
    case RTE_MBUF_F_TX_SCTP_CKSUM:
      return p.protocol == net::protocol::sctp;
    default:
      return false;
  }
}

}  // namespace

Verdict check_use(Packet& p, const tables::PortInfo* port, const Worker& w) noexcept {
  const bool v4 = p.family == net::Family::v4;
  const bool local = p.source == Source::pod || p.source == Source::host;
  if (local && p.destination_address() == (v4 ? kGatewayV4 : kGatewayV6)) {
    const bool whole = !p.first_fragment && !p.later_fragment;
    const bool icmp = p.protocol == net::protocol::icmp || p.protocol == net::protocol::icmpv6;
    if (whole && icmp && *p.l4() == (v4 ? 8 : 128)) return answer_echo(p, *port);
    return Verdict::drop(Reason::bad_address);
  }
  if (p.source != Source::pod) return Verdict::next();
  if (!w.snapshot->synced) return Verdict::drop(Reason::not_synced);
  const bool vxlan =
      p.protocol == net::protocol::udp && p.destination_port == net::be16(kVxlanPort);
  return vxlan || is_tunnel(p.protocol) ? Verdict::drop(Reason::pod_tunnel) : Verdict::next();
}

void cut(rte_mbuf* mbuf, std::uint32_t length) noexcept {
  if (mbuf->pkt_len <= length) return;
  rte_mbuf* last = mbuf;
  std::uint32_t before = 0;
  std::uint16_t segments = 1;
  while (before + last->data_len < length) {
    before += last->data_len;
    last = last->next;
    ++segments;
  }
  if (last->next != nullptr) rte_pktmbuf_free(last->next);
  last->next = nullptr;
  last->data_len = static_cast<std::uint16_t>(length - before);
  mbuf->pkt_len = length;
  mbuf->nb_segs = segments;
}

Verdict parse_payload(Packet& p, const std::optional<FragmentPlace>& place, unsigned length,
                      const tables::PortInfo* port, Worker& w) noexcept {
  if (place) {
    if (const Verdict v = check_place(*place); !v.goes_on()) return v;
    if (p.source == Source::uplink && is_tunnel(p.protocol)) {
      return Verdict::drop(Reason::tunnel_fragment);
    }
    p.first_fragment = place->offset == 0;
    p.later_fragment = place->offset != 0;
  }
  if (p.partial_checksum && (place || !offloads_fit(p))) {
    return Verdict::drop(Reason::bad_l4_header);
  }
  if (p.later_fragment) {
    p.l4_offset = 0;
  } else if (const Verdict v = parse_l4(p, length); !v.goes_on()) {
    return v;
  }
  const Verdict v = check_use(p, port, w);
  return v.goes_on() && place ? w.fragments->track(p, *place, w) : v;
}

Verdict parse_ip(Packet& p, Worker& w) noexcept {
  const tables::PortInfo* port = w.snapshot->ports->find(p.in_port);
  return p.family == net::Family::v4 ? parse_v4(p, port, w) : parse_v6(p, port, w);
}

}  // namespace podwire::stages
