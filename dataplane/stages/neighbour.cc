#include "dataplane/stages/neighbour.h"

#include <cstring>

#include "dataplane/net/checksum.h"

namespace podwire::stages {
namespace {

using net::Address;

constexpr std::uint8_t kSolicitation = 135, kAdvertisement = 136;  // RFC 4861 section 4.3, 4.4
constexpr std::uint8_t kSourceLinkLayer = 1, kTargetLinkLayer = 2;
constexpr std::uint16_t kRouter = 0x8000, kSolicited = 0x4000;  // first half of the flags
constexpr std::uint8_t kReplyTtl = 64;

struct NeighbourMessage {  // solicitation and advertisement
  net::Icmp icmp;          // of an advertisement the flags stand in the last four bytes
  std::array<std::uint8_t, 16> target;
};
static_assert(sizeof(NeighbourMessage) == 24);
struct LinkLayerOption {
  std::uint8_t type, length;  // in units of eight bytes
  net::Mac mac;
};
static_assert(sizeof(LinkLayerOption) == 8);

net::Arp* arp_of(const Packet& p) {
  if (p.mbuf->data_len < sizeof(net::Ethernet) + sizeof(net::Arp)) return nullptr;
  auto* arp = rte_pktmbuf_mtod_offset(p.mbuf, net::Arp*, sizeof(net::Ethernet));
  // RFC 826: Ethernet and IPv4 and nothing else.
  const bool good = arp->hardware_type == net::be16(1) &&
                    arp->protocol_type == net::be16(net::ether_type::ipv4) &&
                    arp->hardware_length == 6 && arp->protocol_length == 4;
  return good ? arp : nullptr;
}

Address address_of(const std::array<std::uint8_t, 4>& bytes) {
  std::uint32_t raw;
  std::memcpy(&raw, bytes.data(), 4);
  return Address::from_v4(net::be32::from_raw(raw));
}

void turn_ethernet(Packet& p, const net::Mac& to) {
  p.ethernet().destination = to;
  p.ethernet().source = net::kGatewayMac;
}

void reply_arp(Packet& p, net::Arp& arp, const net::Mac& asker) {
  turn_ethernet(p, asker);
  arp.operation = net::be16(2);
  std::swap(arp.sender_ip, arp.target_ip);
  arp.target_mac = arp.sender_mac;
  arp.sender_mac = net::kGatewayMac;
}

// RFC 4861 section 7.1.1, beyond what an IPv6 header needs.
bool is_good_solicitation(const Packet& p, unsigned length) {
  if (length < sizeof(NeighbourMessage) || p.mbuf->nb_segs != 1) return false;
  const auto& message = *reinterpret_cast<const NeighbourMessage*>(p.l4());
  if (p.ipv6().hop_limit != 255 || message.icmp.code != 0 || message.target[0] == 0xff) {
    return false;
  }
  const std::uint64_t sum = net::pseudo_header_sum(
      p.ipv6().source.data(), p.ipv6().destination.data(), 16, net::protocol::icmpv6, length);
  if (net::fold(net::add_sum(sum, p.l4(), length)) != 0xffff) return false;
  const bool unspecified = p.source_address().is_unspecified();
  for (unsigned at = sizeof(NeighbourMessage); at < length;) {
    const std::uint8_t* option = p.l4() + at;
    if (length - at < 8 || option[1] == 0 || option[1] * 8U > length - at) return false;
    if (unspecified && option[0] == kSourceLinkLayer) return false;
    at += option[1] * 8U;
  }
  return true;
}

// The advertisement, from the gateway's address whatever the target: RFC 4861 section 7.2.8, a
// proxy does not override.
bool reply_solicitation(Packet& p, const net::Mac& asker) {
  const auto target = reinterpret_cast<const NeighbourMessage*>(p.l4())->target;
  const auto to = p.ipv6().source;
  constexpr unsigned kLength = sizeof(NeighbourMessage) + sizeof(LinkLayerOption);
  constexpr unsigned kFrame = sizeof(net::Ethernet) + sizeof(net::Ipv6) + kLength;
  const unsigned have = p.mbuf->data_len;
  if (have > kFrame) {
    rte_pktmbuf_trim(p.mbuf, static_cast<std::uint16_t>(have - kFrame));
  } else if (rte_pktmbuf_append(p.mbuf, static_cast<std::uint16_t>(kFrame - have)) == nullptr) {
    return false;
  }
  turn_ethernet(p, asker);
  net::Ipv6& ip = p.ipv6();
  ip.version_class_flow = net::be32(0x60000000);
  ip.payload_length = net::be16(kLength);
  ip.next_header = net::protocol::icmpv6;
  ip.hop_limit = 255;
  ip.source = kGatewayV6.bytes;
  ip.destination = to;
  auto* at = reinterpret_cast<std::uint8_t*>(&ip + 1);
  NeighbourMessage message{};
  message.icmp.type = kAdvertisement;
  message.icmp.id = net::be16(kRouter | kSolicited);
  message.target = target;
  const LinkLayerOption option{kTargetLinkLayer, 1, net::kGatewayMac};
  std::memcpy(at + sizeof message, &option, sizeof option);
  std::memcpy(at, &message, sizeof message);
  const std::uint64_t sum = net::pseudo_header_sum(ip.source.data(), ip.destination.data(), 16,
                                                   net::protocol::icmpv6, kLength);
  message.icmp.checksum = net::checksum_of(net::add_sum(sum, at, kLength));
  std::memcpy(at, &message, sizeof message);
  p.mbuf->ol_flags = 0;
  return true;
}

bool answer_host_solicitation(Packet& p, const net::Mac& asker) {
  constexpr unsigned kL4 = sizeof(net::Ethernet) + sizeof(net::Ipv6);
  if (p.mbuf->data_len < kL4 + sizeof(NeighbourMessage)) return false;
  p.l3_offset = sizeof(net::Ethernet);
  p.l4_offset = kL4;
  const net::Ipv6& ip = p.ipv6();
  const unsigned length = ip.payload_length.host();
  if (ip.next_header != net::protocol::icmpv6 || *p.l4() != kSolicitation ||
      length > p.l4_readable() || !is_good_solicitation(p, length)) {
    return false;
  }
  const auto& message = *reinterpret_cast<const NeighbourMessage*>(p.l4());
  if (message.target != kGatewayV6.bytes || p.source_address().is_unspecified()) return false;
  return reply_solicitation(p, asker);
}

}  // namespace

Verdict answer_arp(Packet& p, const tables::PortInfo& pod) noexcept {
  net::Arp* arp = arp_of(p);
  if (arp == nullptr) return Verdict::drop(Reason::bad_arp);
  const std::uint16_t operation = arp->operation.host();
  if (operation != 1 && operation != 2) return Verdict::drop(Reason::bad_arp);
  if (arp->sender_mac != pod.mac) return Verdict::drop(Reason::spoofed_mac);
  const Address sender = address_of(arp->sender_ip), target = address_of(arp->target_ip);
  // RFC 5227 section 1.1: a probe has no sender address; it asks whether somebody else has one.
  if (sender.is_unspecified()) return Verdict::drop(Reason::neighbour_ignored);
  if (!pod.has_v4 || sender != pod.v4) return Verdict::drop(Reason::spoofed_ip);
  const bool for_us = operation == 1 && target != pod.v4 && !target.is_unspecified() &&
                      !target.is_multicast() && !target.is_loopback() &&
                      target.v4().raw() != 0xffffffff;
  if (!for_us) return Verdict::drop(Reason::neighbour_ignored);
  reply_arp(p, *arp, pod.mac);
  p.mbuf->ol_flags = 0;
  return Verdict::answer();
}

Verdict answer_solicitation(Packet& p, const tables::PortInfo& pod) noexcept {
  const unsigned length = p.l3_length - (p.l4_offset - p.l3_offset);
  if (!is_good_solicitation(p, length)) return Verdict::drop(Reason::bad_arp);
  const Address source = p.source_address();
  const auto& message = *reinterpret_cast<const NeighbourMessage*>(p.l4());
  const Address target = Address::from_v6(message.target.data());
  // RFC 4862 section 5.4.2: duplicate address detection has no source.
  if (source.is_unspecified()) return Verdict::drop(Reason::neighbour_ignored);
  const bool own = pod.has_v6 && source == pod.v6;
  if (!own && !source.is_link_local()) return Verdict::drop(Reason::spoofed_ip);
  if (target == source || (pod.has_v6 && target == pod.v6)) {
    return Verdict::drop(Reason::neighbour_ignored);
  }
  return reply_solicitation(p, pod.mac) ? Verdict::answer() : Verdict::drop(Reason::no_memory);
}

bool answer_host(Packet& p, const tables::PortInfo& host) noexcept {
  const std::uint16_t type = p.ethernet().type.host();
  if (type == net::ether_type::ipv6) return answer_host_solicitation(p, host.mac);
  if (type != net::ether_type::arp) return false;
  net::Arp* arp = arp_of(p);
  if (arp == nullptr || arp->operation != net::be16(1) ||
      address_of(arp->target_ip) != kGatewayV4) {
    return false;
  }
  reply_arp(p, *arp, host.mac);
  p.mbuf->ol_flags = 0;
  return true;
}

Verdict answer_echo(Packet& p, const tables::PortInfo& from) noexcept {
  turn_ethernet(p, from.mac);
  auto& icmp = *reinterpret_cast<net::Icmp*>(p.l4());
  const net::be16 before(static_cast<std::uint16_t>(icmp.type << 8 | icmp.code));
  const bool v4 = p.family == net::Family::v4;
  icmp.type = v4 ? 0 : 129;
  const net::be16 after(static_cast<std::uint16_t>(icmp.type << 8 | icmp.code));
  const std::uint16_t delta = net::Delta().change(before, after).folded();
  // A sum that was left to us covers the pseudo-header only, which stays as it is.
  if (!p.partial_checksum) icmp.checksum = net::updated_checksum(icmp.checksum, delta);
  if (v4) {
    net::Ipv4& ip = p.ipv4();
    std::swap(ip.source, ip.destination);
    ip.ttl = kReplyTtl;
    ip.checksum = net::be16{};
    ip.checksum = net::checksum_of(net::add_sum(0, &ip, ip.header_length()));
  } else {
    std::swap(p.ipv6().source, p.ipv6().destination);
    p.ipv6().hop_limit = kReplyTtl;
  }
  return Verdict::answer();
}

}  // namespace podwire::stages
