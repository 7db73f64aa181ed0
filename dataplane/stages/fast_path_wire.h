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
inline void store16(void* to, __m128i value) noexcept {
  _mm_storeu_si128(static_cast<__m128i*>(to), value);
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
  const std::uint64_t sum = a + b;
  return sum + (sum < a ? 1 : 0);
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
    return add_around(most, load<std::uint32_t>(ip + 16)) % 0xffff == 0;
  }
  // Hop count, its checksum, addresses and ports, in one store. `hop_less` is 0 or 1.
  static void translate(std::uint8_t* ip, const flow::Flow<flow::V4>& flow,
                        unsigned hop_less) noexcept;

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
  static void translate(std::uint8_t* ip, const flow::Flow<flow::V6>& flow,
                        unsigned hop_less) noexcept;

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

// RFC 1624 by one's complement subtraction: ~(~checksum + delta) is checksum - delta, less the
// borrow. Both are below 2^16; so are the result's lower 16 bits.
[[nodiscard]] constexpr std::uint32_t updated(std::uint32_t checksum,
                                              std::uint32_t delta) noexcept {
  return checksum - delta - (checksum < delta ? 1U : 0U);
}
// The same for UDP, where 0xffff stands for the zero (RFC 768).
[[nodiscard]] constexpr std::uint32_t updated_udp(std::uint32_t checksum,
                                                  std::uint32_t delta) noexcept {
  return checksum - delta - (checksum <= delta ? 1U : 0U);
}

inline void Wire<flow::V4>::translate(std::uint8_t* ip, const flow::Flow<flow::V4>& flow,
                                      unsigned hop_less) noexcept {
  const auto old = load<std::uint32_t>(ip + offsetof(net::Ipv4, ttl));  // TTL, protocol, checksum
  // A hop less is one less in the word (TTL, protocol): the checksum's delta is less by one, too.
  const std::uint32_t delta = flow.l3_delta - hop_less - (flow.l3_delta < 2 * hop_less ? 1U : 0U);
  // updated() in the upper half; what stands below it is no more in the way than a fraction is.
  const std::uint32_t high = delta << 16U;
  const std::uint32_t borrow = old < high ? 0xffff0000U : 0U;
  const std::uint32_t first = old - hop_less - high + borrow;
  // The rewrite's twelve bytes behind the word that differs for each packet.
  static_assert(offsetof(flow::Flow<flow::V4>, rewrite) == sizeof(flow::V4::Key));
  const auto* rewrite = reinterpret_cast<const std::uint8_t*>(&flow.rewrite) - sizeof first;
  const __m128i words = _mm_insert_epi32(load16(rewrite), static_cast<int>(first), 0);
  store16(ip + offsetof(net::Ipv4, ttl), words);
}

inline void Wire<flow::V6>::translate(std::uint8_t* ip, const flow::Flow<flow::V6>& flow,
                                      unsigned hop_less) noexcept {
  ip[offsetof(net::Ipv6, hop_limit)] = static_cast<std::uint8_t>(hops(ip) - hop_less);
  std::memcpy(ip + offsetof(net::Ipv6, source), &flow.rewrite, sizeof flow.rewrite);
}

// What a TCP header says about its connection: that it goes on, that its state may move, or what is
// not for here: a bare SYN may open it anew.
enum class Segment : std::uint8_t { steady, moving, other };

// An IP packet in its frame, one segment; as long as its total says.
template <typename F>
struct InFrame {
  std::uint8_t* ip;
  unsigned total;  // bytes of the IP packet

  // A datagram that does not fill its packet is odd enough for the stages.
  [[nodiscard]] bool is_whole_datagram() const noexcept {
    const auto length = static_cast<std::uint16_t>(total - Wire<F>::header);
    const auto says = load<std::uint16_t>(l4() + offsetof(net::Udp, length));
    return total >= Wire<F>::header + sizeof(net::Udp) && says == raw16(length);
  }
  [[nodiscard]] Segment segment() const noexcept {
    using net::Tcp;
    if (total < Wire<F>::header + sizeof(Tcp)) return Segment::other;
    const unsigned size = (l4()[offsetof(Tcp, data_offset)] >> 4U) * 4U;
    if (size < sizeof(Tcp) || Wire<F>::header + size > total) return Segment::other;
    constexpr unsigned kUrgent = 0x20;
    const unsigned flags = tcp_flags() & (Tcp::syn | Tcp::fin | Tcp::rst | Tcp::ack | kUrgent);
    if (flags == Tcp::ack) [[likely]]
      return Segment::steady;
    return flags == (Tcp::fin | Tcp::ack) || flags == (Tcp::syn | Tcp::ack) ? Segment::moving
                                                                            : Segment::other;
  }
  [[nodiscard]] std::uint8_t tcp_flags() const noexcept { return l4()[offsetof(net::Tcp, flags)]; }

  // A UDP packet without a checksum stays without one.
  void update_udp_checksum(std::uint32_t delta) const noexcept {
    std::uint8_t* field = l4() + offsetof(net::Udp, checksum);
    const std::uint32_t old = load<std::uint16_t>(field);
    if (old != 0) [[likely]]
      store(field, static_cast<std::uint16_t>(updated_udp(old, delta)));
  }
  void update_tcp_checksum(std::uint32_t delta) const noexcept {
    std::uint8_t* field = l4() + offsetof(net::Tcp, checksum);
    store(field, static_cast<std::uint16_t>(updated(load<std::uint16_t>(field), delta)));
  }

  // Ethernet and the tunnel's header, in front of the packet.
  template <bool kToTunnel>
  void put_in_frame(const tables::NextHop& hop, std::uint16_t tunnel_id) const noexcept {
    static_assert(offsetof(tables::NextHop, tos) ==
                  offsetof(tables::NextHop, destination_mac) + 15);
    const __m128i start = load16(&hop.destination_mac);
    const auto first = load<std::uint64_t>(ip);
    if constexpr (kToTunnel) {
      std::uint8_t* outer = ip - sizeof(net::Ipv4);
      store16(outer - sizeof(net::Ethernet), start);
      push_outer(outer, first, hop, tunnel_id);
      return;
    }
    store16(ip - sizeof(net::Ethernet), start);
    store(ip, first);
    if constexpr (F::family == net::Family::v6) {
      store(ip - 2, static_cast<std::uint16_t>(raw16(net::ether_type::ipv6)));
    }
  }

 private:
  [[nodiscard]] std::uint8_t* l4() const noexcept { return ip + Wire<F>::header; }

  // As encap's. `first` are the packet's first eight bytes, of which it has the first two and
  // "don't fragment".
  void push_outer(std::uint8_t* outer, std::uint64_t first, const tables::NextHop& hop,
                  std::uint16_t id) const noexcept {
    constexpr std::uint32_t kTtlAndProtocol = 64U | std::uint32_t{net::protocol::ipip} << 8U;
    constexpr std::uint64_t kCopied = 0xffffU | std::uint64_t{raw16(net::Ipv4::kDontFragment)}
                                                    << 48U;
    const auto bytes = static_cast<std::uint16_t>(total + sizeof(net::Ipv4));
    const std::uint64_t words =
        (first & kCopied) | raw16(bytes) << 16U | std::uint64_t{raw16(id)} << 32U;
    static_assert(offsetof(tables::NextHop, tunnel_destination) ==
                  offsetof(tables::NextHop, tunnel_source) + sizeof(net::be32));
    const auto addresses = load<std::uint64_t>(&hop.tunnel_source);
    const std::uint64_t sum = add_around(words + kTtlAndProtocol, addresses);
    store(outer, words);
    store(outer + 8, kTtlAndProtocol | ~fold64(sum) << 16U);
    store(outer + 12, addresses);
  }
};

}  // namespace podwire::stages
