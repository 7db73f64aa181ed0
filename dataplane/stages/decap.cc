#include "dataplane/stages/decap.h"

#include "dataplane/net/checksum.h"
#include "dataplane/stages/parse.h"

namespace podwire::stages {
namespace {

constexpr std::uint8_t kEcnMask = 3, kNotEct = 0, kEct1 = 1, kEct0 = 2, kCe = 3;

// RFC 6040 section 4.2, figure 4: what the path marked on the outer header reaches the inner one.
// False when the packet must be dropped: congestion was met by a packet that cannot carry the news.
bool combine_ecn(net::Ipv4& inner, std::uint8_t outer_tos) {
  const std::uint8_t outer = outer_tos & kEcnMask, was = inner.tos & kEcnMask;
  if (was == kNotEct) return outer != kCe;
  const bool raise = outer == kCe || (outer == kEct1 && was == kEct0);
  if (!raise || was == kCe) return true;
  const auto word = [&] {
    return net::be16(static_cast<std::uint16_t>(inner.version_ihl << 8 | inner.tos));
  };
  const net::be16 before = word();
  inner.tos = static_cast<std::uint8_t>((inner.tos & ~kEcnMask) | outer);
  inner.checksum =
      net::updated_checksum(inner.checksum, net::Delta().change(before, word()).folded());
  return true;
}

}  // namespace

Verdict Decap::decide(Packet& p, Worker& w) noexcept {
  const bool ipip = p.protocol == net::protocol::ipip;
  if ((!ipip && p.protocol != net::protocol::ipv6) || p.source != Source::uplink) {
    return Verdict::next();
  }
  if (!w.snapshot->is_own_address(p.destination_address())) {
    return Verdict::drop(Reason::bad_address);
  }
  // IPv6 travels between nodes without a tunnel; an IPv4 packet in IPv6 is nobody's either.
  if (!ipip || p.family != net::Family::v4) return Verdict::drop(Reason::tunnel_bad_inner);
  const net::Ipv4& outer = p.ipv4();
  if (!w.snapshot->routes->is_tunnel_peer(outer.source)) {
    return Verdict::drop(Reason::tunnel_unknown_peer);
  }
  const std::uint8_t outer_tos = outer.tos;
  p.l3_offset = p.l4_offset;
  if (p.l4_readable() < sizeof(net::Ipv4)) return Verdict::drop(Reason::truncated);
  net::Ipv4& inner = p.ipv4();
  const bool nested =
      inner.protocol == net::protocol::ipip || inner.protocol == net::protocol::ipv6;
  if (inner.version_ihl >> 4 != 4 || nested || !combine_ecn(inner, outer_tos)) {
    return Verdict::drop(Reason::tunnel_bad_inner);
  }
  p.source = Source::tunnel;
  const Verdict v = parse_ip(p, w);
  if (v.kind() != Verdict::Kind::drop) w.counters.tunnel_in.add();
  return v;
}

}  // namespace podwire::stages
