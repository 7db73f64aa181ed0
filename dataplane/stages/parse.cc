#include "dataplane/stages/parse.h"

#include "dataplane/stages/neighbour.h"

namespace podwire::stages {
namespace {

using tables::PortInfo;
using tables::PortRole;

constexpr std::uint16_t kVlanStacked = 0x88a8;  // IEEE 802.1ad

bool is_vlan(std::uint16_t type) {
  return type == net::ether_type::vlan || type == kVlanStacked;
}

// Sets the family from the frame's type. False for anything but IP.
bool take_family(Packet& p, std::uint16_t type) {
  p.l3_offset = sizeof(net::Ethernet);
  p.family = type == net::ether_type::ipv6 ? net::Family::v6 : net::Family::v4;
  return type == net::ether_type::ipv4 || type == net::ether_type::ipv6;
}

Verdict from_uplink(Packet& p, const PortInfo& port, std::uint16_t type, Worker& w) {
  p.source = Source::uplink;
  const net::Mac& destination = p.ethernet().destination;
  if (is_vlan(type)) return Verdict::drop(Reason::bad_ethernet);
  // Linux answers and joins groups for the node; RFC 1122 section 3.3.6: what came by broadcast is
  // not forwarded.
  if (destination.is_multicast()) return Verdict::punt();
  if (destination != port.mac) return Verdict::drop(Reason::bad_ethernet);
  if (!take_family(p, type)) return Verdict::punt();
  return parse_ip(p, w);
}

Verdict from_host(Packet& p, const PortInfo& port, std::uint16_t type, Worker& w) {
  p.source = Source::host;
  if (is_vlan(type)) return Verdict::drop(Reason::bad_ethernet);
  if (answer_host(p, port)) return Verdict::answer();
  // The Ethernet address that Linux chose says nothing else than whether one host is meant.
  if (p.ethernet().destination.is_multicast() || !take_family(p, type)) return Verdict::punt();
  return parse_ip(p, w);
}

// Of what pods send to groups only neighbour discovery is for us; parse_ip picks it out.
Verdict group_from_pod(Packet& p, Worker& w) {
  if (p.family == net::Family::v4) return Verdict::drop(Reason::bad_address);
  const bool readable = p.mbuf->data_len >= p.l3_offset + sizeof(net::Ipv6);
  if (readable && p.ipv6().destination[0] != 0xff) return Verdict::drop(Reason::bad_ethernet);
  return parse_ip(p, w);
}

Verdict from_pod(Packet& p, const PortInfo& port, std::uint16_t type, Worker& w) {
  p.source = Source::pod;
  const net::Ethernet& ethernet = p.ethernet();
  if (ethernet.source != port.mac) return Verdict::drop(Reason::spoofed_mac);
  if (type == net::ether_type::arp) return answer_arp(p, port);
  if (!take_family(p, type)) return Verdict::drop(Reason::bad_ethernet);
  if (ethernet.destination.is_multicast()) return group_from_pod(p, w);
  if (ethernet.destination != net::kGatewayMac) return Verdict::drop(Reason::bad_ethernet);
  return parse_ip(p, w);
}

// An ICMP error that podwire made: it has no Ethernet header.
Verdict from_self(Packet& p, Worker& w) {
  p.source = Source::self;
  p.originated = true;
  if (p.mbuf->data_len == 0) return Verdict::drop(Reason::truncated);
  p.l3_offset = 0;
  p.family = *p.l3() >> 4 == 6 ? net::Family::v6 : net::Family::v4;
  return parse_ip(p, w);
}

}  // namespace

Verdict Parse::decide(Packet& p, Worker& w) noexcept {
  if (p.plain) return Verdict::next();
  if (p.in_port == kNoPort) return from_self(p, w);
  const PortInfo* port = w.snapshot->ports->find(p.in_port);
  if (port == nullptr) return Verdict::drop(Reason::port_down);
  if (p.mbuf->data_len < sizeof(net::Ethernet)) return Verdict::drop(Reason::truncated);
  p.partial_checksum = (p.mbuf->ol_flags & (RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG)) != 0;
  const std::uint16_t type = p.ethernet().type.host();
  switch (port->role) {
    case PortRole::uplink:
      return from_uplink(p, *port, type, w);
    case PortRole::host:
      return from_host(p, *port, type, w);
    case PortRole::pod:
      return from_pod(p, *port, type, w);
    case PortRole::none:
      break;
  }
  return Verdict::drop(Reason::port_down);
}

}  // namespace podwire::stages
