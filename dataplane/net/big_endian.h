// Integers in network byte order, as a type of their own: nothing converts silently.
// Packed: headers stand at any address in a packet, so nothing made of these asks for alignment.
// Plain values, usable from any thread.
#pragma once

#include <bit>
#include <compare>
#include <concepts>
#include <cstdint>

namespace podwire::net {

template <std::unsigned_integral T>
class [[gnu::packed]] BigEndian {
 public:
  constexpr BigEndian() = default;
  explicit constexpr BigEndian(T host) : raw_(swap(host)) {}

  // The bytes as they stand in the packet.
  static constexpr BigEndian from_raw(T raw) {
    BigEndian value;
    value.raw_ = raw;
    return value;
  }
  [[nodiscard]] constexpr T raw() const { return raw_; }
  [[nodiscard]] constexpr T host() const { return swap(raw_); }

  constexpr bool operator==(const BigEndian&) const = default;
  constexpr auto operator<=>(const BigEndian& other) const { return host() <=> other.host(); }

 private:
  static constexpr T swap(T value) {
    static_assert(std::endian::native == std::endian::little);
    if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
    if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
    if constexpr (sizeof(T) == 8) return __builtin_bswap64(value);
  }
  T raw_ = 0;
};

using be16 = BigEndian<std::uint16_t>;
using be32 = BigEndian<std::uint32_t>;
using be64 = BigEndian<std::uint64_t>;
static_assert(sizeof(be16) == 2 && sizeof(be32) == 4 && sizeof(be64) == 8);
static_assert(alignof(be16) == 1 && alignof(be32) == 1 && alignof(be64) == 1);

}  // namespace podwire::net
