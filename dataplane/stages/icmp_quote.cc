#include "dataplane/stages/icmp_quote.h"

namespace podwire::stages {
namespace {

constexpr unsigned kLeast = 8;  // RFC 792: the internet header plus 64 bits of the datagram

// Sets l4 and protocol of an IPv4 quote.
bool read_ipv4(Quote& quote, unsigned size) {
  if (size < sizeof(net::Ipv4)) return false;
  const auto& ip = *reinterpret_cast<const net::Ipv4*>(quote.l3);
  const unsigned header = ip.header_length();
  if (ip.version_ihl >> 4U != 4 || header < sizeof(net::Ipv4) || size < header + kLeast)
    return false;
  if ((ip.fragment.host() & net::Ipv4::kOffsetMask) != 0) return false;
  quote.protocol = ip.protocol;
  quote.l4 = quote.l3 + header;
  quote.l4_size = size - header;
  return true;
}

bool is_extension(std::uint8_t next_header) {
  using namespace net::protocol;
  return next_header == hop_by_hop || next_header == routing || next_header == fragment ||
         next_header == destination_options;
}

// The same for IPv6, over its extension headers (RFC 8200 section 4).
bool read_ipv6(Quote& quote, unsigned size) {
  if (size < sizeof(net::Ipv6) || *quote.l3 >> 4U != 6) return false;
  quote.protocol = reinterpret_cast<const net::Ipv6*>(quote.l3)->next_header;
  unsigned at = sizeof(net::Ipv6);
  while (is_extension(quote.protocol)) {
    if (size < at + 8) return false;
    const std::uint8_t* header = quote.l3 + at;
    if (quote.protocol == net::protocol::fragment) {
      const auto& fragment = *reinterpret_cast<const net::Ipv6Fragment*>(header);
      if (fragment.offset_flags.host() >> 3U != 0) return false;
      at += sizeof(net::Ipv6Fragment);
    } else {
      at += (header[1] + 1U) * 8;
    }
    quote.protocol = header[0];
  }
  if (size < at + kLeast) return false;
  quote.l4 = quote.l3 + at;
  quote.l4_size = size - at;
  return true;
}

// The identifier of an echo takes the place of the requester's port.
bool read_echo(Quote& quote, std::uint8_t request, std::uint8_t reply) {
  const auto& icmp = *reinterpret_cast<const net::Icmp*>(quote.l4);
  if (icmp.type == request) {
    quote.source_port = icmp.id;
  } else if (icmp.type == reply) {
    quote.destination_port = icmp.id;
  } else {
    return false;
  }
  return true;
}

}  // namespace

std::optional<Quote> quote_of(const Packet& error) noexcept {
  const unsigned start = error.l4_offset + sizeof(net::Icmp);
  const unsigned end =
      std::min<unsigned>(error.mbuf->data_len, error.l3_offset + unsigned{error.l3_length});
  if (start >= end) return std::nullopt;
  Quote quote;
  quote.l3 = error.l4() + sizeof(net::Icmp);
  const bool v4 = error.family == net::Family::v4;
  if (!(v4 ? read_ipv4(quote, end - start) : read_ipv6(quote, end - start))) return std::nullopt;
  switch (quote.protocol) {
    case net::protocol::tcp:
    case net::protocol::udp:
    case net::protocol::sctp: {
      const auto& ports = *reinterpret_cast<const net::Udp*>(quote.l4);
      quote.source_port = ports.source_port;
      quote.destination_port = ports.destination_port;
      return quote;
    }
    case net::protocol::icmp:
      if (!v4 || !read_echo(quote, 8, 0)) return std::nullopt;
      return quote;
    case net::protocol::icmpv6:
      if (v4 || !read_echo(quote, 128, 129)) return std::nullopt;
      return quote;
    default:
      return quote;
  }
}

template <typename F>
typename F::Key Quote::key() const noexcept {
  typename F::Key key;
  key.protocol = protocol;
  using Header = std::conditional_t<F::family == net::Family::v4, net::Ipv4, net::Ipv6>;
  const auto& ip = *reinterpret_cast<const Header*>(l3);
  key.source = ip.source;
  key.destination = ip.destination;
  key.source_port = source_port;
  key.destination_port = destination_port;
  return key;
}
template flow::V4::Key Quote::key<flow::V4>() const noexcept;
template flow::V6::Key Quote::key<flow::V6>() const noexcept;

}  // namespace podwire::stages
