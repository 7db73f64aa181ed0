// Packet headers as they stand on the wire. Every field is a byte or big-endian; no struct has
// padding. Check the length before you cast: these types promise nothing about what follows them.
// Sources: IEEE 802.3, RFC 826, 791, 8200, 9293, 768, 9260, 792, 4443, 4861.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/net/address.h"
#include "dataplane/net/big_endian.h"

namespace podwire::net {

namespace ether_type {
inline constexpr std::uint16_t ipv4 = 0x0800, arp = 0x0806, vlan = 0x8100, ipv6 = 0x86dd;
}
namespace protocol {
inline constexpr std::uint8_t hop_by_hop = 0, icmp = 1, ipip = 4, tcp = 6, udp = 17, ipv6 = 41,
                              routing = 43, fragment = 44, gre = 47, esp = 50, ah = 51, icmpv6 = 58,
                              no_next_header = 59, destination_options = 60, sctp = 132,
                              mobility = 135;
}

struct Ethernet {
  Mac destination;
  Mac source;
  be16 type;
};
static_assert(sizeof(Ethernet) == 14);

struct Arp {
  be16 hardware_type, protocol_type;
  std::uint8_t hardware_length, protocol_length;
  be16 operation;  // 1 request, 2 reply
  Mac sender_mac;
  std::array<std::uint8_t, 4> sender_ip;
  Mac target_mac;
  std::array<std::uint8_t, 4> target_ip;
};
static_assert(sizeof(Arp) == 28);

struct Ipv4 {
  std::uint8_t version_ihl;
  std::uint8_t tos;
  be16 total_length;
  be16 id;
  be16 fragment;  // flags and offset, see below
  std::uint8_t ttl;
  std::uint8_t protocol;
  be16 checksum;
  be32 source;
  be32 destination;

  static constexpr std::uint16_t kDontFragment = 0x4000, kMoreFragments = 0x2000,
                                 kOffsetMask = 0x1fff;  // in units of 8 bytes
  [[nodiscard]] unsigned header_length() const { return (version_ihl & 0xfU) * 4; }
};
static_assert(sizeof(Ipv4) == 20);

struct Ipv6 {
  be32 version_class_flow;
  be16 payload_length;
  std::uint8_t next_header;
  std::uint8_t hop_limit;
  std::array<std::uint8_t, 16> source;
  std::array<std::uint8_t, 16> destination;
};
static_assert(sizeof(Ipv6) == 40);

struct Ipv6Fragment {
  std::uint8_t next_header;
  std::uint8_t reserved;
  be16 offset_flags;  // offset in the upper 13 bits (units of 8 bytes), M in bit 0
  be32 id;
};
static_assert(sizeof(Ipv6Fragment) == 8);

struct Tcp {
  be16 source_port, destination_port;
  be32 sequence, acknowledgement;
  std::uint8_t data_offset;  // upper four bits, in 32-bit words
  std::uint8_t flags;
  be16 window;
  be16 checksum;
  be16 urgent;

  static constexpr std::uint8_t fin = 0x01, syn = 0x02, rst = 0x04, psh = 0x08, ack = 0x10;
};
static_assert(sizeof(Tcp) == 20);

struct Udp {
  be16 source_port, destination_port, length, checksum;
};
static_assert(sizeof(Udp) == 8);

struct Sctp {
  be16 source_port, destination_port;
  be32 verification_tag;
  be32 checksum;  // CRC32c, RFC 9260 appendix A
};
static_assert(sizeof(Sctp) == 12);

struct Icmp {  // ICMP and ICMPv6 share this shape
  std::uint8_t type, code;
  be16 checksum;
  be16 id;        // echo: identifier; errors: first half of the rest
  be16 sequence;  // echo: sequence; ICMP type 3 code 4: next-hop MTU
};
static_assert(sizeof(Icmp) == 8);

}  // namespace podwire::net
