#include "bench/ports/frame_reader.h"

#include <cstring>

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"

namespace podwire::ports {
namespace {

template <typename Header>
Header header_at(const std::uint8_t* at) noexcept {
  Header header;
  std::memcpy(&header, at, sizeof header);
  return header;
}

// An IP packet's parts, once its own header is found sound.
struct Packet {
  net::Address source, destination;
  std::uint8_t protocol = 0;
  const std::uint8_t* payload = nullptr;
  unsigned length = 0;  // of the payload
};

Seen read_v4(const std::uint8_t* at, unsigned length, Packet& out) noexcept {
  if (length < sizeof(net::Ipv4)) return Seen::foreign;
  const auto ip = header_at<net::Ipv4>(at);
  const unsigned header = ip.header_length();
  const unsigned total = ip.total_length.host();
  if (header < sizeof ip || total < header || total > length) return Seen::foreign;
  if (net::fold(net::add_sum(0, at, header)) != 0xffff) return Seen::wrong_checksum;
  if ((ip.fragment.host() & (net::Ipv4::kOffsetMask | net::Ipv4::kMoreFragments)) != 0) {
    return Seen::foreign;
  }
  out = {net::Address::from_v4(ip.source), net::Address::from_v4(ip.destination), ip.protocol,
         at + header, total - header};
  return Seen::test;
}

Seen read_v6(const std::uint8_t* at, unsigned length, Packet& out) noexcept {
  if (length < sizeof(net::Ipv6)) return Seen::foreign;
  const auto ip = header_at<net::Ipv6>(at);
  const unsigned payload = ip.payload_length.host();
  if (payload > length - sizeof ip) return Seen::foreign;
  out = {net::Address::from_v6(ip.source.data()), net::Address::from_v6(ip.destination.data()),
         ip.next_header, at + sizeof ip, payload};
  return Seen::test;
}

bool transport_sum_right(const Packet& packet) noexcept {
  const bool v4 = packet.source.is_v4();
  const std::size_t skip = v4 ? 12 : 0;
  const std::uint64_t sum = net::pseudo_header_sum(packet.source.bytes.data() + skip,
                                                   packet.destination.bytes.data() + skip,
                                                   16 - skip, packet.protocol, packet.length);
  return net::fold(net::add_sum(sum, packet.payload, packet.length)) == 0xffff;
}

Seen read_transport(const Packet& packet, bool verified, Received& out) noexcept {
  unsigned header = 0;
  if (packet.protocol == net::protocol::udp && packet.length >= sizeof(net::Udp)) {
    header = sizeof(net::Udp);
    const auto udp = header_at<net::Udp>(packet.payload);
    if (udp.length.host() != packet.length) return Seen::foreign;
    // A device that took the checksum off changed the packet: RFC 8200 forbids it over IPv6, and
    // over IPv4 nobody asked for it.
    if (udp.checksum.raw() == 0) return Seen::wrong_checksum;
  } else if (packet.protocol == net::protocol::tcp && packet.length >= sizeof(net::Tcp)) {
    const auto tcp = header_at<net::Tcp>(packet.payload);
    header = (tcp.data_offset >> 4U) * 4U;
    if (header < sizeof tcp || header > packet.length) return Seen::foreign;
    out.tcp_flags = tcp.flags;
  } else {
    return Seen::foreign;
  }
  if (!verified && !transport_sum_right(packet)) return Seen::wrong_checksum;
  if (packet.length < header + sizeof(Stamp)) return Seen::foreign;
  std::memcpy(&out.stamp, packet.payload + header, sizeof out.stamp);
  if (out.stamp.mark != Stamp::kMark) return Seen::foreign;
  const auto ports = header_at<net::Udp>(packet.payload);  // TCP's stand in the same place
  out.tuple = {packet.source, packet.destination, ports.source_port, ports.destination_port};
  return Seen::test;
}

}  // namespace

Received read_frame(const std::uint8_t* at, unsigned length, bool transport_verified) noexcept {
  Received out;
  if (length < sizeof(net::Ethernet)) return out;
  const std::uint16_t type = header_at<net::Ethernet>(at).type.host();
  at += sizeof(net::Ethernet);
  length -= sizeof(net::Ethernet);
  bool v4 = type == net::ether_type::ipv4;
  if (!v4 && type != net::ether_type::ipv6) return out;
  Packet packet;
  for (;;) {
    out.seen = v4 ? read_v4(at, length, packet) : read_v6(at, length, packet);
    if (out.seen != Seen::test) return out;
    const bool tunnel =
        packet.protocol == net::protocol::ipip || packet.protocol == net::protocol::ipv6;
    if (!tunnel || out.tunnelled) break;
    out.tunnelled = true;
    v4 = packet.protocol == net::protocol::ipip;
    at = packet.payload;
    length = packet.length;
  }
  out.seen = read_transport(packet, transport_verified, out);
  return out;
}

}  // namespace podwire::ports
