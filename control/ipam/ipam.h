// Which addresses of this node's pods are taken. An address that was given back is the last to be
// given out again, so that what still points at its old pod (a flow, a peer's cache) has the
// longest time to end. Ranges are taken as they are asked for; of a range larger than 2^32
// addresses only the first 2^32 are used. Control thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "dataplane/net/address.h"

namespace podwire::control {

class Ipam {
 public:
  // True for an address that must not be given out although nobody took it here.
  using Reserved = std::function<bool(const net::Address&)>;

  // False when it is taken already. Any address may be taken, of whatever range.
  bool take(const net::Address& address);
  // Of the range's free addresses the one that has been unused longest: those never used first, in
  // order. A range's first address and the last of an IPv4 range are never given out (unless there
  // are at most two). Nothing when the range is full.
  std::optional<net::Address> take_next(const net::Prefix& range, const Reserved& reserved);
  // The one that take_next would take.
  std::optional<net::Address> next(const net::Prefix& range, const Reserved& reserved);
  void release(const net::Address& address);

  [[nodiscard]] bool taken(const net::Address& address) const { return taken_.contains(address); }
  [[nodiscard]] std::size_t size() const { return taken_.size(); }

 private:
  struct Range {
    std::uint64_t cursor = 0;  // next address that may never have been used
    std::uint64_t left = 0;    // how many from there on, around the end
  };
  Range& range_of(const net::Prefix& prefix);
  void rest(const net::Address& address);  // to the end of those that were used

  std::set<net::Address> taken_;
  std::map<net::Address, std::uint64_t> resting_;       // free and used before: its turn
  std::map<std::uint64_t, net::Address> resting_turn_;  // the same by turn
  std::uint64_t next_turn_ = 0;
  std::map<net::Prefix, Range> ranges_;
};

}  // namespace podwire::control
