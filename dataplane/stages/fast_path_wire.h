// Inside of the fast path: the bytes. Headers are read and written here in words as wide as they
// come; the general stages have the same rules field by field.
#pragma once

#include <emmintrin.h>
#include <smmintrin.h>

#include <bit>
#include <cstddef>
#include <cstring>

#include "dataplane/flow/flows.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "dataplane/worker.h"

namespace podwire::stages {

template <typename T>
[[nodiscard]] inline T load(const void* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <typename T>
inline void store(void* to, T value) noexcept {
  std::memcpy(to, &value, sizeof value);
}
// A field in network byte order, as a number.
[[nodiscard]] inline unsigned load_be16(const void* from) noexcept {
  return load<net::be16>(from).host();
}
[[nodiscard]] constexpr std::uint32_t raw16(std::uint16_t host) noexcept {
  return net::be16(host).raw();
}

inline constexpr unsigned kLeastL4 = sizeof(net::Udp);
inline constexpr unsigned kLeastFrame = sizeof(net::Ethernet) + sizeof(net::Ipv4) + kLeastL4;
inline constexpr unsigned kLeastFrameV6 = sizeof(net::Ethernet) + sizeof(net::Ipv6) + kLeastL4;

// The device has checked the (outer) IPv4 header's sum.
[[nodiscard]] inline bool is_verified(const rte_mbuf& mbuf) noexcept {
  return (mbuf.ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD;
}
// By a frame's type; `start` is the four bytes from there.
[[nodiscard]] inline bool is_ip(std::uint32_t start) noexcept {
  const std::uint32_t type = start & 0xffffU;
  return type == raw16(net::ether_type::ipv4) || type == raw16(net::ether_type::ipv6);
}
[[nodiscard]] inline bool leads_out(tables::NextHopKind kind) noexcept {
  using tables::NextHopKind;
  return kind == NextHopKind::pod || kind == NextHopKind::host || kind == NextHopKind::link ||
         kind == NextHopKind::tunnel;
}

// What parse asks of a frame's port, ready to be asked of many frames.
struct Ingress {
  PortId port = kNoPort;
  bool uplink = false;
  bool forwards = false;                   // a packet from here loses a hop
  std::array<std::uint64_t, 2> way{0, 0};  // what Way::from says: plain, and from a tunnel

  Ingress() = default;
  Ingress(PortId port, const tables::Snapshot& snapshot) noexcept : port(port) {
    const tables::PortInfo* info = snapshot.ports->find(port);
    if (info == nullptr) return;
    uplink = info->role == tables::PortRole::uplink;
    forwards = info->role != tables::PortRole::host;
    way = {flow::Way::from(snapshot.route_generation, port, false),
           flow::Way::from(snapshot.route_generation, port, true)};
    const bool pod = info->role == tables::PortRole::pod;
    net::Mac every{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}, group{{1, 0, 0, 0, 0, 0}};
    const net::Ethernet expected{.destination = pod      ? net::kGatewayMac
                                                : uplink ? info->mac
                                                         : net::Mac{},
                                 .source = pod ? info->mac : net::Mac{},
                                 .type = {}};
    const net::Ethernet mask{.destination = pod || uplink ? every : group,
                             .source = pod ? every : net::Mac{},
                             .type = {}};
    std::memcpy(&expected_, &expected, sizeof expected);
    std::memcpy(&mask_, &mask, sizeof mask);
  }
  // False for an unknown port, too.
  [[nodiscard]] bool takes(const std::uint8_t* frame) const noexcept {
    const __m128i start = _mm_loadu_si128(reinterpret_cast<const __m128i*>(frame));
    return way[0] != 0 && _mm_testz_si128(mask_, _mm_xor_si128(start, expected_)) != 0;
  }

 private:
  __m128i expected_ = _mm_setzero_si128(), mask_ = _mm_setzero_si128();
};

// One family's header without options or extensions, at `ip`.
template <typename F>
struct Wire;

template <>
struct Wire<flow::V4> {
  static constexpr unsigned header = sizeof(net::Ipv4);

  // From the frame's type and the header's first two bytes.
  [[nodiscard]] static bool is_plain(std::uint32_t start) noexcept {
    return (start & 0xffffffU) == (raw16(net::ether_type::ipv4) | 0x45U << 16U);
  }
  [[nodiscard]] static bool is_fragment(const std::uint8_t* ip) noexcept {
    const auto field = load<std::uint16_t>(ip + offsetof(net::Ipv4, fragment));
    return (field & raw16(net::Ipv4::kMoreFragments | net::Ipv4::kOffsetMask)) != 0;
  }
  [[nodiscard]] static unsigned total(const std::uint8_t* ip) noexcept {
    return load_be16(ip + offsetof(net::Ipv4, total_length));
  }
  [[nodiscard]] static unsigned hops(const std::uint8_t* ip) noexcept {
    return ip[offsetof(net::Ipv4, ttl)];
  }
  // The 16 bytes from the hop count to the ports, less what is no part of a key.
  [[nodiscard]] static flow::V4::Key key(const std::uint8_t* ip) noexcept {
    const auto* at = reinterpret_cast<const __m128i*>(ip + offsetof(net::Ipv4, ttl));
    const __m128i bytes = _mm_and_si128(_mm_loadu_si128(at), _mm_setr_epi32(0xff00, -1, -1, -1));
    static_assert(offsetof(flow::V4::Key, protocol) == 1);
    return std::bit_cast<flow::V4::Key>(bytes);
  }
  [[nodiscard]] static bool is_checksum_good(const std::uint8_t* ip) noexcept {
    std::uint64_t sum = load<std::uint32_t>(ip);
    for (unsigned at = 4; at < header; at += 4) sum += load<std::uint32_t>(ip + at);
    return net::fold(sum) == 0xffff;
  }
  [[nodiscard]] static bool is_sound(const std::uint8_t* ip, bool to_be_verified) noexcept {
    return !to_be_verified || is_checksum_good(ip);
  }

  // Hop count, addresses, ports and both checksums: one store for the header, one for the
  // transport's sum.
  static void translate(std::uint8_t* ip, const flow::Flow<flow::V4>& flow,
                        unsigned hops_lost) noexcept;
};

template <>
struct Wire<flow::V6> {
  static constexpr unsigned header = sizeof(net::Ipv6);

  [[nodiscard]] static bool is_plain(std::uint32_t start) noexcept {
    return (start & 0xf0ffffU) == (raw16(net::ether_type::ipv6) | 0x60U << 16U);
  }
  [[nodiscard]] static unsigned total(const std::uint8_t* ip) noexcept {
    return header + load_be16(ip + offsetof(net::Ipv6, payload_length));
  }
  [[nodiscard]] static unsigned hops(const std::uint8_t* ip) noexcept {
    return ip[offsetof(net::Ipv6, hop_limit)];
  }
  [[nodiscard]] static flow::V6::Key key(const std::uint8_t* ip) noexcept {
    flow::V6::Key key;
    std::memcpy(&key, ip + offsetof(net::Ipv6, payload_length), sizeof key);
    key.zone = {};
    key.zero = 0;
    return key;
  }
  [[nodiscard]] static bool is_sound(const std::uint8_t*, bool) noexcept { return true; }
  static void translate(std::uint8_t* ip, const flow::Flow<flow::V6>& flow,
                        unsigned hops_lost) noexcept;
};

// The transport's sum, by increment; a UDP packet without one stays without (RFC 768).
inline void update_l4_checksum(std::uint8_t* l4, std::uint8_t protocol,
                               std::uint16_t delta) noexcept {
  const bool udp = protocol == net::protocol::udp;
  std::uint8_t* field = l4 + (udp ? offsetof(net::Udp, checksum) : offsetof(net::Tcp, checksum));
  const auto old = load<std::uint16_t>(field);
  std::uint32_t sum = static_cast<std::uint16_t>(~old) + std::uint32_t{delta};
  sum = (sum & 0xffffU) + (sum >> 16U);
  auto updated = static_cast<std::uint16_t>(~sum);
  if (udp && updated == 0) updated = 0xffff;
  store(field, udp && old == 0 ? old : updated);
}

inline void Wire<flow::V4>::translate(std::uint8_t* ip, const flow::Flow<flow::V4>& flow,
                                      unsigned hops_lost) noexcept {
  // RFC 1624; a hop less is ~old + new of the word (TTL, protocol), whatever its value.
  std::uint32_t sum =
      static_cast<std::uint16_t>(~load<std::uint16_t>(ip + offsetof(net::Ipv4, checksum)));
  sum += flow.l3_delta + 0xfffeU * hops_lost;
  sum = (sum & 0xffffU) + (sum >> 16U);
  sum = (sum & 0xffffU) + (sum >> 16U);
  const std::uint32_t first =
      (hops(ip) - hops_lost) | std::uint32_t{flow.key.protocol} << 8U | (~sum & 0xffffU) << 16U;
  update_l4_checksum(ip + header, flow.key.protocol, flow.l4_delta);
  // The rewrite's twelve bytes behind the word that differs for each packet.
  static_assert(offsetof(flow::Flow<flow::V4>, rewrite) == sizeof(flow::V4::Key));
  const auto* rewrite = reinterpret_cast<const std::uint8_t*>(&flow.rewrite) - sizeof first;
  const __m128i words = _mm_insert_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(rewrite)),
                                         static_cast<int>(first), 0);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(ip + offsetof(net::Ipv4, ttl)), words);
}

inline void Wire<flow::V6>::translate(std::uint8_t* ip, const flow::Flow<flow::V6>& flow,
                                      unsigned hops_lost) noexcept {
  ip[offsetof(net::Ipv6, hop_limit)] = static_cast<std::uint8_t>(hops(ip) - hops_lost);
  update_l4_checksum(ip + header, flow.key.protocol, flow.l4_delta);
  std::memcpy(ip + offsetof(net::Ipv6, source), &flow.rewrite, sizeof flow.rewrite);
}

// An IP packet in its frame.
struct InFrame {
  rte_mbuf* mbuf;
  std::uint8_t* ip;
  unsigned l3_offset, total;  // from the frame's begin; of the IP packet

  // Whole, not too large for the next hop, with room for the headers it will have. `end` is where
  // the frame, or the tunnel's outer packet, ends. Bytes behind the packet are cut off a single
  // segment only.
  [[nodiscard]] bool fits(unsigned header, unsigned end, unsigned mtu,
                          unsigned headers) const noexcept {
    return total >= header + kLeastL4 && l3_offset + total <= end && total <= mtu &&
           mbuf->data_off + l3_offset >= headers &&
           (mbuf->nb_segs == 1 || mbuf->pkt_len == l3_offset + total);
  }

  // A whole UDP header; a TCP header in the middle of a connection.
  [[nodiscard]] bool is_plain_l4(unsigned header, std::uint8_t protocol) const noexcept {
    const std::uint8_t* l4 = ip + header;
    const unsigned length = total - header;
    if (protocol == net::protocol::udp) {
      const unsigned says = load_be16(l4 + offsetof(net::Udp, length));
      return says >= sizeof(net::Udp) && says <= length;
    }
    constexpr unsigned kUrgent = 0x20;
    constexpr unsigned kOdd = net::Tcp::syn | net::Tcp::fin | net::Tcp::rst | kUrgent;
    if (length < sizeof(net::Tcp) ||
        mbuf->data_len < l3_offset + header + unsigned{sizeof(net::Tcp)}) {
      return false;
    }
    const unsigned size = (l4[offsetof(net::Tcp, data_offset)] >> 4U) * 4U;
    const unsigned flags = l4[offsetof(net::Tcp, flags)];
    return size >= sizeof(net::Tcp) && size <= length &&
           l3_offset + header + size <= mbuf->data_len &&
           (flags & (kOdd | net::Tcp::ack)) == net::Tcp::ack;
  }

  // The frame as it leaves: `headers` bytes in front of the packet, nothing behind it.
  void put_in_frame(const tables::NextHop& hop, net::Family family, unsigned headers,
                    Worker& w) noexcept;

 private:
  void push_outer(const tables::NextHop& hop, std::uint16_t id) noexcept;
};

// As encap's outer header.
inline void InFrame::push_outer(const tables::NextHop& hop, std::uint16_t id) noexcept {
  constexpr std::uint32_t kTtlAndProtocol = 64U | std::uint32_t{net::protocol::ipip} << 8U;
  const auto bytes = static_cast<std::uint16_t>(total + sizeof(net::Ipv4));
  const std::uint32_t flags =
      load<std::uint16_t>(ip + offsetof(net::Ipv4, fragment)) & raw16(net::Ipv4::kDontFragment);
  const std::uint32_t words[5] = {
      0x45U | std::uint32_t{ip[offsetof(net::Ipv4, tos)]} << 8U | raw16(bytes) << 16U,
      raw16(id) | flags << 16U, kTtlAndProtocol, hop.tunnel_source.raw(),
      hop.tunnel_destination.raw()};
  std::uint64_t sum = 0;
  for (const std::uint32_t word : words) sum += word;
  std::uint8_t* outer = ip - sizeof(net::Ipv4);
  store(outer, std::uint64_t{words[0]} | std::uint64_t{words[1]} << 32U);
  store(outer + 8, words[2] | std::uint32_t{net::checksum_of(sum).raw()} << 16U);
  store(outer + 12, std::uint64_t{words[3]} | std::uint64_t{words[4]} << 32U);
}

inline void InFrame::put_in_frame(const tables::NextHop& hop, net::Family family, unsigned headers,
                                  Worker& w) noexcept {
  const bool v4 = family == net::Family::v4;
  if (hop.kind == tables::NextHopKind::tunnel) {
    push_outer(hop, w.next_tunnel_id++);
    w.counters.tunnel_out.add();
  }
  auto& ethernet = *reinterpret_cast<net::Ethernet*>(ip - headers);
  ethernet = {hop.destination_mac, hop.source_mac,
              net::be16(v4 ? net::ether_type::ipv4 : net::ether_type::ipv6)};
  const int moved = static_cast<int>(l3_offset) - static_cast<int>(headers);
  const unsigned end = mbuf->nb_segs == 1 ? l3_offset + total : mbuf->pkt_len;
  const unsigned cut = mbuf->pkt_len - end;
  mbuf->data_off = static_cast<std::uint16_t>(mbuf->data_off + moved);
  mbuf->data_len = static_cast<std::uint16_t>(static_cast<int>(mbuf->data_len - cut) - moved);
  mbuf->pkt_len = static_cast<std::uint32_t>(static_cast<int>(end) - moved);
}

}  // namespace podwire::stages
