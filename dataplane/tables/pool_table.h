// Which of the cluster's pools of pod addresses (Calico's IPPool) an address is of. A cluster has
// a few, so they stand in a row, the longest prefix first, and are compared one after the other: a
// trie reads as many cache lines for one address as this does for eight pools. With one pool a new
// flow's two look-ups are 25 instructions, in a trie 108; each pool adds a compare to both.
//
// Changed on the control thread, before a snapshot has it; read by any thread.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "dataplane/net/address.h"

namespace podwire::tables {

class PoolTable {
 public:
  struct Pool {
    net::Prefix cidr;
    bool nat_outgoing = false;  // what leaves the pools is masqueraded
  };

  // A prefix that is there gets the new value.
  void set(const net::Prefix& cidr, bool nat_outgoing) {
    std::vector<Row>& rows = rows_[cidr.address.is_v4()];
    const Row row(cidr, nat_outgoing);
    const auto at = std::lower_bound(rows.begin(), rows.end(), row, [](const Row& a, const Row& b) {
      return a.pool.cidr.length > b.pool.cidr.length;
    });
    const auto same =
        std::find_if(at, rows.end(), [&](const Row& other) { return other.pool.cidr == cidr; });
    if (same != rows.end()) {
      *same = row;
    } else {
      rows.insert(at, row);
    }
  }

  // The longest that covers the address; null: none does.
  [[nodiscard]] const Pool* find(const net::Address& address) const noexcept {
    const Words words = words_of(address);
    for (const Row& row : rows_[address.is_v4()]) {
      const std::uint64_t first = (words[0] & row.mask[0]) ^ row.bits[0];
      const std::uint64_t second = (words[1] & row.mask[1]) ^ row.bits[1];
      if ((first | second) == 0) return &row.pool;
    }
    return nullptr;
  }

  // f(const Pool&), every pool once, IPv4 first.
  template <typename F>
  void for_each(F&& f) const {
    for (const bool v4 : {true, false}) {
      for (const Row& row : rows_[v4]) f(row.pool);
    }
  }

 private:
  using Words = std::array<std::uint64_t, 2>;
  static Words words_of(const net::Address& address) noexcept {
    Words words;
    std::memcpy(words.data(), address.bytes.data(), sizeof words);
    return words;
  }
  struct Row {
    Row(const net::Prefix& cidr, bool nat_outgoing) : pool{cidr, nat_outgoing} {
      net::Address ones;
      ones.bytes.fill(0);
      const unsigned first = cidr.address.is_v4() ? 96 : 0;
      for (unsigned bit = first; bit < first + cidr.length; ++bit) {
        ones.bytes[bit / 8] = static_cast<std::uint8_t>(ones.bytes[bit / 8] | 0x80U >> bit % 8);
      }
      mask = words_of(ones);
      bits = words_of(cidr.address);
      for (unsigned i = 0; i < 2; ++i) bits[i] &= mask[i];
    }
    Words mask, bits;
    Pool pool;
  };
  std::array<std::vector<Row>, 2> rows_;  // of IPv6 and IPv4
};

}  // namespace podwire::tables
