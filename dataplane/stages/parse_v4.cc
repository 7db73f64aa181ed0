#include "dataplane/net/checksum.h"
#include "dataplane/stages/parse_ip.h"

namespace podwire::stages {
namespace {

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

}  // namespace

Verdict check_v4_addresses(const Packet& p, const tables::PortInfo* port,
                           const Worker& w) noexcept {
  const net::Ipv4& ip = p.ipv4();
  if (p.source == Source::pod && (!port->has_v4 || ip.source != port->v4.v4())) {
    return Verdict::drop(Reason::spoofed_ip);
  }
  // An error of ours about a masqueraded packet is from and to this node until track sees whom it
  // is for.
  const bool to_itself = ip.source == ip.destination && p.source != Source::self;
  if (!is_host_v4(ip.source) || !is_host_v4(ip.destination) || to_itself) {
    return Verdict::drop(Reason::bad_address);
  }
  const bool from_outside = p.source == Source::uplink || p.source == Source::tunnel;
  if (from_outside && w.snapshot->is_own_address(p.source_address())) {
    return Verdict::drop(Reason::bad_address);
  }
  return Verdict::next();
}

Verdict parse_v4(Packet& p, const tables::PortInfo* port, Worker& w) noexcept {
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

}  // namespace podwire::stages
