#include "dataplane/stages/parse_l4.h"

#include <algorithm>

namespace podwire::stages {
namespace {

constexpr std::uint8_t kUrgent = 0x20;

// The combinations of SYN, FIN, RST, ACK and URG that a TCP may send (RFC 9293 section 3.5
// to 3.10); the same set as Linux's conntrack takes.
bool flags_make_sense(std::uint8_t flags) {
  using net::Tcp;
  switch (flags & (Tcp::syn | Tcp::fin | Tcp::rst | Tcp::ack | kUrgent)) {
    case Tcp::syn:
    case Tcp::syn | kUrgent:
    case Tcp::syn | Tcp::ack:
    case Tcp::rst:
    case Tcp::rst | Tcp::ack:
    case Tcp::fin | Tcp::ack:
    case Tcp::fin | Tcp::ack | kUrgent:
    case Tcp::ack:
    case Tcp::ack | kUrgent:
      return true;
    default:
      return false;
  }
}

Verdict too_short(const Packet& p) {
  return Verdict::drop(p.first_fragment ? Reason::bad_l4_header : Reason::truncated);
}

Verdict parse_tcp(Packet& p, unsigned length, unsigned readable) {
  if (readable < sizeof(net::Tcp)) return too_short(p);
  const auto& tcp = *reinterpret_cast<const net::Tcp*>(p.l4());
  const unsigned header = (tcp.data_offset >> 4) * 4U;
  // RFC 9293 section 3.1: the data offset counts the header itself.
  if (header < sizeof(net::Tcp) || header > length) return Verdict::drop(Reason::bad_l4_header);
  if (header > readable) return too_short(p);
  if (!flags_make_sense(tcp.flags)) return Verdict::drop(Reason::bad_l4_header);
  p.tcp_flags = tcp.flags;
  p.source_port = tcp.source_port;
  p.destination_port = tcp.destination_port;
  return Verdict::next();
}

Verdict parse_udp(Packet& p, unsigned length, unsigned readable) {
  if (readable < sizeof(net::Udp)) return too_short(p);
  const auto& udp = *reinterpret_cast<const net::Udp*>(p.l4());
  // RFC 768: the length includes the header, "the minimum value of the length is eight". A first
  // fragment names the whole datagram's length.
  const unsigned says = udp.length.host();
  if (says < sizeof(net::Udp)) return Verdict::drop(Reason::bad_l4_header);
  if (says > length && !p.first_fragment) return Verdict::drop(Reason::truncated);
  p.source_port = udp.source_port;
  p.destination_port = udp.destination_port;
  return Verdict::next();
}

Verdict parse_sctp(Packet& p, unsigned readable) {
  // RFC 9260 section 3: a common header and at least one chunk, whose header is four bytes.
  if (readable < sizeof(net::Sctp) + 4) return too_short(p);
  const auto& sctp = *reinterpret_cast<const net::Sctp*>(p.l4());
  p.tcp_flags = p.l4()[sizeof(net::Sctp)];
  p.source_port = sctp.source_port;
  p.destination_port = sctp.destination_port;
  return Verdict::next();
}

// An error quotes at least the IP header and 64 bits of what it is about (RFC 792); it is made to
// fit into 576 or 1,280 bytes and so never comes in fragments.
Verdict take_error(Packet& p, unsigned length, unsigned quoted_header) {
  if (p.first_fragment || length < sizeof(net::Icmp) + quoted_header + 8) {
    return Verdict::drop(Reason::bad_l4_header);
  }
  p.icmp_error = true;
  return Verdict::next();
}

Verdict parse_icmp(Packet& p, unsigned length, unsigned readable) {
  if (readable < sizeof(net::Icmp)) return too_short(p);
  const auto& icmp = *reinterpret_cast<const net::Icmp*>(p.l4());
  switch (icmp.type) {
    case 8:   // echo
    case 13:  // timestamp
    case 15:  // information
    case 17:  // address mask
      p.source_port = icmp.id;
      return Verdict::next();
    case 0:
    case 14:
    case 16:
    case 18:
      p.destination_port = icmp.id;
      return Verdict::next();
    case 3:   // destination unreachable
    case 4:   // source quench
    case 5:   // redirect
    case 11:  // time exceeded
    case 12:  // parameter problem
      return take_error(p, length, sizeof(net::Ipv4));
    default:
      return Verdict::next();
  }
}

Verdict parse_icmpv6(Packet& p, unsigned length, unsigned readable) {
  if (readable < sizeof(net::Icmp)) return too_short(p);
  const auto& icmp = *reinterpret_cast<const net::Icmp*>(p.l4());
  // RFC 4443 section 2.1: types below 128 are errors.
  if (icmp.type < 128) return take_error(p, length, sizeof(net::Ipv6));
  if (icmp.type == 128) p.source_port = icmp.id;
  if (icmp.type == 129) p.destination_port = icmp.id;
  if (is_neighbour_discovery(icmp.type)) {
    // RFC 4861 section 6.1 and 7.1: nothing that a router forwarded; RFC 6980: no fragments.
    if (p.ipv6().hop_limit != 255 || p.first_fragment) return Verdict::drop(Reason::bad_arp);
  }
  return Verdict::next();
}

}  // namespace

bool is_neighbour_discovery(std::uint8_t type) noexcept {
  return type >= 133 && type <= 137;
}

bool is_listener_discovery(std::uint8_t type) noexcept {
  return (type >= 130 && type <= 132) || type == 143;
}

Verdict parse_l4(Packet& p, unsigned length) noexcept {
  const unsigned readable = std::min(length, p.l4_readable());
  switch (p.protocol) {
    case net::protocol::tcp:
      return parse_tcp(p, length, readable);
    case net::protocol::udp:
      return parse_udp(p, length, readable);
    case net::protocol::sctp:
      return parse_sctp(p, readable);
    case net::protocol::icmp:
      return p.family == net::Family::v4 ? parse_icmp(p, length, readable)
                                         : Verdict::drop(Reason::bad_l4_header);
    case net::protocol::icmpv6:
      return p.family == net::Family::v6 ? parse_icmpv6(p, length, readable)
                                         : Verdict::drop(Reason::bad_l4_header);
    default:
      return Verdict::next();
  }
}

}  // namespace podwire::stages
