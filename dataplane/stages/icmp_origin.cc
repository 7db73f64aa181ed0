#include "dataplane/stages/icmp_origin.h"

#include <algorithm>
#include <cstring>

#include "dataplane/net/beside_host.h"
#include "dataplane/net/checksum.h"

namespace podwire::stages {
namespace {

struct TypeCode {
  std::uint8_t v4_type, v4_code, v6_type, v6_code;
};

constexpr TypeCode type_code(IcmpError error) {
  switch (error) {
    case IcmpError::no_route:
      return {3, 0, 1, 0};
    case IcmpError::host_unreachable:
      return {3, 1, 1, 3};
    case IcmpError::port_unreachable:
      return {3, 3, 1, 4};
    case IcmpError::prohibited:
      return {3, 13, 1, 1};
    case IcmpError::ttl_exceeded:
      return {11, 0, 3, 0};
    case IcmpError::too_big:
      return {3, 4, 2, 0};
  }
  return {3, 0, 1, 0};
}

// RFC 792 asks for 64 bits of payload; RFC 1812 section 4.3.2.3 for as much as fits into 576 bytes,
// RFC 4443 section 2.4 c into 1,280.
constexpr unsigned kQuoteV4 = 576 - sizeof(net::Ipv4) - sizeof(net::Icmp);
constexpr unsigned kQuoteV6 = 1280 - sizeof(net::Ipv6) - sizeof(net::Icmp);
constexpr std::uint8_t kTtl = 64;
constexpr std::uint8_t kInternetControl = 0xc0;  // precedence, RFC 1812 section 4.3.2.5

bool is_broadcast(const net::Address& a) {
  return a.is_v4() && a.v4().raw() == 0xffffffff;
}

// May anything be told about this packet?
bool wants_error(const Packet& p) {
  if (p.icmp_error || p.later_fragment || p.originated || p.source == Source::self) return false;
  const net::Address source = p.source_address(), destination = p.destination_address();
  if (source.is_unspecified() || source.is_multicast() || source.is_loopback()) return false;
  return !is_broadcast(source) && !destination.is_multicast() && !is_broadcast(destination);
}

bool take_token(Worker& w) {
  const std::uint64_t rate = w.shared.config.icmp_errors_per_second;
  const std::uint64_t burst = w.shared.config.icmp_error_burst;
  const std::uint64_t hz = w.shared.cycles_per_second;
  const std::uint64_t now =
      w.now_cycles - w.shared.start_cycles.load(std::memory_order_relaxed) + 1;  // never 0
  auto& budget = w.icmp_budget;
  if (rate == 0 || hz == 0) return false;
  const std::uint64_t passed = now - budget.filled_cycles;
  if (budget.filled_cycles == 0 || passed >= hz) {
    budget.tokens = static_cast<std::uint32_t>(burst);
    budget.filled_cycles = now;
  } else if (const std::uint64_t earned = passed * rate / hz; earned > 0) {
    budget.tokens = static_cast<std::uint32_t>(std::min(burst, budget.tokens + earned));
    budget.filled_cycles += earned * hz / rate;
  }
  if (budget.tokens == 0) return false;
  --budget.tokens;
  return true;
}

const net::Address* own_address(const tables::Snapshot& snapshot, net::Family family) {
  const tables::RouteTable& routes = *snapshot.routes;
  if (family == net::Family::v4 && routes.has_masquerade_v4) return &routes.masquerade_v4;
  if (family == net::Family::v6 && routes.has_masquerade_v6) return &routes.masquerade_v6;
  for (const net::Address& address : snapshot.node_addresses) {
    if (address.family() == family && !address.is_link_local()) return &address;
  }
  return nullptr;
}

void fill_v4(std::uint8_t* packet, const Packet& about, const net::Address& from, TypeCode what,
             std::uint16_t mtu, unsigned total) {
  net::Ipv4 ip{};
  ip.version_ihl = 0x45;
  ip.tos = kInternetControl;
  ip.total_length = net::be16(static_cast<std::uint16_t>(total));
  ip.ttl = kTtl;
  ip.protocol = net::protocol::icmp;
  ip.source = from.v4();
  ip.destination = about.ipv4().source;
  ip.checksum = net::checksum_of(net::add_sum(0, &ip, sizeof ip));
  std::memcpy(packet, &ip, sizeof ip);

  net::Icmp icmp{};
  icmp.type = what.v4_type;
  icmp.code = what.v4_code;
  icmp.sequence = net::be16(mtu);  // RFC 1191 section 4
  const unsigned length = total - sizeof ip;
  std::memcpy(packet + sizeof ip, &icmp, sizeof icmp);
  icmp.checksum = net::checksum_of(net::add_sum(0, packet + sizeof ip, length));
  std::memcpy(packet + sizeof ip, &icmp, sizeof icmp);
}

void fill_v6(std::uint8_t* packet, const Packet& about, const net::Address& from, TypeCode what,
             std::uint16_t mtu, unsigned total) {
  net::Ipv6 ip{};
  const unsigned length = total - sizeof ip;
  ip.version_class_flow = net::be32(0x60000000);
  ip.payload_length = net::be16(static_cast<std::uint16_t>(length));
  ip.next_header = net::protocol::icmpv6;
  ip.hop_limit = kTtl;
  ip.source = from.bytes;
  ip.destination = about.ipv6().source;
  std::memcpy(packet, &ip, sizeof ip);

  net::Icmp icmp{};
  icmp.type = what.v6_type;
  icmp.code = what.v6_code;
  icmp.sequence = net::be16(mtu);  // low half of the 32-bit MTU, RFC 4443 section 3.2
  std::memcpy(packet + sizeof ip, &icmp, sizeof icmp);
  const std::uint64_t sum = net::pseudo_header_sum(ip.source.data(), ip.destination.data(), 16,
                                                   net::protocol::icmpv6, length);
  icmp.checksum = net::checksum_of(net::add_sum(sum, packet + sizeof ip, length));
  std::memcpy(packet + sizeof ip, &icmp, sizeof icmp);
}

}  // namespace

bool originate(Worker& w, const Packet& p, IcmpError error, std::uint16_t mtu) noexcept {
  if (!wants_error(p) || w.originated.full()) return false;
  const bool v4 = p.family == net::Family::v4;
  const net::Address* from = p.source != Source::host ? own_address(*w.snapshot, p.family)
                             : v4                     ? &net::kBesideHostV4
                                                      : &net::kBesideHostV6;
  if (from == nullptr || !take_token(w)) return false;

  const unsigned headers = (v4 ? sizeof(net::Ipv4) : sizeof(net::Ipv6)) + sizeof(net::Icmp);
  const unsigned quote = std::min(
      {v4 ? kQuoteV4 : kQuoteV6, unsigned{p.l3_length}, rte_pktmbuf_pkt_len(p.mbuf) - p.l3_offset});
  rte_mbuf* mbuf = rte_pktmbuf_alloc(w.shared.packet_pool);
  if (mbuf == nullptr) return false;
  auto* packet = reinterpret_cast<std::uint8_t*>(
      rte_pktmbuf_append(mbuf, static_cast<std::uint16_t>(headers + quote)));
  if (packet == nullptr) {
    rte_pktmbuf_free(mbuf);
    return false;
  }
  const void* quoted = rte_pktmbuf_read(p.mbuf, p.l3_offset, quote, packet + headers);
  if (quoted != packet + headers) std::memcpy(packet + headers, quoted, quote);
  (v4 ? fill_v4 : fill_v6)(packet, p, *from, type_code(error), mtu, headers + quote);
  if (w.originate(mbuf)) return true;
  rte_pktmbuf_free(mbuf);
  return false;
}

}  // namespace podwire::stages
