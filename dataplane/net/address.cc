#include "dataplane/net/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstdio>

namespace podwire::net {
namespace {

// Clears or finds bits past `length` (counted from the first byte of the 16).
bool clear_host_bits(Address& a, unsigned bits) {
  bool found = false;
  for (unsigned i = 0; i < 16; ++i) {
    const unsigned kept = bits > i * 8 ? std::min(bits - i * 8, 8U) : 0;
    const auto mask = static_cast<std::uint8_t>(0xff00U >> kept);
    found = found || (a.bytes[i] & ~mask & 0xffU) != 0;
    a.bytes[i] = static_cast<std::uint8_t>(a.bytes[i] & mask);
  }
  return found;
}

unsigned mapped_bits(const Prefix& p) {
  return p.length + (p.address.is_v4() ? 96U : 0U);
}

}  // namespace

std::optional<Address> Address::parse(std::string_view text) {
  const std::string zero_ended(text);
  if (zero_ended.size() != std::string_view(zero_ended.c_str()).size()) return std::nullopt;
  std::uint32_t v4 = 0;
  if (inet_pton(AF_INET, zero_ended.c_str(), &v4) == 1) return from_v4(be32::from_raw(v4));
  Address v6;
  if (inet_pton(AF_INET6, zero_ended.c_str(), v6.bytes.data()) == 1) return v6;
  return std::nullopt;
}

std::string Address::to_string() const {
  char text[INET6_ADDRSTRLEN];
  const bool mapped = is_v4();
  inet_ntop(mapped ? AF_INET : AF_INET6, bytes.data() + (mapped ? 12 : 0), text, sizeof text);
  return text;
}

bool Address::is_unspecified() const {
  return *this == Address{} || *this == from_v4(be32{});
}
bool Address::is_multicast() const {
  return is_v4() ? (bytes[12] & 0xf0) == 0xe0 : bytes[0] == 0xff;
}
bool Address::is_loopback() const {
  static constexpr Address kLoopback6{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
  return is_v4() ? bytes[12] == 127 : *this == kLoopback6;
}
bool Address::is_link_local() const {
  return is_v4() ? bytes[12] == 169 && bytes[13] == 254
                 : bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
}

std::optional<Prefix> Prefix::parse(std::string_view text, bool strict) {
  const auto slash = text.find('/');
  const auto address = Address::parse(text.substr(0, slash));
  if (!address) return std::nullopt;
  Prefix prefix = Prefix::host(*address);
  if (slash != std::string_view::npos) {
    const auto digits = text.substr(slash + 1);
    unsigned length = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
    if (error != std::errc{} || end != digits.data() + digits.size() || length > prefix.length) {
      return std::nullopt;
    }
    prefix.length = static_cast<std::uint8_t>(length);
  }
  // The family is read before bits are cleared: 0.0.0.0/0 stays IPv4.
  const unsigned bits = mapped_bits(prefix);
  if (clear_host_bits(prefix.address, bits) && strict) return std::nullopt;
  return prefix;
}

Prefix Prefix::around(const Address& a, std::uint8_t length) {
  Prefix prefix = Prefix::host(a);
  prefix.length = std::min(prefix.length, length);
  clear_host_bits(prefix.address, mapped_bits(prefix));
  return prefix;
}

std::string Prefix::to_string() const {
  return address.to_string() + "/" + std::to_string(length);
}

bool Prefix::contains(const Address& a) const {
  if (a.is_v4() != address.is_v4()) return false;
  Address masked = a;
  clear_host_bits(masked, mapped_bits(*this));
  return masked == address;
}

bool Prefix::contains(const Prefix& other) const {
  return other.length >= length && contains(other.address);
}

std::optional<Mac> Mac::parse(std::string_view text) {
  if (text.size() != 17) return std::nullopt;
  Mac mac;
  for (std::size_t i = 0; i < 6; ++i) {
    const char* digits = text.data() + i * 3;
    const auto [end, error] = std::from_chars(digits, digits + 2, mac.bytes[i], 16);
    if (error != std::errc{} || end != digits + 2 || (i < 5 && digits[2] != ':')) {
      return std::nullopt;
    }
  }
  return mac;
}

std::string Mac::to_string() const {
  char text[18];
  std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2],
                bytes[3], bytes[4], bytes[5]);
  return text;
}

}  // namespace podwire::net
