#include "dataplane/tables/lpm.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

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

std::map<Prefix, int> all_of(const Lpm<int>& lpm) {
  std::map<Prefix, int> all;
  lpm.for_each([&](const Prefix& prefix, int value) { all[prefix] = value; });
  return all;
}

// As snapshots hold them: dropped in any order, while the newest goes on. What is freed too early
// or never shows under AddressSanitizer.
TEST(Lpm, VersionsThatAreHeldStayAsTheyWere) {
  std::mt19937 random(11);
  Lpm<int> lpm;
  std::map<Prefix, int> plain;
  std::vector<std::pair<Lpm<int>, std::map<Prefix, int>>> held;
  for (int step = 0; step < 500; ++step) {
    const bool v4 = random() % 4 != 0;
    const auto prefix = Prefix::around(random_address(random, v4),
                                       static_cast<std::uint8_t>(random() % (v4 ? 33 : 129)));
    if (random() % 2 == 0) {
      EXPECT_EQ(lpm.erase(prefix), plain.erase(prefix) == 1);
    } else {
      lpm.set(prefix, step);
      plain[prefix] = step;
    }
    if (random() % 8 == 0) held.emplace_back(lpm, plain);
    if (held.size() < 8) continue;
    const auto place = held.begin() + random() % held.size();
    ASSERT_EQ(all_of(place->first), place->second);
    const Address address = random_address(random, v4);
    const int* found = place->first.find(address);
    const int* expected = plain_find(place->second, address);
    ASSERT_EQ(found == nullptr ? -1 : *found, expected == nullptr ? -1 : *expected);
    held.erase(place);
  }
  EXPECT_EQ(all_of(lpm), plain);
}

TEST(Lpm, AVersionThatWasFollowedIsCopiedWholeWhenItChanges) {
  Lpm<int> first;
  first.set(*Prefix::parse("10.0.0.0/8"), 1);
  first.set(*Prefix::parse("fd00::/8"), 2);
  Lpm<int> second = first;
  second.set(*Prefix::parse("10.1.0.0/16"), 3);
  first.set(*Prefix::parse("10.1.0.0/16"), 4);
  EXPECT_EQ(*first.find(*Address::parse("10.1.2.3")), 4);
  EXPECT_EQ(*second.find(*Address::parse("10.1.2.3")), 3);
  second = Lpm<int>();
  EXPECT_EQ(*first.find(*Address::parse("10.2.0.0")), 1);
  EXPECT_EQ(*first.find(*Address::parse("fd00::1")), 2);
  EXPECT_EQ(first.size(), 3U);
}

// A change copies the way to its prefix and nothing else.
TEST(Lpm, AChangeSharesTheRest) {
  Lpm<int> lpm;
  for (unsigned n = 0; n < 10'000; ++n) {
    lpm.set(Prefix::around(Address::from_v4(net::be32(0x0a000000U + n * 256)), 24), 1);
  }
  const Lpm<int> before = lpm;
  lpm.set(*Prefix::parse("10.0.7.0/24"), 2);
  EXPECT_EQ(before.exact(*Prefix::parse("10.9.1.0/24")), lpm.exact(*Prefix::parse("10.9.1.0/24")));
  EXPECT_NE(before.exact(*Prefix::parse("10.0.7.0/24")), lpm.exact(*Prefix::parse("10.0.7.0/24")));
  EXPECT_LT(lpm.bytes(), 10'000U * 14);
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
