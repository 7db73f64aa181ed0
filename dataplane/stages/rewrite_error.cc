// Translation of an ICMP error: its own addresses, and those that it quotes.
//
// The flow is that of the error's direction: what the error's addresses are mapped by is the flow's
// rewrite, and what it quotes, which went the other way, is mapped by the same rewrite with source
// and destination exchanged. The sender of the quoted packet then finds in the quote what it sent.
// RFC 5508 section 4, RFC 3022 section 4.3.
#include "dataplane/stages/icmp_quote.h"
#include "dataplane/stages/rewrite.h"

namespace podwire::stages {
namespace {

using net::be16;
using net::be32;

// Puts a value in place and notes the change in a sum that covers the place.
void replace(be16& place, be16 value, net::Delta& delta) {
  delta.change(place, value);
  place = value;
}
void replace(be32& place, be32 value, net::Delta& delta) {
  delta.change(place, value);
  place = value;
}
void replace(std::array<std::uint8_t, 16>& place, const std::array<std::uint8_t, 16>& value,
             net::Delta& delta) {
  delta.change(place.data(), value.data(), value.size());
  place = value;
}

template <typename F>
using IpHeader = std::conditional_t<F::family == net::Family::v4, net::Ipv4, net::Ipv6>;

// Where the quoted transport keeps an Internet checksum; null when it has none, when it was not
// quoted, or when it covers no address and no port (SCTP's CRC).
be16* quoted_checksum(const Quote& quote) {
  unsigned at;
  switch (quote.protocol) {
    case net::protocol::tcp:
      at = offsetof(net::Tcp, checksum);
      break;
    case net::protocol::udp:
      at = offsetof(net::Udp, checksum);
      break;
    case net::protocol::icmp:
    case net::protocol::icmpv6:
      at = offsetof(net::Icmp, checksum);
      break;
    default:
      return nullptr;
  }
  return quote.l4_size >= at + 2 ? reinterpret_cast<be16*>(quote.l4 + at) : nullptr;
}

// Ports or identifier. `inner` gathers what the quoted transport's checksum covers, `outer` what
// the error's own does.
void replace_ports(const Quote& quote, be16 source, be16 destination, net::Delta& inner,
                   net::Delta& outer) {
  const auto put = [&](be16& place, be16 value) {
    inner.change(place, value);
    replace(place, value, outer);
  };
  switch (quote.protocol) {
    case net::protocol::tcp:
    case net::protocol::udp:
    case net::protocol::sctp: {
      auto& ports = *reinterpret_cast<net::Udp*>(quote.l4);
      put(ports.source_port, source);
      put(ports.destination_port, destination);
      break;
    }
    case net::protocol::icmp:
    case net::protocol::icmpv6: {
      auto& icmp = *reinterpret_cast<net::Icmp*>(quote.l4);
      const bool request = icmp.type == 8 || icmp.type == 128;
      put(icmp.id, request ? source : destination);
      break;
    }
    default:
      break;
  }
}

template <typename F>
void translate_quote(const Quote& quote, const flow::Flow<F>& flow, net::Delta& outer) {
  auto& ip = *reinterpret_cast<IpHeader<F>*>(quote.l3);
  net::Delta addresses;
  const auto before = ip;
  replace(ip.source, flow.rewrite.destination, outer);
  replace(ip.destination, flow.rewrite.source, outer);
  if constexpr (F::family == net::Family::v4) {
    addresses.change(before.source, ip.source).change(before.destination, ip.destination);
    replace(ip.checksum, net::updated_checksum(ip.checksum, addresses.folded()), outer);
  } else {
    addresses.change(before.source.data(), ip.source.data(), 16);
    addresses.change(before.destination.data(), ip.destination.data(), 16);
  }
  net::Delta inner;
  replace_ports(quote, flow.rewrite.destination_port, flow.rewrite.source_port, inner, outer);
  be16* checksum = quoted_checksum(quote);
  if (checksum == nullptr) return;
  std::uint32_t delta = inner.folded();
  if (quote.protocol != net::protocol::icmp) delta += addresses.folded();  // pseudo-header
  const be16 updated = quote.protocol == net::protocol::udp
                           ? net::updated_udp_checksum(*checksum, delta)
                           : net::updated_checksum(*checksum, delta);
  replace(*checksum, updated, outer);
}

template <typename F>
Verdict translate(Packet& p) {
  const flow::Flow<F>& flow = flow_of<F>(p);
  const auto quote = quote_of(p);
  if (!quote) return Verdict::drop(Reason::internal);  // track read it a moment ago
  net::Delta message;                                  // what the error's checksum covers
  translate_quote(*quote, flow, message);

  // A router on the way speaks for itself; the other end must appear as the sender knows it.
  auto& ip = *reinterpret_cast<IpHeader<F>*>(p.l3());
  net::Delta addresses;
  replace(ip.destination, flow.rewrite.destination, addresses);
  if (ip.source == flow.key.source) replace(ip.source, flow.rewrite.source, addresses);

  auto& icmp = *reinterpret_cast<net::Icmp*>(p.l4());
  std::uint32_t delta = message.folded();
  if constexpr (F::family == net::Family::v4) {
    ip.checksum = net::updated_checksum(ip.checksum, addresses.folded());
  } else {
    if (p.partial_checksum) {
      icmp.checksum = net::updated_sum(icmp.checksum, addresses.folded());
      return Verdict::next();
    }
    delta += addresses.folded();
  }
  if (!p.partial_checksum) icmp.checksum = net::updated_checksum(icmp.checksum, delta);
  return Verdict::next();
}

}  // namespace

Verdict Rewrite::translate_error(Packet& p) noexcept {
  return by_family(p, [&]<typename F>(F) { return translate<F>(p); });
}

}  // namespace podwire::stages
