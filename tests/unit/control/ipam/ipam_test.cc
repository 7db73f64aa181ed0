#include "control/ipam/ipam.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "tests/unit/control/ipam/literals.h"

namespace podwire::control {
namespace {

TEST(Ipam, GivesAddressesInOrderAndLeavesTheEdges) {
  Ipam ipam;
  const auto small = range("10.0.0.0/30");
  EXPECT_EQ(ipam.take_next(small, nothing), address("10.0.0.1"));
  EXPECT_EQ(ipam.take_next(small, nothing), address("10.0.0.2"));
  EXPECT_EQ(ipam.take_next(small, nothing), std::nullopt);
  EXPECT_EQ(ipam.take_next(range("fd00::/126"), nothing), address("fd00::1"));
  EXPECT_EQ(ipam.take_next(range("10.0.1.7/32"), nothing), address("10.0.1.7"));
}

TEST(Ipam, GivesTheLongestUnusedAgainFirst) {
  Ipam ipam;
  const auto small = range("10.0.0.0/29");  // 1 to 6
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(ipam.take_next(small, nothing));
  ipam.release(address("10.0.0.3"));
  ipam.release(address("10.0.0.1"));
  EXPECT_EQ(ipam.take_next(small, nothing), address("10.0.0.5"));  // never used before used
  EXPECT_EQ(ipam.take_next(small, nothing), address("10.0.0.6"));
  EXPECT_EQ(ipam.take_next(small, nothing), address("10.0.0.3"));
  EXPECT_EQ(ipam.take_next(small, nothing), address("10.0.0.1"));
  EXPECT_EQ(ipam.take_next(small, nothing), std::nullopt);
}

TEST(Ipam, GoesOnBehindTheHighestAfterARestart) {
  Ipam ipam;
  EXPECT_TRUE(ipam.take(address("10.0.0.2")));
  EXPECT_TRUE(ipam.take(address("10.0.0.4")));
  const auto small = range("10.0.0.0/29");
  for (const char* next : {"10.0.0.5", "10.0.0.6", "10.0.0.1", "10.0.0.3"}) {
    EXPECT_EQ(ipam.take_next(small, nothing), address(next));
  }
  EXPECT_EQ(ipam.take_next(small, nothing), std::nullopt);
}

TEST(Ipam, LooksAtReservedOnesAgainLater) {
  Ipam ipam;
  const auto small = range("10.0.0.0/30");
  std::set<net::Address> reserved{address("10.0.0.1")};
  const auto is_reserved = [&](const net::Address& a) { return reserved.contains(a); };
  EXPECT_EQ(ipam.take_next(small, is_reserved), address("10.0.0.2"));
  EXPECT_EQ(ipam.take_next(small, is_reserved), std::nullopt);
  reserved.clear();
  EXPECT_EQ(ipam.take_next(small, is_reserved), address("10.0.0.1"));
}

TEST(Ipam, KeepsNestedAndHugeRangesApart) {
  Ipam ipam;
  EXPECT_EQ(ipam.take_next(range("fd00::/48"), nothing), address("fd00::1"));
  EXPECT_TRUE(
      ipam.take(address("fd00:0:0:5::2")));  // same low bits, far outside of what is given out
  EXPECT_EQ(ipam.take_next(range("fd00::/48"), nothing), address("fd00::2"));
  EXPECT_EQ(ipam.take_next(range("fd00::/126"), nothing), address("fd00::3"));
  EXPECT_EQ(ipam.take_next(range("0.0.0.0/0"), nothing), address("0.0.0.1"));
}

// Against a model: for each address whether it is taken and since when it is not.
TEST(Ipam, NeverGivesTwiceNorLeaksInRandomHistories) {
  for (unsigned seed = 1; seed <= 60; ++seed) {
    std::mt19937 random(seed);
    Ipam ipam;
    const std::vector<net::Prefix> ranges{range("10.0.0.0/28"), range("10.0.0.8/29"),
                                          range("fd00::/124")};
    std::set<net::Address> taken, reserved;
    std::map<net::Address, int> free_since;  // none: never used
    const auto is_reserved = [&](const net::Address& a) { return reserved.contains(a); };
    for (int step = 0; step < 600; ++step) {
      const auto& chosen = ranges[random() % ranges.size()];
      auto some = chosen.address;
      some.bytes[15] = static_cast<std::uint8_t>(some.bytes[15] + random() % 8);
      switch (random() % 5) {
        case 0:
          ASSERT_EQ(ipam.take(some), taken.insert(some).second);
          break;
        case 1:
          if (!taken.empty()) {
            const auto gone = *std::next(taken.begin(), static_cast<long>(random() % taken.size()));
            ipam.release(gone);
            taken.erase(gone);
            free_since[gone] = step;
          }
          break;
        case 2:
          if (!reserved.erase(some)) reserved.insert(some);
          break;
        default: {
          const auto given = ipam.take_next(chosen, is_reserved);
          const unsigned size = chosen.family() == net::Family::v4 && chosen.length == 29 ? 8 : 16;
          const unsigned last = chosen.family() == net::Family::v4 ? size - 1 : size;
          if (!given) {
            for (unsigned i = 1; i < last; ++i) {
              auto address = chosen.address;
              address.bytes[15] = static_cast<std::uint8_t>(address.bytes[15] + i);
              ASSERT_TRUE(taken.contains(address) || reserved.contains(address))
                  << address.to_string() << " leaked, seed " << seed << " step " << step;
            }
            break;
          }
          ASSERT_TRUE(chosen.contains(*given));
          ASSERT_TRUE(taken.insert(*given).second) << given->to_string() << " given twice";
          ASSERT_FALSE(reserved.contains(*given));
          // No free one of the range has rested longer after use.
          if (const auto since = free_since.find(*given); since != free_since.end()) {
            for (unsigned i = 1; i < last && reserved.empty(); ++i) {
              auto other = chosen.address;
              other.bytes[15] = static_cast<std::uint8_t>(other.bytes[15] + i);
              if (taken.contains(other) || !free_since.contains(other)) continue;
              ASSERT_GE(free_since[other], since->second) << other.to_string() << " waits longer";
            }
          }
        }
      }
      ASSERT_EQ(ipam.size(), taken.size());
    }
  }
}

}  // namespace
}  // namespace podwire::control
