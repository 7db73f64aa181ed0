#include "bench/ports/frame_maker.h"

#include <cstddef>
#include <cstring>

#include "dataplane/net/checksum.h"

namespace podwire::ports {

using net::be16;
using net::be32;

FrameMaker::FrameMaker(const FrameShape& shape, net::Mac source, net::Mac destination)
    : shape_(shape),
      ethernet_{
          destination, source,
          be16(shape.family == net::Family::v4 ? net::ether_type::ipv4 : net::ether_type::ipv6)} {}

void FrameMaker::make_v4(std::uint8_t* at, unsigned length, const FlowTuple& tuple) const noexcept {
  net::Ipv4 ip{};
  ip.version_ihl = 0x45;
  ip.total_length = be16(static_cast<std::uint16_t>(length - sizeof(net::Ethernet)));
  ip.fragment = be16(net::Ipv4::kDontFragment);
  ip.ttl = 64;
  ip.protocol = shape_.protocol;
  ip.source = tuple.source.v4();
  ip.destination = tuple.destination.v4();
  ip.checksum = net::checksum_of(net::add_sum(0, &ip, sizeof ip));
  std::memcpy(at + sizeof(net::Ethernet), &ip, sizeof ip);
}

void FrameMaker::make_v6(std::uint8_t* at, unsigned length, const FlowTuple& tuple) const noexcept {
  net::Ipv6 ip{};
  ip.version_class_flow = be32(6U << 28U);
  ip.payload_length =
      be16(static_cast<std::uint16_t>(length - sizeof(net::Ethernet) - sizeof(net::Ipv6)));
  ip.next_header = shape_.protocol;
  ip.hop_limit = 64;
  ip.source = tuple.source.bytes;
  ip.destination = tuple.destination.bytes;
  std::memcpy(at + sizeof(net::Ethernet), &ip, sizeof ip);
}

void FrameMaker::make(std::uint8_t* at, unsigned length, const FlowTuple& tuple, const Stamp& stamp,
                      const Segment& segment) const noexcept {
  std::memcpy(at, &ethernet_, sizeof ethernet_);
  const bool v4 = shape_.family == net::Family::v4;
  v4 ? make_v4(at, length, tuple) : make_v6(at, length, tuple);

  const unsigned transport_length = length - shape_.transport_at();
  const std::size_t skip = v4 ? 12 : 0;  // an IPv4 address is the last four bytes
  std::uint64_t sum = net::pseudo_header_sum(tuple.source.bytes.data() + skip,
                                             tuple.destination.bytes.data() + skip, 16 - skip,
                                             shape_.protocol, transport_length);
  sum = net::add_sum(sum, &stamp, sizeof stamp);
  sum += padding_sum(length - shape_.stamp_at() - static_cast<unsigned>(sizeof stamp));
  std::uint8_t* transport = at + shape_.transport_at();
  if (shape_.protocol == net::protocol::udp) {
    net::Udp udp{tuple.source_port, tuple.destination_port,
                 be16(static_cast<std::uint16_t>(transport_length)), be16()};
    udp.checksum = net::checksum_of(net::add_sum(sum, &udp, sizeof udp));
    if (udp.checksum.raw() == 0) udp.checksum = be16(0xffff);  // RFC 768: zero says "none"
    std::memcpy(transport, &udp, sizeof udp);
  } else {
    net::Tcp tcp{};
    tcp.source_port = tuple.source_port;
    tcp.destination_port = tuple.destination_port;
    tcp.sequence = be32(segment.sequence);
    tcp.acknowledgement = be32(segment.acknowledgement);
    tcp.data_offset = sizeof tcp / 4 << 4U;
    tcp.flags = segment.flags;
    tcp.window = be16(0xffff);
    tcp.checksum = net::checksum_of(net::add_sum(sum, &tcp, sizeof tcp));
    std::memcpy(transport, &tcp, sizeof tcp);
  }
  std::memcpy(at + shape_.stamp_at(), &stamp, sizeof stamp);
}

}  // namespace podwire::ports
