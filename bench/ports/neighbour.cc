#include "bench/ports/neighbour.h"

#include <cstring>

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"

namespace podwire::ports {
namespace {

using net::be16;
using net::be32;

// RFC 4861 sections 4.3 and 4.4: solicitation and advertisement share this shape.
struct Message {
  std::uint8_t type, code;
  be16 checksum;
  be32 flags;
  std::array<std::uint8_t, 16> target;
};
struct AddressOption {
  std::uint8_t type, length;  // in units of 8 bytes
  net::Mac address;
};
struct Advertisement {
  Message message;
  AddressOption option;
};
static_assert(sizeof(Message) == 24 && sizeof(Advertisement) == 32);
constexpr std::uint8_t kSolicitation = 135, kAdvertisement = 136, kTargetAddress = 2;
constexpr std::uint32_t kSolicited = 1U << 30U, kOverride = 1U << 29U;

unsigned answer_arp(std::uint8_t* frame, unsigned length, net::Mac own) noexcept {
  net::Arp arp;
  if (length < sizeof(net::Ethernet) + sizeof arp) return 0;
  std::memcpy(&arp, frame + sizeof(net::Ethernet), sizeof arp);
  constexpr std::array<std::uint8_t, 4> kUnspecified{};
  if (arp.operation.host() != 1 || arp.sender_ip == arp.target_ip ||
      arp.sender_ip == kUnspecified) {
    return 0;
  }
  arp.operation = be16(2);
  std::swap(arp.sender_ip, arp.target_ip);
  arp.target_mac = arp.sender_mac;
  arp.sender_mac = own;
  const net::Ethernet ethernet{arp.target_mac, own, be16(net::ether_type::arp)};
  std::memcpy(frame, &ethernet, sizeof ethernet);
  std::memcpy(frame + sizeof ethernet, &arp, sizeof arp);
  return length;
}

unsigned answer_solicitation(std::uint8_t* frame, unsigned length, unsigned room,
                             net::Mac own) noexcept {
  constexpr unsigned kIp = sizeof(net::Ethernet), kBody = kIp + sizeof(net::Ipv6);
  net::Ethernet ethernet;
  net::Ipv6 ip;
  Message asked;
  if (length < kBody + sizeof asked || room < kBody + sizeof(Advertisement)) return 0;
  std::memcpy(&ethernet, frame, sizeof ethernet);
  std::memcpy(&ip, frame + kIp, sizeof ip);
  std::memcpy(&asked, frame + kBody, sizeof asked);
  if (ip.next_header != net::protocol::icmpv6 || asked.type != kSolicitation ||
      net::Address::from_v6(ip.source.data()).is_unspecified()) {
    return 0;
  }
  Advertisement body{{kAdvertisement, 0, be16(), be32(kSolicited | kOverride), asked.target},
                     {kTargetAddress, 1, own}};
  ethernet = {ethernet.source, own, ethernet.type};
  ip.destination = ip.source;
  ip.source = asked.target;
  ip.payload_length = be16(sizeof body);
  ip.hop_limit = 255;
  const std::uint64_t pseudo = net::pseudo_header_sum(ip.source.data(), ip.destination.data(), 16,
                                                      net::protocol::icmpv6, sizeof body);
  body.message.checksum = net::checksum_of(net::add_sum(pseudo, &body, sizeof body));
  std::memcpy(frame, &ethernet, sizeof ethernet);
  std::memcpy(frame + kIp, &ip, sizeof ip);
  std::memcpy(frame + kBody, &body, sizeof body);
  return kBody + sizeof body;
}

}  // namespace

unsigned answer_neighbour(std::uint8_t* frame, unsigned length, unsigned room,
                          net::Mac own) noexcept {
  if (length < sizeof(net::Ethernet)) return 0;
  be16 type;
  std::memcpy(&type, frame + offsetof(net::Ethernet, type), sizeof type);
  if (type.host() == net::ether_type::arp) return answer_arp(frame, length, own);
  if (type.host() == net::ether_type::ipv6) return answer_solicitation(frame, length, room, own);
  return 0;
}

}  // namespace podwire::ports
