// The IP part of parse: both families' headers, addresses and fragments.
#include <algorithm>
#include <optional>

#include "dataplane/net/checksum.h"
#include "dataplane/stages/fragments.h"
#include "dataplane/stages/neighbour.h"
#include "dataplane/stages/parse.h"
#include "dataplane/stages/parse_l4.h"

namespace podwire::stages {
namespace {

using net::Address;

constexpr std::uint16_t kVxlanPort = 4789;  // RFC 7348 section 5
constexpr unsigned kMaxExtensionHeaders = 8;
constexpr unsigned kMaxDatagram = 65535;

// Cuts the packet to `length` bytes: link-layer padding, or what an inner packet does not claim.
void cut(rte_mbuf* mbuf, std::uint32_t length) {
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

// What is left of the IP packet, in all segments and in the first one, which headers must be in.
struct Left {
  unsigned all, readable;
  explicit Left(const Packet& p)
      : all(p.mbuf->pkt_len - p.l3_offset),
        readable(p.mbuf->data_len > p.l3_offset ? p.mbuf->data_len - p.l3_offset : 0U) {}
};

bool is_tunnel(std::uint8_t protocol) {
  return protocol == net::protocol::ipip || protocol == net::protocol::ipv6;
}

// RFC 791 section 3.1. Source routes would lead around what policy and routes say.
Verdict check_options(const std::uint8_t* option, const std::uint8_t* end) {
  constexpr std::uint8_t kEnd = 0, kNoOperation = 1, kLooseRoute = 131, kStrictRoute = 137;
  while (option < end && *option != kEnd) {
    if (*option == kLooseRoute || *option == kStrictRoute) break;
    if (*option == kNoOperation) {
      ++option;
      continue;
    }
    if (end - option < 2 || option[1] < 2 || option[1] > end - option) break;
    option += option[1];
  }
  const bool good = option >= end || *option == kEnd;
  return good ? Verdict::next() : Verdict::drop(Reason::bad_ip_option);
}

// RFC 1122 section 3.2.1.3, RFC 6890: this network, loopback, groups, the reserved class and
// broadcast are no addresses of one host.
bool is_host_v4(net::be32 address) {
  const std::uint32_t first = address.host() >> 24;
  return first != 0 && first != 127 && first < 224;
}

Verdict check_v4_addresses(const Packet& p, const tables::PortInfo* port, const Worker& w) {
  const net::Ipv4& ip = p.ipv4();
  if (p.source == Source::pod && (!port->has_v4 || ip.source != port->v4.v4())) {
    return Verdict::drop(Reason::spoofed_ip);
  }
  if (!is_host_v4(ip.source) || !is_host_v4(ip.destination) || ip.source == ip.destination) {
    return Verdict::drop(Reason::bad_address);
  }
  const bool from_outside = p.source == Source::uplink || p.source == Source::tunnel;
  if (from_outside && w.snapshot->is_own_address(p.source_address())) {
    return Verdict::drop(Reason::bad_address);
  }
  return Verdict::next();
}

// Once ports are known: pods may not tunnel, may not run ahead of the first sync, and find no more
// than echo at their gateway.
Verdict finish(Packet& p, const tables::PortInfo* port, const Address& gateway,
               std::uint8_t echo_request, Worker& w) {
  const bool local = p.source == Source::pod || p.source == Source::host;
  if (local && p.destination_address() == gateway) {
    const bool whole = !p.first_fragment && !p.later_fragment;
    const bool icmp = p.protocol == net::protocol::icmp || p.protocol == net::protocol::icmpv6;
    if (whole && icmp && *p.l4() == echo_request) return answer_echo(p, *port);
    return Verdict::drop(Reason::bad_address);
  }
  if (p.source != Source::pod) return Verdict::next();
  if (!w.snapshot->synced) return Verdict::drop(Reason::not_synced);
  const bool vxlan =
      p.protocol == net::protocol::udp && p.destination_port == net::be16(kVxlanPort);
  return vxlan || is_tunnel(p.protocol) ? Verdict::drop(Reason::pod_tunnel) : Verdict::next();
}

// A fragment's place must make sense by itself (RFC 791 section 3.2, RFC 8200 section 4.5).
Verdict check_place(const FragmentPlace& place) {
  if (place.length == 0 || (place.more && place.length % 8 != 0)) {
    return Verdict::drop(Reason::bad_ip_header);
  }
  if (place.offset + place.length > kMaxDatagram) return Verdict::drop(Reason::fragment_overlap);
  return Verdict::next();
}

// `place` is empty for a whole datagram; `length` is the payload's, from p.l4_offset.
Verdict parse_payload(Packet& p, const std::optional<FragmentPlace>& place, unsigned length,
                      const tables::PortInfo* port, Worker& w) {
  const bool v4 = p.family == net::Family::v4;
  if (place) {
    if (const Verdict v = check_place(*place); !v.goes_on()) return v;
    if (p.source == Source::uplink && is_tunnel(p.protocol)) {
      return Verdict::drop(Reason::tunnel_fragment);
    }
    p.first_fragment = place->offset == 0;
    p.later_fragment = place->offset != 0;
  }
  if (p.later_fragment) {
    p.l4_offset = 0;
  } else if (const Verdict v = parse_l4(p, length); !v.goes_on()) {
    return v;
  }
  const Verdict v = finish(p, port, v4 ? kGatewayV4 : kGatewayV6, v4 ? 8 : 128, w);
  return v.goes_on() && place ? w.fragments->track(p, *place, w) : v;
}

Verdict parse_v4(Packet& p, const tables::PortInfo* port, Worker& w) {
  const Left left(p);
  if (left.readable < sizeof(net::Ipv4)) return Verdict::drop(Reason::truncated);
  const net::Ipv4& ip = p.ipv4();
  const unsigned header = ip.header_length(), total = ip.total_length.host();
  // RFC 791 section 3.1: "the minimum value for a correct header is 5" words; the total length
  // includes it.
  if (ip.version_ihl >> 4 != 4 || header < sizeof(net::Ipv4) || total < header) {
    return Verdict::drop(Reason::bad_ip_header);
  }
  if (header > left.readable || total > left.all) return Verdict::drop(Reason::truncated);
  const bool verified =
      (p.mbuf->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD &&
      p.source != Source::tunnel;  // the device looked at the outer header
  // RFC 1122 section 3.2.1.2: "A host MUST verify the IP header checksum".
  if (!verified && net::fold(net::add_sum(0, p.l3(), header)) != 0xffff) {
    return Verdict::drop(Reason::bad_ip_checksum);
  }
  if (header > sizeof(net::Ipv4)) {
    const Verdict v = check_options(p.l3() + sizeof(net::Ipv4), p.l3() + header);
    if (!v.goes_on()) return v;
  }
  cut(p.mbuf, p.l3_offset + total);
  p.l3_length = static_cast<std::uint16_t>(total);
  p.protocol = ip.protocol;
  p.l4_offset = static_cast<std::uint16_t>(p.l3_offset + header);
  if (const Verdict v = check_v4_addresses(p, port, w); !v.goes_on()) return v;

  std::optional<FragmentPlace> place;
  const std::uint16_t fragment = ip.fragment.host();
  if ((fragment & (net::Ipv4::kMoreFragments | net::Ipv4::kOffsetMask)) != 0) {
    place = FragmentPlace{ip.id.host(), (fragment & net::Ipv4::kOffsetMask) * 8U, total - header,
                          (fragment & net::Ipv4::kMoreFragments) != 0};
  }
  return parse_payload(p, place, total - header, port, w);
}

// Walks the extension headers (RFC 8200 section 4.1) to the transport's or to a fragment. Sets
// p.protocol and p.l4_offset.
Verdict walk_extensions(Packet& p, unsigned end, std::optional<FragmentPlace>& place) {
  using namespace net::protocol;
  std::uint8_t next = p.ipv6().next_header;
  unsigned at = sizeof(net::Ipv6);  // from the IP header
  for (unsigned n = 0;; ++n) {
    const bool extension =
        next == hop_by_hop || next == routing || next == fragment || next == destination_options;
    if (!extension) break;
    if (n == kMaxExtensionHeaders || (next == hop_by_hop && n != 0)) {
      return Verdict::drop(Reason::bad_ip_option);
    }
    const unsigned readable = std::min(end, Left(p).readable);
    if (at + 8 > readable) return Verdict::drop(Reason::truncated);
    const std::uint8_t* header = p.l3() + at;
    if (next == fragment) {
      if (place) return Verdict::drop(Reason::bad_ip_option);
      const auto& f = *reinterpret_cast<const net::Ipv6Fragment*>(header);
      const unsigned offset = f.offset_flags.host() & 0xfff8U;
      place = FragmentPlace{f.id.host(), offset, end - at - 8, (f.offset_flags.host() & 1U) != 0};
      next = f.next_header;
      at += 8;
      if (offset != 0) break;
      continue;
    }
    // RFC 5095 for type 0. With segments left the packet goes elsewhere than its address says.
    if (next == routing && (header[2] == 0 || header[3] != 0)) {
      return Verdict::drop(Reason::bad_ip_option);
    }
    next = header[0];
    at += (header[1] + 1U) * 8;
    if (at > readable) return Verdict::drop(Reason::truncated);
  }
  // RFC 6946: offset zero and no more to come is a whole datagram.
  if (place && place->offset == 0 && !place->more) place.reset();
  p.protocol = next;
  p.l4_offset = static_cast<std::uint16_t>(p.l3_offset + at);
  return Verdict::next();
}

bool is_v4_mapped_or_loopback(const Address& a) {
  return a.is_v4() || a.is_loopback();
}

// Pods' neighbour discovery ends here: answered or ignored.
std::optional<Verdict> pod_discovery(Packet& p, const tables::PortInfo& pod, bool whole) {
  if (p.protocol != net::protocol::icmpv6 || !whole || p.l4_readable() < sizeof(net::Icmp)) {
    return std::nullopt;
  }
  constexpr std::uint8_t kSolicitation = 135;
  const std::uint8_t type = *p.l4();
  if (type == kSolicitation) return answer_solicitation(p, pod);
  if (is_neighbour_discovery(type) || is_listener_discovery(type)) {
    return Verdict::drop(Reason::neighbour_ignored);
  }
  return std::nullopt;
}

Verdict check_v6_addresses(Packet& p, const tables::PortInfo* port, bool whole, Worker& w) {
  const Address source = p.source_address(), destination = p.destination_address();
  // A mapped address on the wire would pass for an IPv4 address in every table (RFC 4942 section
  // 2.2).
  if (is_v4_mapped_or_loopback(source) || is_v4_mapped_or_loopback(destination) ||
      source.is_multicast() || destination.is_unspecified()) {
    return Verdict::drop(Reason::bad_address);
  }
  if (p.source == Source::pod) {
    if (const auto done = pod_discovery(p, *port, whole)) return *done;
    const bool to_gateway = destination == kGatewayV6;
    const bool own = port->has_v6 && source == port->v6;
    if (!own && !(to_gateway && source.is_link_local())) return Verdict::drop(Reason::spoofed_ip);
    if (destination.is_link_local() && !to_gateway) return Verdict::drop(Reason::bad_address);
  } else if (p.source != Source::self) {
    // RFC 4291 section 2.5.6: not forwarded; between the host and its link they are Linux's.
    const bool to_gateway = p.source == Source::host && destination == kGatewayV6;
    if ((source.is_link_local() || destination.is_link_local()) && !to_gateway) {
      return Verdict::punt();
    }
  }
  if (source.is_unspecified() || destination.is_multicast() || source == destination) {
    return Verdict::drop(Reason::bad_address);
  }
  const bool from_outside = p.source == Source::uplink || p.source == Source::tunnel;
  if (from_outside && w.snapshot->is_own_address(source)) {
    return Verdict::drop(Reason::bad_address);
  }
  return Verdict::next();
}

Verdict parse_v6(Packet& p, const tables::PortInfo* port, Worker& w) {
  const Left left(p);
  if (left.readable < sizeof(net::Ipv6)) return Verdict::drop(Reason::truncated);
  const net::Ipv6& ip = p.ipv6();
  if (ip.version_class_flow.host() >> 28 != 6) return Verdict::drop(Reason::bad_ip_header);
  // RFC 8200 section 3: the payload length counts the extension headers.
  const unsigned total = sizeof(net::Ipv6) + ip.payload_length.host();
  if (total > left.all) return Verdict::drop(Reason::truncated);
  cut(p.mbuf, p.l3_offset + total);
  p.l3_length = static_cast<std::uint16_t>(std::min(total, kMaxDatagram));
  std::optional<FragmentPlace> place;
  if (const Verdict v = walk_extensions(p, total, place); !v.goes_on()) return v;
  if (const Verdict v = check_v6_addresses(p, port, !place, w); !v.goes_on()) return v;

  const Verdict v = parse_payload(p, place, total - (p.l4_offset - p.l3_offset), port, w);
  const bool discovery = v.goes_on() && p.protocol == net::protocol::icmpv6 && !p.later_fragment &&
                         is_neighbour_discovery(*p.l4());
  if (!discovery) return v;
  // Linux asks and answers for the node's own addresses.
  const bool linux_does = p.source == Source::uplink || p.source == Source::host;
  return linux_does ? Verdict::punt() : Verdict::drop(Reason::bad_arp);
}

}  // namespace

Verdict parse_ip(Packet& p, Worker& w) noexcept {
  const tables::PortInfo* port = w.snapshot->ports->find(p.in_port);
  return p.family == net::Family::v4 ? parse_v4(p, port, w) : parse_v6(p, port, w);
}

}  // namespace podwire::stages
