#include "control/ipam/ipam.h"

#include <algorithm>
#include <limits>

namespace podwire::control {
namespace {

std::uint64_t size_of(const net::Prefix& range) {
  const unsigned host_bits = (range.family() == net::Family::v4 ? 32U : 128U) - range.length;
  return std::uint64_t{1} << std::min(host_bits, 32U);
}

net::Address at(const net::Prefix& range, std::uint64_t offset) {
  net::Address address = range.address;
  for (unsigned i = 15; offset != 0; --i, offset >>= 8) {
    address.bytes[i] = static_cast<std::uint8_t>(address.bytes[i] | (offset & 0xff));
  }
  return address;
}

std::uint64_t offset_of(const net::Prefix& range, const net::Address& address) {
  std::uint64_t offset = 0;
  // Beyond what is ever given out.
  if (!std::equal(address.bytes.begin(), address.bytes.begin() + 8, range.address.bytes.begin())) {
    return std::numeric_limits<std::uint64_t>::max();
  }
  for (unsigned i = 8; i < 16; ++i) {
    offset = offset << 8 | (address.bytes[i] ^ range.address.bytes[i]);
  }
  return offset;
}

// The network's own address and IPv4's broadcast; RFC 4291 section 2.6.1 for IPv6.
bool is_edge(const net::Prefix& range, std::uint64_t offset) {
  const std::uint64_t size = size_of(range);
  if (size <= 2) return false;
  return offset == 0 || (range.family() == net::Family::v4 && offset == size - 1);
}

}  // namespace

bool Ipam::take(const net::Address& address) {
  if (!taken_.insert(address).second) return false;
  if (const auto found = resting_.find(address); found != resting_.end()) {
    resting_turn_.erase(found->second);
    resting_.erase(found);
  }
  return true;
}

void Ipam::rest(const net::Address& address) {
  const auto [place, fresh] = resting_.emplace(address, next_turn_);
  if (fresh) resting_turn_.emplace(next_turn_++, address);
}

void Ipam::release(const net::Address& address) {
  if (taken_.erase(address) == 1) rest(address);
}

Ipam::Range& Ipam::range_of(const net::Prefix& prefix) {
  const auto [place, fresh] = ranges_.try_emplace(prefix);
  Range& range = place->second;
  if (fresh) {
    range.left = size_of(prefix);
    // After a restart: go on behind the highest one, so that what was freed last is not next.
    for (auto address = taken_.rbegin(); address != taken_.rend(); ++address) {
      if (!prefix.contains(*address)) continue;
      const std::uint64_t offset = offset_of(prefix, *address);
      if (offset < range.left) range.cursor = (offset + 1) % range.left;
      break;
    }
  }
  return range;
}

std::optional<net::Address> Ipam::next(const net::Prefix& prefix, const Reserved& reserved) {
  Range& range = range_of(prefix);
  const std::uint64_t size = size_of(prefix);
  for (; range.left > 0; range.cursor = (range.cursor + 1) % size, --range.left) {
    const net::Address address = at(prefix, range.cursor);
    if (is_edge(prefix, range.cursor) || taken_.contains(address) || resting_.contains(address)) {
      continue;
    }
    if (!reserved(address)) return address;
    rest(address);  // its turn comes again
  }
  for (const auto& [turn, address] : resting_turn_) {
    if (!prefix.contains(address) || reserved(address)) continue;
    const std::uint64_t offset = offset_of(prefix, address);
    if (offset < size && !is_edge(prefix, offset)) return address;
  }
  return std::nullopt;
}

std::optional<net::Address> Ipam::take_next(const net::Prefix& prefix, const Reserved& reserved) {
  const auto address = next(prefix, reserved);
  if (address) take(*address);
  return address;
}

}  // namespace podwire::control
