#include "tests/lib/frame.h"

#include <cstdio>
#include <cstdlib>

namespace podwire::test {
net::Address address(std::string_view text) {
  const auto parsed = net::Address::parse(text);
  if (!parsed) {
    std::fprintf(stderr, "test: \"%.*s\" is no address\n", static_cast<int>(text.size()),
                 text.data());
    std::abort();
  }
  return *parsed;
}

namespace {

void put8(Bytes& out, unsigned value) {
  out.push_back(static_cast<std::uint8_t>(value));
}
void put16(Bytes& out, unsigned value) {
  put8(out, value >> 8U);
  put8(out, value);
}
void put32(Bytes& out, std::uint32_t value) {
  put16(out, value >> 16U);
  put16(out, value);
}
void put(Bytes& out, const Bytes& bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}
void put_address(Bytes& out, const net::Address& a) {
  out.insert(out.end(), a.bytes.begin() + (a.is_v4() ? 12 : 0), a.bytes.end());
}

std::uint16_t pseudo_sum(const net::Address& source, const net::Address& destination,
                         std::uint8_t protocol, std::size_t length) {
  Bytes header;
  put_address(header, source);
  put_address(header, destination);
  if (source.is_v4()) {
    put16(header, protocol);
    put16(header, static_cast<unsigned>(length));
  } else {
    put32(header, static_cast<std::uint32_t>(length));
    put32(header, protocol);
  }
  return slow_sum(header.data(), header.size());
}

// Where the transport's Internet checksum stands.
std::optional<std::size_t> checksum_place(std::uint8_t protocol) {
  switch (protocol) {
    case 6:
      return 16;
    case 17:
      return 6;
    case 1:
    case 58:
      return 2;
    default:
      return std::nullopt;
  }
}

Bytes transport_header(const Frame& f) {
  Bytes out;
  switch (f.protocol) {
    case 6:
      put16(out, f.source_port);
      put16(out, f.destination_port);
      put32(out, f.sequence);
      put32(out, f.acknowledgement);
      put8(out, 0x50);
      put8(out, f.tcp_flags);
      put16(out, 64240);
      put32(out, 0);
      break;
    case 17:
      put16(out, f.source_port);
      put16(out, f.destination_port);
      put16(out, static_cast<unsigned>(8 + f.payload.size()));
      put16(out, 0);
      break;
    case 132:
      put16(out, f.source_port);
      put16(out, f.destination_port);
      put32(out, 0x01020304);
      put32(out, 0);
      break;
    case 1:
    case 58:
      put8(out, f.icmp_type);
      put8(out, f.icmp_code);
      put16(out, 0);
      put32(out, f.icmp_rest);
      break;
    default:
      break;
  }
  return out;
}

Bytes ipv4_header(const net::Address& source, const net::Address& destination, const Frame& f,
                  std::uint8_t protocol, std::size_t payload) {
  Bytes out;
  put8(out, static_cast<unsigned>(0x45 + f.ip_options.size() / 4));
  put8(out, f.tos);
  put16(out, static_cast<unsigned>(20 + f.ip_options.size() + payload));
  put16(out, f.id);
  put16(out, (f.dont_fragment ? 0x4000U : 0U) | (f.more_fragments ? 0x2000U : 0U) |
                 f.offset.value_or(0) / 8U);
  put8(out, f.ttl);
  put8(out, protocol);
  put16(out, 0);
  put_address(out, source);
  put_address(out, destination);
  put(out, f.ip_options);
  set16(out, 10, static_cast<std::uint16_t>(~slow_sum(out.data(), out.size())));
  return out;
}

Bytes ipv6_header(const Frame& f, std::size_t payload) {
  Bytes out;
  const bool fragment = f.offset.has_value() || f.more_fragments;
  put32(out, 0x60000000U | static_cast<std::uint32_t>(f.tos) << 20U);
  put16(out, static_cast<unsigned>(payload + (fragment ? 8 : 0)));
  put8(out, fragment ? 44U : f.protocol);
  put8(out, f.ttl);
  put_address(out, f.source);
  put_address(out, f.destination);
  if (fragment) {
    put8(out, f.protocol);
    put8(out, 0);
    put16(out, f.offset.value_or(0) | (f.more_fragments ? 1U : 0U));
    put32(out, f.id);
  }
  return out;
}

Frame base(std::string_view source, std::uint16_t source_port, std::string_view destination,
           std::uint16_t destination_port, std::uint8_t protocol) {
  Frame f;
  f.source = address(source);
  f.destination = address(destination);
  f.source_port = source_port;
  f.destination_port = destination_port;
  f.protocol = protocol;
  return f;
}

// One IP packet at `at`; the rest of the frame is all its own.
std::string ip_faults(const Bytes& frame, std::size_t at, bool partial) {
  const std::size_t size = frame.size() - at;
  const std::uint8_t* ip = frame.data() + at;
  if (size < 20) return "no room for an IP header";
  net::Address source, destination;
  std::size_t header;
  std::uint8_t protocol;
  bool fragment;
  if (ip[0] >> 4U == 4) {
    header = (ip[0] & 0xfU) * 4U;
    if (header < 20 || header > size) return "IPv4 header length";
    if (static_cast<std::size_t>(ip[2] << 8U | ip[3]) != size) return "IPv4 total length";
    if (slow_sum(ip, header) != 0xffff) return "IPv4 header checksum";
    protocol = ip[9];
    fragment = ((ip[6] & 0x3fU) | ip[7]) != 0;
    std::uint32_t raw;
    std::memcpy(&raw, ip + 12, 4);
    source = net::Address::from_v4(net::be32::from_raw(raw));
    std::memcpy(&raw, ip + 16, 4);
    destination = net::Address::from_v4(net::be32::from_raw(raw));
  } else if (ip[0] >> 4U == 6) {
    if (size < 40) return "no room for an IPv6 header";
    if (static_cast<std::size_t>(ip[4] << 8U | ip[5]) + 40 != size) return "IPv6 payload length";
    header = 40;
    protocol = ip[6];
    fragment = protocol == 44;
    source = net::Address::from_v6(ip + 8);
    destination = net::Address::from_v6(ip + 24);
  } else {
    return "IP version";
  }
  if (fragment) return "";
  if (protocol == 4) return ip_faults(frame, at + header, partial);
  const std::uint8_t* l4 = ip + header;
  const std::size_t l4_size = size - header;
  if (protocol == 132) {
    if (l4_size < 12) return "no room for an SCTP header";
    if (partial) return "";
    Bytes copy(l4, l4 + l4_size);
    copy[8] = copy[9] = copy[10] = copy[11] = 0;
    const std::uint32_t crc = slow_crc32c(copy.data(), copy.size());
    std::uint32_t field;
    std::memcpy(&field, l4 + 8, 4);
    return field == crc ? "" : "SCTP checksum";
  }
  const auto place = checksum_place(protocol);
  if (!place) return "";
  if (l4_size < *place + 2) return "no room for a transport header";
  if (protocol == 17) {
    if (static_cast<std::size_t>(l4[4] << 8U | l4[5]) != l4_size) return "UDP length";
    if (l4[6] == 0 && l4[7] == 0) return source.is_v4() ? "" : "UDP over IPv6 without checksum";
  }
  const std::uint16_t pseudo =
      protocol == 1 ? std::uint16_t{0} : pseudo_sum(source, destination, protocol, l4_size);
  if (partial) {
    return (l4[*place] << 8U | l4[*place + 1]) == pseudo ? "" : "partial transport checksum";
  }
  return slow_sum(l4, l4_size, pseudo) == 0xffff ? "" : "transport checksum";
}

}  // namespace

std::uint16_t slow_sum(const std::uint8_t* bytes, std::size_t size, std::uint32_t start) {
  std::uint32_t sum = start;
  for (std::size_t i = 0; i < size; i += 2) {
    sum += static_cast<std::uint32_t>(bytes[i] << 8U) + (i + 1 < size ? bytes[i + 1] : 0U);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return static_cast<std::uint16_t>(sum);
}

std::uint32_t slow_crc32c(const std::uint8_t* bytes, std::size_t size) {
  std::uint32_t crc = 0xffffffff;
  for (std::size_t i = 0; i < size; ++i) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? 0x82f63b78U : 0U);
  }
  return ~crc;
}

Frame Frame::with_ttl(std::uint8_t value) const {
  Frame f = *this;
  f.ttl = value;
  return f;
}
Frame Frame::from(std::string_view text) const {
  Frame f = *this;
  f.source = address(text);
  return f;
}
Frame Frame::from(std::string_view text, std::uint16_t port) const {
  Frame f = from(text);
  f.source_port = port;
  return f;
}
Frame Frame::to(std::string_view text) const {
  Frame f = *this;
  f.destination = address(text);
  return f;
}
Frame Frame::to(std::string_view text, std::uint16_t port) const {
  Frame f = to(text);
  f.destination_port = port;
  return f;
}
Frame Frame::through(std::string_view source_node, std::string_view destination_node) const {
  Frame f = *this;
  f.tunnel = Tunnel{address(source_node), address(destination_node)};
  return f;
}
Frame Frame::with_macs(net::Mac from_mac, net::Mac to_mac) const {
  Frame f = *this;
  f.source_mac = from_mac;
  f.destination_mac = to_mac;
  return f;
}
Frame Frame::with_payload(std::size_t size) const {
  Frame f = *this;
  f.payload.resize(size);
  for (std::size_t i = 0; i < size; ++i) f.payload[i] = static_cast<std::uint8_t>(i);
  return f;
}
Frame Frame::with_id(std::uint16_t value) const {
  Frame f = *this;
  f.id = value;
  return f;
}
Frame Frame::with_dont_fragment() const {
  Frame f = *this;
  f.dont_fragment = true;
  return f;
}
Frame Frame::with_partial_checksum() const {
  Frame f = *this;
  f.partial = true;
  return f;
}
Frame Frame::without_udp_checksum() const {
  Frame f = *this;
  f.no_udp_checksum = true;
  return f;
}

Frame udp(std::string_view source, std::uint16_t source_port, std::string_view destination,
          std::uint16_t destination_port) {
  return base(source, source_port, destination, destination_port, 17).with_payload(22);
}
Frame tcp(std::string_view source, std::uint16_t source_port, std::string_view destination,
          std::uint16_t destination_port, std::string_view flags) {
  Frame f = base(source, source_port, destination, destination_port, 6);
  for (const char flag : flags) {
    static constexpr std::string_view kFlags = "FSRPA";
    const auto bit = kFlags.find(flag);
    if (bit == std::string_view::npos) std::abort();
    f.tcp_flags = static_cast<std::uint8_t>(f.tcp_flags | 1U << bit);
  }
  return f;
}
Frame sctp(std::string_view source, std::uint16_t source_port, std::string_view destination,
           std::uint16_t destination_port, std::uint8_t chunk) {
  Frame f = base(source, source_port, destination, destination_port, 132);
  f.payload = {chunk, 0, 0, 20, 1, 2, 3, 4, 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1};
  return f;
}
Frame ping(std::string_view source, std::string_view destination, std::uint16_t id) {
  Frame f = base(source, 0, destination, 0, 1).with_payload(16);
  f.protocol = f.v4() ? 1 : 58;
  f.icmp_type = f.v4() ? 8 : 128;
  f.icmp_rest = std::uint32_t{id} << 16U | 1;
  return f;
}
Frame pong(std::string_view source, std::string_view destination, std::uint16_t id) {
  Frame f = ping(source, destination, id);
  f.icmp_type = f.v4() ? 0 : 129;
  return f;
}
Frame icmp_error(std::string_view source, std::string_view destination, std::uint8_t type,
                 std::uint8_t code, const Frame& quoted, std::size_t most, std::uint32_t rest) {
  Frame f = base(source, 0, destination, 0, 1);
  f.protocol = f.v4() ? 1 : 58;
  f.icmp_type = type;
  f.icmp_code = code;
  f.icmp_rest = rest;
  f.payload = ip_bytes(quoted);
  if (f.payload.size() > most) f.payload.resize(most);
  return f;
}

Bytes transport_bytes(const Frame& f) {
  if (f.raw) return *f.raw;
  Bytes out = transport_header(f);
  put(out, f.payload);
  if (f.protocol == 132) {
    const std::uint32_t crc = f.partial ? 0 : slow_crc32c(out.data(), out.size());
    std::memcpy(out.data() + 8, &crc, 4);
    return out;
  }
  const auto place = checksum_place(f.protocol);
  if (!place || (f.protocol == 17 && f.no_udp_checksum)) return out;
  const std::uint16_t pseudo = f.protocol == 1
                                   ? std::uint16_t{0}
                                   : pseudo_sum(f.source, f.destination, f.protocol, out.size());
  std::uint16_t field = pseudo;
  if (!f.partial) {
    field = static_cast<std::uint16_t>(~slow_sum(out.data(), out.size(), pseudo));
    if (field == 0 && f.protocol == 17) field = 0xffff;
  }
  set16(out, *place, field);
  return out;
}

Bytes ip_bytes(const Frame& f) {
  const Bytes transport = transport_bytes(f);
  Bytes out = f.v4() ? ipv4_header(f.source, f.destination, f, f.protocol, transport.size())
                     : ipv6_header(f, transport.size());
  put(out, transport);
  if (!f.tunnel) return out;
  Frame outer;
  outer.ttl = f.tunnel->ttl;
  outer.tos = f.tos;
  outer.id = f.tunnel->id;
  outer.dont_fragment = f.tunnel->dont_fragment;
  Bytes wrapped = ipv4_header(f.tunnel->source, f.tunnel->destination, outer, 4, out.size());
  put(wrapped, out);
  return wrapped;
}

Bytes frame_bytes(const Frame& f) {
  Bytes out;
  out.insert(out.end(), f.destination_mac.bytes.begin(), f.destination_mac.bytes.end());
  out.insert(out.end(), f.source_mac.bytes.begin(), f.source_mac.bytes.end());
  put16(out, f.tunnel || f.v4() ? 0x0800 : 0x86dd);
  put(out, ip_bytes(f));
  return out;
}

std::vector<Frame> fragments(const Frame& frame, std::size_t mtu) {
  const Bytes whole = transport_bytes(frame);
  const std::size_t header = frame.v4() ? 20 + frame.ip_options.size() : 48;
  const std::size_t most = (mtu - header) / 8 * 8;
  std::vector<Frame> out;
  for (std::size_t at = 0; at < whole.size(); at += most) {
    const std::size_t end = std::min(at + most, whole.size());
    Frame f = frame;
    f.raw = Bytes(whole.begin() + static_cast<std::ptrdiff_t>(at),
                  whole.begin() + static_cast<std::ptrdiff_t>(end));
    f.offset = static_cast<std::uint16_t>(at);
    f.more_fragments = end < whole.size();
    out.push_back(std::move(f));
  }
  return out;
}

std::string faults(const Bytes& frame, bool partial) {
  if (frame.size() < 14) return "no room for an Ethernet header";
  const unsigned type = frame[12] << 8U | frame[13];
  if (type != 0x0800 && type != 0x86dd) return "";
  if ((type == 0x0800) != (frame[14] >> 4U == 4)) return "Ethernet type and IP version differ";
  return ip_faults(frame, 14, partial);
}

std::string hex(const Bytes& bytes) {
  std::string out;
  char text[4];
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i != 0) out += i % 16 == 0 ? '\n' : ' ';
    std::snprintf(text, sizeof(text), "%02x", bytes[i]);
    out += text;
  }
  return out;
}

}  // namespace podwire::test
