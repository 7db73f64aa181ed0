#include "dataplane/flow/affinity.h"

#include <gtest/gtest.h>

namespace podwire::flow {
namespace {

net::Address address(std::uint32_t n) {
  return net::Address::from_v4(net::be32(n));
}

AffinityTable::Backend backend(std::uint32_t n) {
  return {address(0x0a000000 + n), net::be16(static_cast<std::uint16_t>(n))};
}

TEST(Affinity, RemembersPerServiceAndClient) {
  AffinityTable table(1000);
  EXPECT_FALSE(table.find(1, address(5), 10, 100));
  table.set(1, address(5), backend(80), 10);
  const auto found = table.find(1, address(5), 10, 100);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->address, backend(80).address);
  EXPECT_EQ(found->port, net::be16(80));
  EXPECT_FALSE(table.find(2, address(5), 10, 100));
  EXPECT_FALSE(table.find(1, address(6), 10, 100));
}

TEST(Affinity, LastsItsTimeoutAndNotLonger) {
  AffinityTable table(1000);
  table.set(1, address(5), backend(80), 10);
  EXPECT_TRUE(table.find(1, address(5), 110, 100));
  EXPECT_FALSE(table.find(1, address(5), 111, 100));
  table.set(1, address(5), backend(80), 110);
  EXPECT_TRUE(table.find(1, address(5), 210, 100));
}

TEST(Affinity, NewBackendReplacesTheOld) {
  AffinityTable table(1000);
  table.set(1, address(5), backend(80), 10);
  table.set(1, address(5), backend(81), 11);
  EXPECT_EQ(table.find(1, address(5), 11, 100)->port, net::be16(81));
}

TEST(Affinity, TellsIpv6ClientsApart) {
  AffinityTable table(1000);
  const auto one = *net::Address::parse("fd00::1"), other = *net::Address::parse("fd01::1");
  table.set(1, one, {other, net::be16(1)}, 0);
  EXPECT_EQ(table.find(1, one, 0, 1)->address, other);
  EXPECT_FALSE(table.find(1, other, 0, 1));
}

TEST(Affinity, FullSetGivesUpItsOldest) {
  AffinityTable table(1);  // one set
  for (std::uint32_t n = 0; n < 8; ++n) table.set(1, address(n), backend(n), 100 + (n + 3) % 8);
  table.set(1, address(100), backend(9), 200);  // 5 is the oldest
  for (std::uint32_t n = 0; n < 8; ++n) {
    EXPECT_EQ(table.find(1, address(n), 200, 1000).has_value(), n != 5) << n;
  }
  EXPECT_TRUE(table.find(1, address(100), 200, 1000));
}

TEST(Affinity, HoldsAboutAsManyAsItWasMadeFor) {
  AffinityTable table(4096);
  for (std::uint32_t n = 0; n < 2048; ++n) table.set(1, address(n), backend(n), n);
  unsigned kept = 0;
  for (std::uint32_t n = 0; n < 2048; ++n) {
    const auto found = table.find(1, address(n), 2048, 10000);
    if (!found) continue;
    ++kept;
    EXPECT_EQ(found->address, backend(n).address);
  }
  EXPECT_GT(kept, 2000U);
}

}  // namespace
}  // namespace podwire::flow
