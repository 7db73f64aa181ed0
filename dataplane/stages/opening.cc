#include "dataplane/stages/opening.h"

#include "dataplane/stages/fast_path_wire.h"
#include "dataplane/stages/lookup.h"
#include "dataplane/stages/parse_ip.h"
#include "dataplane/stages/route.h"

namespace podwire::stages {
namespace {

using Ip = Wire<flow::V4>;
constexpr unsigned kL3 = sizeof(net::Ethernet);

InFrame<flow::V4> packet_in(const rte_mbuf& mbuf) {
  auto* ip = rte_pktmbuf_mtod(&mbuf, std::uint8_t*) + kL3;
  return {ip, Ip::total(ip)};
}

// A packet that is all there, with a whole UDP header, or a whole TCP header with SYN alone.
bool may_open(const InFrame<flow::V4>& packet, const rte_mbuf& mbuf) {
  if (packet.total > mbuf.pkt_len - kL3) return false;
  const std::uint8_t protocol = Ip::protocol(packet.ip);
  if (protocol == net::protocol::udp) return packet.is_whole_datagram();
  using net::Tcp;
  if (packet.total < Ip::header + sizeof(Tcp)) return false;
  constexpr unsigned kUrgent = 0x20;
  constexpr unsigned kOthers = Tcp::fin | Tcp::rst | Tcp::ack | kUrgent;
  const unsigned size = (packet.ip[Ip::header + offsetof(Tcp, data_offset)] >> 4U) * 4U;
  return size >= sizeof(Tcp) && Ip::header + size <= packet.total &&
         (packet.tcp_flags() & (Tcp::syn | kOthers)) == Tcp::syn;
}

Source source_of(tables::PortRole role) {
  switch (role) {
    case tables::PortRole::pod:
      return Source::pod;
    case tables::PortRole::host:
      return Source::host;
    default:
      return Source::uplink;
  }
}

}  // namespace

bool Opening::is_refused(const rte_mbuf& mbuf, Worker& w) noexcept {
  if (!w.shared.flows->v4.full()) [[likely]]
    return false;
  return may_open(packet_in(mbuf), mbuf) && !may_enter<flow::V4>(w);
}

bool Opening::take(Packet& p, std::uint32_t hash, Worker& w) noexcept {
  const tables::PortInfo* port = w.snapshot->ports->find(p.in_port);
  const InFrame<flow::V4> packet = packet_in(*p.mbuf);
  if (port == nullptr || !may_open(packet, *p.mbuf)) return false;
  p.l3_offset = kL3;
  p.l4_offset = kL3 + Ip::header;
  p.l3_length = static_cast<std::uint16_t>(packet.total);
  p.protocol = Ip::protocol(packet.ip);
  p.source = source_of(port->role);
  if (p.protocol == net::protocol::tcp) p.tcp_flags = packet.tcp_flags();
  const auto& ports = *reinterpret_cast<const net::Udp*>(p.l4());  // the same place in TCP
  p.source_port = ports.source_port;
  p.destination_port = ports.destination_port;
  if (!check_v4_addresses(p, port, w).goes_on() || !check_use(p, port, w).goes_on()) {
    Packet untouched;
    untouched.mbuf = p.mbuf;
    untouched.in_port = p.in_port;
    p = untouched;
    return false;
  }
  p.mbuf->data_len = static_cast<std::uint16_t>(kL3 + packet.total);
  p.mbuf->pkt_len = kL3 + packet.total;
  p.hash = hash;
  p.plain = true;
  make_fresh(p, w);
  return true;
}

const tables::NextHop* learn_way(const FirstOfWay& first, flow::Flow<flow::V4>& flow,
                                 Worker& w) noexcept {
  const tables::PortInfo* port = w.snapshot->ports->find(first.in_port);
  if (port == nullptr || !w.snapshot->synced) return nullptr;
  Packet p;
  p.mbuf = first.mbuf;
  p.in_port = first.in_port;
  p.l3_offset = static_cast<std::uint16_t>(first.ip - rte_pktmbuf_mtod(first.mbuf, std::uint8_t*));
  p.l4_offset = static_cast<std::uint16_t>(p.l3_offset + Ip::header);
  p.protocol = flow.key.protocol;
  p.source = first.in_tunnel ? Source::tunnel : source_of(port->role);
  p.source_port = flow.key.source_port;
  p.destination_port = flow.key.destination_port;
  p.hash = first.hash;
  p.flow = &flow;
  p.reply = flow.is_reply;
  if (!check_v4_addresses(p, port, w).goes_on() || !check_use(p, port, w).goes_on()) {
    return nullptr;
  }
  return first_hop(p, w);
}

Verdict Start::decide(Packet& p, Worker& w) noexcept {
  if (!p.plain) return Verdict::next();
  const auto& flow = flow_of<flow::V4>(p);
  const tables::NextHop* hop = first_hop(p, w);
  if (hop == nullptr || !leads_out(hop->kind)) return Verdict::next();
  const InFrame<flow::V4> packet = packet_in(*p.mbuf);
  const bool loses_hop = p.source != Source::host && hop->kind != tables::NextHopKind::host;
  if (packet.total > hop->mtu || Ip::hops(packet.ip) <= unsigned{loses_hop}) {
    return Verdict::next();
  }
  const bool to_tunnel = hop->kind == tables::NextHopKind::tunnel;
  if (to_tunnel && p.mbuf->data_off < sizeof(net::Ipv4)) return Verdict::next();
  if (p.protocol == net::protocol::udp) {
    packet.update_udp_checksum(flow.l4_delta);
  } else {
    packet.update_tcp_checksum(flow.l4_delta);
  }
  Ip::translate(packet.ip, flow, loses_hop ? 1 : 0);
  if (to_tunnel) {
    packet.put_in_frame<true>(*hop, w.next_tunnel_id++);
    (void)rte_pktmbuf_prepend(p.mbuf, sizeof(net::Ipv4));
    w.counters.tunnel_out.add();
  } else {
    packet.put_in_frame<false>(*hop, 0);
  }
  w.send(p.mbuf, hop->port);
  return Verdict::taken();
}

}  // namespace podwire::stages
