#include "dataplane/tables/lpm.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace podwire::tables {
namespace {

using net::Address;
using net::Prefix;

const int* plain_find(const std::map<Prefix, int>& plain, const Address& address) {
  const int* best = nullptr;
  int length = -1;
  for (const auto& [prefix, value] : plain) {
    if (prefix.contains(address) && prefix.length > length) {
      best = &value;
      length = prefix.length;
    }
  }
  return best;
}

Address random_address(std::mt19937& random, bool v4) {
  Address a = v4 ? Address::from_v4(net::be32{0x0a000000}) : *Address::parse("fd00::");
  // Few distinct bytes, so that prefixes nest and share nodes.
  for (unsigned i = v4 ? 13 : 1; i < 16; ++i)
    a.bytes[i] = static_cast<std::uint8_t>(random() % 4 * 85);
  return a;
}

TEST(Lpm, EqualsAPlainSearchOverRandomHistories) {
  std::mt19937 random(7);
  Lpm<int> lpm;
  std::map<Prefix, int> plain;
  for (int step = 0; step < 4000; ++step) {
    const bool v4 = random() % 2 == 0;
    const auto length = random() % (v4 ? 33 : 129);
    const auto prefix =
        *Prefix::parse(random_address(random, v4).to_string() + "/" + std::to_string(length));
    const Lpm<int> before = lpm;
    const std::size_t size_before = plain.size();
    if (random() % 3 == 0) {
      EXPECT_EQ(lpm.erase(prefix), plain.erase(prefix) == 1);
    } else {
      lpm.set(prefix, step);
      plain[prefix] = step;
    }
    EXPECT_EQ(before.size(), size_before);  // the old version did not move
    ASSERT_EQ(lpm.size(), plain.size());
    const Address address = random_address(random, random() % 2 == 0);
    const int* expected = plain_find(plain, address);
    const int* found = lpm.find(address);
    ASSERT_EQ(found == nullptr, expected == nullptr) << address.to_string();
    if (found != nullptr) {
      ASSERT_EQ(*found, *expected) << address.to_string();
    }
  }
  std::map<Prefix, int> visited;
  lpm.for_each([&](const Prefix& prefix, int value) { visited[prefix] = value; });
  EXPECT_EQ(visited, plain);
}

TEST(Lpm, DefaultRoutesOfTheFamiliesStayApart) {
  Lpm<int> lpm;
  lpm.set(*Prefix::parse("0.0.0.0/0"), 4);
  EXPECT_EQ(lpm.find(*Address::parse("fd00::1")), nullptr);
  lpm.set(*Prefix::parse("::/0"), 6);
  EXPECT_EQ(*lpm.find(*Address::parse("fd00::1")), 6);
  EXPECT_EQ(*lpm.find(*Address::parse("9.9.9.9")), 4);
}

}  // namespace
}  // namespace podwire::tables
