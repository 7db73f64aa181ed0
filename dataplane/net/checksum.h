// Internet checksums (RFC 1071): whole, and by increment (RFC 1624).
//
// Sums are 16-bit one's complement sums over the bytes as they stand in memory; the order of bytes
// does not matter to such a sum (RFC 1071 section 2 B), so nothing here converts. A *delta* is the
// sum of ~old and new over all the 16-bit words that change: it may be computed once for a flow and
// applied to each of its packets. Plain functions, usable from any thread.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>

#include "dataplane/net/big_endian.h"

namespace podwire::net {

// A running sum: 64 bits wide, folded at the end, so that adding needs no carry handling. Adding
// the halves, exchanged, leaves in the upper one both halves and the carry.
[[nodiscard]] constexpr std::uint16_t fold(std::uint64_t sum) noexcept {
  const auto half = static_cast<std::uint32_t>((sum + std::rotl(sum, 32)) >> 32U);
  return static_cast<std::uint16_t>((half + std::rotl(half, 16)) >> 16U);
}

// Adds `bytes` to `sum`. The range starts at an even offset of what is summed; an odd last byte
// counts as if a zero followed it.
[[nodiscard]] inline std::uint64_t add_sum(std::uint64_t sum, const void* bytes,
                                           std::size_t length) noexcept {
  const auto* at = static_cast<const std::uint8_t*>(bytes);
  for (; length >= 4; at += 4, length -= 4) {
    std::uint32_t word;
    std::memcpy(&word, at, 4);
    sum += word;
  }
  if (length >= 2) {
    std::uint16_t word;
    std::memcpy(&word, at, 2);
    sum += word;
    at += 2;
    length -= 2;
  }
  if (length == 1) sum += *at;
  return sum;
}

// The sum of a TCP, UDP or ICMPv6 pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1).
// Addresses are 4 or 16 bytes each; `length` is that of the transport header and its payload.
[[nodiscard]] inline std::uint64_t pseudo_header_sum(const void* source, const void* destination,
                                                     std::size_t address_size,
                                                     std::uint8_t protocol,
                                                     std::uint32_t length) noexcept {
  std::uint64_t sum = add_sum(0, source, address_size);
  sum = add_sum(sum, destination, address_size);
  return sum + be32(length).raw() + be16(protocol).raw();
}

// The checksum field for a sum: its complement.
[[nodiscard]] constexpr be16 checksum_of(std::uint64_t sum) noexcept {
  return be16::from_raw(static_cast<std::uint16_t>(~fold(sum)));
}

// The delta of words that change, gathered one by one. Every word stands at an even offset.
class Delta {
 public:
  constexpr Delta& change(be16 old_word, be16 new_word) noexcept {
    sum_ += static_cast<std::uint16_t>(~old_word.raw());
    sum_ += new_word.raw();
    return *this;
  }
  constexpr Delta& change(be32 old_word, be32 new_word) noexcept {
    sum_ += static_cast<std::uint32_t>(~old_word.raw());
    sum_ += new_word.raw();
    return *this;
  }
  // `size` bytes, a multiple of 4: an IPv6 address.
  Delta& change(const void* old_bytes, const void* new_bytes, std::size_t size) noexcept {
    for (std::size_t i = 0; i < size; i += 4) {
      std::uint32_t before, after;
      std::memcpy(&before, static_cast<const std::uint8_t*>(old_bytes) + i, 4);
      std::memcpy(&after, static_cast<const std::uint8_t*>(new_bytes) + i, 4);
      sum_ += static_cast<std::uint32_t>(~before);
      sum_ += after;
    }
    return *this;
  }
  [[nodiscard]] constexpr std::uint16_t folded() const noexcept { return fold(sum_); }

 private:
  std::uint64_t sum_ = 0;
};

// RFC 1624 equation 3: HC' = ~(~HC + delta).
[[nodiscard]] constexpr be16 updated_checksum(be16 checksum, std::uint64_t delta) noexcept {
  return be16::from_raw(
      static_cast<std::uint16_t>(~fold(static_cast<std::uint16_t>(~checksum.raw()) + delta)));
}

// The same for a field that holds the sum itself, as left to offloads: not complemented.
[[nodiscard]] constexpr be16 updated_sum(be16 sum, std::uint64_t delta) noexcept {
  return be16::from_raw(fold(sum.raw() + delta));
}

// UDP says "no checksum" with zero, so a checksum that comes out as zero is sent as all ones (RFC
// 768); over IPv4 a packet without a checksum stays without one.
[[nodiscard]] constexpr be16 updated_udp_checksum(be16 checksum, std::uint64_t delta) noexcept {
  if (checksum.raw() == 0) return checksum;
  const be16 updated = updated_checksum(checksum, delta);
  return updated.raw() == 0 ? be16::from_raw(0xffff) : updated;
}

}  // namespace podwire::net
