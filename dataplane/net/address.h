// IP addresses, prefixes and Ethernet addresses, as tables and control hold them.
// An IPv4 address is kept as IPv4-mapped IPv6 (::ffff:a.b.c.d, RFC 4291 section 2.5.5.2), so that
// one table serves both families. Plain values, usable from any thread.
#pragma once

#include <emmintrin.h>

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "dataplane/net/big_endian.h"

namespace podwire::net {

enum class Family : std::uint8_t { v4 = 4, v6 = 6 };
inline constexpr std::array kFamilies{Family::v4, Family::v6};

struct Address {
  std::array<std::uint8_t, 16> bytes{};

  using Halves = std::array<std::uint64_t, 2>;
  static constexpr std::uint32_t kMapped = be32(0xffff).raw();  // ::ffff:0:0/96, RFC 4291

  // Written in one store where workers do it: what is written piece by piece is slow to load whole.
  static constexpr Address from_v4(be32 v4) {
    const std::uint64_t low = std::uint64_t{v4.raw()} << 32 | kMapped;
    if (std::is_constant_evaluated()) {
      return {std::bit_cast<std::array<std::uint8_t, 16>>(Halves{0, low})};
    }
    return from(_mm_set_epi64x(static_cast<long long>(low), 0));
  }
  // 16 bytes in network order, as they stand in an IPv6 header.
  static Address from_v6(const void* bytes) {
    return from(_mm_loadu_si128(static_cast<const __m128i*>(bytes)));
  }
  // "10.0.0.1", "fd00::1". Zeros in front of a decimal part are refused; see
  // control/kube/decode.h for the sloppy form that Kubernetes still takes in Services.
  static std::optional<Address> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const;

  // As they stand in memory; compilers call memcmp(3) for an array of 16 bytes.
  [[nodiscard]] constexpr Halves halves() const { return std::bit_cast<Halves>(bytes); }

  [[nodiscard]] constexpr bool is_v4() const {
    const auto [high, low] = halves();
    return high == 0 && static_cast<std::uint32_t>(low) == kMapped;
  }
  [[nodiscard]] Family family() const { return is_v4() ? Family::v4 : Family::v6; }
  // Only for IPv4 addresses.
  [[nodiscard]] be32 v4() const {
    std::uint32_t raw;
    std::memcpy(&raw, bytes.data() + 12, 4);
    return be32::from_raw(raw);
  }
  [[nodiscard]] bool is_unspecified() const;
  [[nodiscard]] bool is_multicast() const;
  [[nodiscard]] bool is_loopback() const;
  [[nodiscard]] bool is_link_local() const;  // 169.254.0.0/16, fe80::/10

  constexpr bool operator==(const Address& other) const {
    const auto [high, low] = halves();
    const auto [other_high, other_low] = other.halves();
    return ((high ^ other_high) | (low ^ other_low)) == 0;
  }
  auto operator<=>(const Address&) const = default;

 private:
  static Address from(__m128i bytes) {
    Address a;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(a.bytes.data()), bytes);
    return a;
  }
};
static_assert(sizeof(Address) == 16);

// 0.0.0.0 or ::
inline Address unspecified(Family family) {
  return family == Family::v4 ? Address::from_v4(be32{}) : Address{};
}

struct Prefix {
  Address address;          // host bits are zero
  std::uint8_t length = 0;  // in bits of its own family: 0..32 or 0..128

  // "10.0.0.0/8"; a bare address is /32 or /128. Host bits that are set are cleared when
  // `strict` is false and refused when it is true.
  static std::optional<Prefix> parse(std::string_view text, bool strict = false);
  // The prefix of that length (in bits of the address's family) in which the address lies.
  static Prefix around(const Address& a, std::uint8_t length);
  static Prefix host(const Address& a) {
    return Prefix{a, static_cast<std::uint8_t>(a.is_v4() ? 32 : 128)};
  }
  [[nodiscard]] std::string to_string() const;
  [[nodiscard]] Family family() const { return address.family(); }
  // False for an address of the other family.
  [[nodiscard]] bool contains(const Address& a) const;
  [[nodiscard]] bool contains(const Prefix& other) const;

  bool operator==(const Prefix&) const = default;
  auto operator<=>(const Prefix&) const = default;
};

struct Mac {
  std::array<std::uint8_t, 6> bytes{};

  static std::optional<Mac> parse(std::string_view text);  // "ee:ee:ee:ee:ee:ee"
  [[nodiscard]] std::string to_string() const;
  [[nodiscard]] bool is_multicast() const { return (bytes[0] & 1) != 0; }
  [[nodiscard]] bool is_zero() const { return *this == Mac{}; }

  bool operator==(const Mac&) const = default;
  auto operator<=>(const Mac&) const = default;
};
static_assert(sizeof(Mac) == 6);

// The address podwire answers with on every pod port and towards the host, as Calico does
// (felix: host side of a pod's veth is ee:ee:ee:ee:ee:ee).
inline constexpr Mac kGatewayMac{{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}};

struct AddressHash {
  std::size_t operator()(const Address& a) const noexcept {
    const auto [high, low] = a.halves();
    std::uint64_t x = high * 0x9e3779b97f4a7c15ULL ^ low;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93ULL;
    x ^= x >> 32;
    return x;
  }
};

}  // namespace podwire::net

template <>
struct std::hash<podwire::net::Address> : podwire::net::AddressHash {};
