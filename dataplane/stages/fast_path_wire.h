// Inside of the fast path: the bytes. Headers are read and written here in words as wide as they
// come, and never as an array that was just written piece by piece (a load of which waits for all
// the stores); the general stages have the same rules field by field.
#pragma once

#include <immintrin.h>

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
[[nodiscard]] inline __m128i load16(const void* from) noexcept {
  return _mm_loadu_si128(static_cast<const __m128i*>(from));
}
// A field in network byte order, as a number.
[[nodiscard]] inline unsigned load_be16(const void* from) noexcept {
  return load<net::be16>(from).host();
}
// A number as a field has it.
[[nodiscard]] constexpr std::uint32_t raw16(std::uint16_t host) noexcept {
  return net::be16(host).raw();
}

// One's complement sums (RFC 1071): of 64-bit words, and folded to 16 bits.
[[nodiscard]] inline std::uint64_t add_around(std::uint64_t a, std::uint64_t b) noexcept {
  unsigned long long sum = 0;
  const unsigned char carry = _addcarry_u64(0, a, b, &sum);
  return sum + carry;
}
[[nodiscard]] inline std::uint32_t fold64(std::uint64_t sum) noexcept {
  const std::uint64_t doubled = sum + std::rotl(sum, 32);  // upper half: both halves and the carry
  const auto half = static_cast<std::uint32_t>(doubled >> 32U);
  return (half + std::rotl(half, 16)) >> 16U;
}

inline constexpr unsigned kLeastL4 = sizeof(net::Udp);
inline constexpr unsigned kLeastFrame = sizeof(net::Ethernet) + sizeof(net::Ipv4) + kLeastL4;
inline constexpr unsigned kLeastFrameV6 = sizeof(net::Ethernet) + sizeof(net::Ipv6) + kLeastL4;
inline constexpr std::uint8_t kPlainVersionIhl = 0x45;

// The device has checked the (outer) IPv4 header's sum.
[[nodiscard]] inline bool is_verified(const rte_mbuf& mbuf) noexcept {
  return (mbuf.ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD;
}
[[nodiscard]] inline bool is_ip(const std::uint8_t* frame) noexcept {
  const unsigned type = load_be16(frame + offsetof(net::Ethernet, type));
  return type == net::ether_type::ipv4 || type == net::ether_type::ipv6;
}
// Where the outer packet of a tunnel ends, counted from the frame's begin.
[[nodiscard]] inline unsigned outer_end(const std::uint8_t* frame) noexcept {
  return unsigned{sizeof(net::Ethernet)} +
         load_be16(frame + sizeof(net::Ethernet) + offsetof(net::Ipv4, total_length));
}
[[nodiscard]] constexpr bool is_carried(std::uint8_t protocol) noexcept {
  return protocol == net::protocol::udp || protocol == net::protocol::tcp;
}
[[nodiscard]] constexpr bool leads_out(tables::NextHopKind kind) noexcept {
  using tables::NextHopKind;
  return kind == NextHopKind::pod || kind == NextHopKind::host || kind == NextHopKind::link ||
         kind == NextHopKind::tunnel;
}

// One family's header without options or extensions, at `ip`.
template <typename F>
struct Wire;

template <>
struct Wire<flow::V4> {
  static constexpr unsigned header = sizeof(net::Ipv4);

  static constexpr std::uint16_t ether_type = net::ether_type::ipv4;
  [[nodiscard]] static std::uint8_t protocol(const std::uint8_t* ip) noexcept {
    return ip[offsetof(net::Ipv4, protocol)];
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
  [[nodiscard]] static flow::V4::Key key(const std::uint8_t* ip) noexcept {
    return std::bit_cast<flow::V4::Key>(key_words(ip));
  }
  [[nodiscard]] static std::uint32_t hash(const std::uint8_t* ip,
                                          const flow::KeyHash& hasher) noexcept {
    return hasher.of_v4(key_words(ip));
  }
  [[nodiscard]] static bool is_of(const std::uint8_t* ip, const flow::V4::Key& key) noexcept {
    const __m128i difference = _mm_xor_si128(key_words(ip), load16(&key));
    return _mm_testz_si128(difference, difference) != 0;
  }
  [[nodiscard]] static bool is_checksum_good(const std::uint8_t* ip) noexcept {
    const std::uint64_t most = add_around(load<std::uint64_t>(ip), load<std::uint64_t>(ip + 8));
    return fold64(add_around(most, load<std::uint32_t>(ip + 16))) == 0xffff;
  }
  [[nodiscard]] static bool is_sound(const std::uint8_t* ip, bool to_be_verified) noexcept {
    return !to_be_verified || is_checksum_good(ip);
  }
  // Hop count, addresses, ports and both checksums: one store for the header, one for the
  // transport's sum.
  static void translate(std::uint8_t* ip, const flow::Flow<flow::V4>& flow,
                        unsigned hops_lost) noexcept;

 private:
  // The 16 bytes from the hop count to the ports, less what is no part of a key.
  [[nodiscard]] static __m128i key_words(const std::uint8_t* ip) noexcept {
    static_assert(offsetof(flow::V4::Key, protocol) == 1);
    return _mm_and_si128(load16(ip + offsetof(net::Ipv4, ttl)), _mm_setr_epi32(0xff00, -1, -1, -1));
  }
};

template <>
struct Wire<flow::V6> {
  static constexpr unsigned header = sizeof(net::Ipv6);

  static constexpr std::uint16_t ether_type = net::ether_type::ipv6;
  [[nodiscard]] static unsigned total(const std::uint8_t* ip) noexcept {
    return header + load_be16(ip + offsetof(net::Ipv6, payload_length));
  }
  [[nodiscard]] static unsigned hops(const std::uint8_t* ip) noexcept {
    return ip[offsetof(net::Ipv6, hop_limit)];
  }
  [[nodiscard]] static flow::V6::Key key(const std::uint8_t* ip) noexcept {
    const Words words(ip);
    flow::V6::Key key;
    std::memcpy(reinterpret_cast<std::uint8_t*>(&key), &words, sizeof key);
    return key;
  }
  [[nodiscard]] static std::uint32_t hash(const std::uint8_t* ip,
                                          const flow::KeyHash& hasher) noexcept {
    const Words words(ip);
    return hasher.of_v6(words.first, words.second,
                        _mm_cvtsi64_si128(static_cast<long long>(words.last)));
  }
  [[nodiscard]] static bool is_of(const std::uint8_t* ip, const flow::V6::Key& key) noexcept {
    const Words words(ip);
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&key);
    const __m128i difference = _mm_or_si128(_mm_xor_si128(words.first, load16(bytes)),
                                            _mm_xor_si128(words.second, load16(bytes + 16)));
    return _mm_testz_si128(difference, difference) != 0 &&
           words.last == load<std::uint64_t>(bytes + 32);
  }
  [[nodiscard]] static bool is_sound(const std::uint8_t*, bool) noexcept { return true; }
  static void translate(std::uint8_t* ip, const flow::Flow<flow::V6>& flow,
                        unsigned hops_lost) noexcept;

 private:
  // The 40 bytes from the payload length to the ports, less what is no part of a key.
  struct Words {
    __m128i first, second;
    std::uint64_t last;
    explicit Words(const std::uint8_t* ip)
        : first(_mm_and_si128(load16(ip + offsetof(net::Ipv6, payload_length)),
                              _mm_setr_epi32(0xff0000, -1, -1, -1))),
          second(load16(ip + offsetof(net::Ipv6, payload_length) + 16)),
          last(load<std::uint64_t>(ip + offsetof(net::Ipv6, payload_length) + 32)) {
      static_assert(offsetof(flow::V6::Key, protocol) == 2);
    }
  };
};

// The transport's sum, by increment; a UDP packet without one stays without (RFC 768).
inline void update_l4_checksum(std::uint8_t* l4, std::uint8_t protocol,
                               std::uint32_t delta) noexcept {
  const bool udp = protocol == net::protocol::udp;
  std::uint8_t* field = l4 + (udp ? offsetof(net::Udp, checksum) : offsetof(net::Tcp, checksum));
  const std::uint32_t old = load<std::uint16_t>(field);
  const std::uint32_t sum = (old ^ 0xffffU) + delta;
  std::uint32_t updated = ~(sum + (sum >> 16U)) & 0xffffU;
  if (udp) {
    if (updated == 0) updated = 0xffff;
    if (old == 0) updated = 0;
  }
  store(field, static_cast<std::uint16_t>(updated));
}

inline void Wire<flow::V4>::translate(std::uint8_t* ip, const flow::Flow<flow::V4>& flow,
                                      unsigned hops_lost) noexcept {
  const auto old = load<std::uint32_t>(ip + offsetof(net::Ipv4, ttl));  // TTL, protocol, checksum
  // RFC 1624; a hop less is ~old + new of the word (TTL, protocol), whatever its value.
  std::uint32_t sum = (~old >> 16U) + flow.l3_delta + (hops_lost != 0 ? 0xfffeU : 0);
  sum = (sum & 0xffffU) + (sum >> 16U);
  sum += sum >> 16U;
  const std::uint32_t first = ((old & 0xffffU) - hops_lost) | ~sum << 16U;
  update_l4_checksum(ip + header, flow.key.protocol, flow.l4_delta);
  // The rewrite's twelve bytes behind the word that differs for each packet.
  static_assert(offsetof(flow::Flow<flow::V4>, rewrite) == sizeof(flow::V4::Key));
  const auto* rewrite = reinterpret_cast<const std::uint8_t*>(&flow.rewrite) - sizeof first;
  const __m128i words = _mm_insert_epi32(load16(rewrite), static_cast<int>(first), 0);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(ip + offsetof(net::Ipv4, ttl)), words);
}

inline void Wire<flow::V6>::translate(std::uint8_t* ip, const flow::Flow<flow::V6>& flow,
                                      unsigned hops_lost) noexcept {
  ip[offsetof(net::Ipv6, hop_limit)] = static_cast<std::uint8_t>(hops(ip) - hops_lost);
  update_l4_checksum(ip + header, flow.key.protocol, flow.l4_delta);
  std::memcpy(ip + offsetof(net::Ipv6, source), &flow.rewrite, sizeof flow.rewrite);
}

// An IP packet in its frame, one segment.
struct InFrame {
  std::uint8_t* ip;
  unsigned total, header;  // bytes of the IP packet, and of its header
  std::uint8_t protocol;

  // Whole, and not too large for the next hop. `room` is what the frame has for it; what is behind
  // the packet will be cut off.
  [[nodiscard]] bool fits(unsigned room, unsigned mtu) const noexcept {
    return total >= header + kLeastL4 && total <= std::min(room, mtu);
  }

  // What the transport header, if whole, says about the connection: that it goes on, that its state
  // may move, or what is not for here: a bare SYN may open it anew.
  enum class L4 : std::uint8_t { steady, moving, other };
  [[nodiscard]] L4 l4() const noexcept {
    const std::uint8_t* at = ip + header;
    const unsigned length = total - header;
    if (protocol == net::protocol::udp) {
      const unsigned says = load_be16(at + offsetof(net::Udp, length));
      return says >= sizeof(net::Udp) && says <= length ? L4::steady : L4::other;
    }
    if (length < sizeof(net::Tcp)) return L4::other;
    const unsigned size = (at[offsetof(net::Tcp, data_offset)] >> 4U) * 4U;
    if (size < sizeof(net::Tcp) || size > length) return L4::other;
    using net::Tcp;
    constexpr unsigned kUrgent = 0x20;
    const unsigned flags = tcp_flags() & (Tcp::syn | Tcp::fin | Tcp::rst | Tcp::ack | kUrgent);
    if (flags == Tcp::ack) return L4::steady;
    return flags == (Tcp::fin | Tcp::ack) || flags == (Tcp::syn | Tcp::ack) ? L4::moving
                                                                            : L4::other;
  }
  // Only of what l4() has found whole; 0 for UDP.
  [[nodiscard]] std::uint8_t tcp_flags() const noexcept {
    return protocol == net::protocol::tcp ? ip[header + offsetof(net::Tcp, flags)]
                                          : std::uint8_t{0};
  }

  // As encap's outer header.
  void push_outer(const tables::NextHop& hop, std::uint16_t id) const noexcept {
    constexpr std::uint32_t kTtlAndProtocol = 64U | std::uint32_t{net::protocol::ipip} << 8U;
    const auto inner = load<std::uint64_t>(ip);
    const auto bytes = static_cast<std::uint16_t>(total + sizeof(net::Ipv4));
    const std::uint64_t words =  // version to fragment: type of service and "don't fragment" copied
        kPlainVersionIhl | (inner & 0xff00U) | raw16(bytes) << 16U |
        std::uint64_t{raw16(id)} << 32U |
        (inner & std::uint64_t{raw16(net::Ipv4::kDontFragment)} << 48U);
    static_assert(offsetof(tables::NextHop, tunnel_destination) ==
                  offsetof(tables::NextHop, tunnel_source) + sizeof(net::be32));
    const auto addresses = load<std::uint64_t>(&hop.tunnel_source);
    const std::uint64_t sum = add_around(add_around(words, addresses), kTtlAndProtocol);
    std::uint8_t* outer = ip - sizeof(net::Ipv4);
    store(outer, words);
    store(outer + 8, kTtlAndProtocol | ~fold64(sum) << 16U);
    store(outer + 12, addresses);
  }

  // The Ethernet header, `headers` bytes in front of the packet.
  void put_in_frame(const tables::NextHop& hop, std::uint16_t type,
                    unsigned headers) const noexcept {
    static_assert(offsetof(tables::NextHop, source_mac) ==
                  offsetof(tables::NextHop, destination_mac) + sizeof(net::Mac));
    const auto* macs =
        reinterpret_cast<const std::uint8_t*>(&hop) + offsetof(tables::NextHop, destination_mac);
    std::uint8_t* frame = ip - headers;
    store(frame, load<std::uint64_t>(macs));
    store(frame + 8, load<std::uint32_t>(macs + 8));
    store(frame + 12, static_cast<std::uint16_t>(raw16(type)));
  }
};

}  // namespace podwire::stages
