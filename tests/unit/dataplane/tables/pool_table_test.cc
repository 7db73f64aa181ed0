#include "dataplane/tables/pool_table.h"

#include <gtest/gtest.h>

#include <random>

#include "dataplane/tables/lpm.h"

namespace podwire::test {
namespace {

using tables::PoolTable;

// A few prefixes of both families, close to each other, beside the trie that routes have.
TEST(PoolTable, FindsWhatATrieFinds) {
  std::mt19937 random(7);
  for (unsigned round = 0; round < 200; ++round) {
    PoolTable pools;
    tables::Lpm<bool> trie;
    const auto address = [&](bool v4) {
      net::Address made = v4 ? net::Address::from_v4(net::be32{}) : net::Address{};
      for (unsigned i = v4 ? 12 : 0; i < 16; ++i) {
        made.bytes[i] = static_cast<std::uint8_t>(random() % 2 == 0 ? 0 : random() % 4 << 6U);
      }
      return made;
    };
    for (unsigned n = random() % 12; n > 0; --n) {
      const bool v4 = random() % 2 == 0;
      const auto length = static_cast<std::uint8_t>(random() % (v4 ? 33 : 129));
      const auto cidr = net::Prefix::around(address(v4), length);
      const bool nat = random() % 2 == 0;
      pools.set(cidr, nat);
      trie.set(cidr, nat);
    }
    std::size_t count = 0;
    pools.for_each([&](const PoolTable::Pool& pool) {
      ++count;
      ASSERT_NE(trie.exact(pool.cidr), nullptr);
      EXPECT_EQ(*trie.exact(pool.cidr), pool.nat_outgoing);
    });
    EXPECT_EQ(count, trie.size());
    for (unsigned n = 0; n < 200; ++n) {
      const auto asked = address(n % 2 == 0);
      const bool* expected = trie.find(asked);
      const PoolTable::Pool* found = pools.find(asked);
      ASSERT_EQ(found != nullptr, expected != nullptr) << asked.to_string();
      if (found == nullptr) continue;
      EXPECT_EQ(found->nat_outgoing, *expected) << asked.to_string();
      EXPECT_TRUE(found->cidr.contains(asked));
    }
  }
}

}  // namespace
}  // namespace podwire::test
