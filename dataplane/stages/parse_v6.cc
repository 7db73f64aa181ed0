#include <algorithm>

#include "dataplane/stages/neighbour.h"
#include "dataplane/stages/parse_ip.h"
#include "dataplane/stages/parse_l4.h"

namespace podwire::stages {
namespace {

using net::Address;

constexpr unsigned kMaxExtensionHeaders = 8;
constexpr unsigned kMaxLength = 65535;  // of Packet::l3_length

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
  // See check_v4_addresses() about ourselves.
  const bool to_itself = source == destination && p.source != Source::self;
  if (source.is_unspecified() || destination.is_multicast() || to_itself) {
    return Verdict::drop(Reason::bad_address);
  }
  const bool from_outside = p.source == Source::uplink || p.source == Source::tunnel;
  if (from_outside && w.snapshot->is_own_address(source)) {
    return Verdict::drop(Reason::bad_address);
  }
  return Verdict::next();
}

}  // namespace

Verdict parse_v6(Packet& p, const tables::PortInfo* port, Worker& w) noexcept {
  const Left left(p);
  if (left.readable < sizeof(net::Ipv6)) return Verdict::drop(Reason::truncated);
  const net::Ipv6& ip = p.ipv6();
  if (ip.version_class_flow.host() >> 28 != 6) return Verdict::drop(Reason::bad_ip_header);
  // RFC 8200 section 3: the payload length counts the extension headers.
  const unsigned total = sizeof(net::Ipv6) + ip.payload_length.host();
  if (total > left.all) return Verdict::drop(Reason::truncated);
  cut(p.mbuf, p.l3_offset + total);
  p.l3_length = static_cast<std::uint16_t>(std::min(total, kMaxLength));
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

}  // namespace podwire::stages
