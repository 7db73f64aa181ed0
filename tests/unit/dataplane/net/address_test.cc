#include "dataplane/net/address.h"

#include <gtest/gtest.h>

namespace podwire::net {
namespace {

TEST(Address, RoundTripsBothFamilies) {
  for (const char* text : {"10.0.0.1", "255.255.255.255", "fd00::1", "::", "0.0.0.0", "::1"}) {
    const auto address = Address::parse(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->to_string(), text);
  }
}

TEST(Address, RefusesNonsense) {
  for (const char* text :
       {"", "10.0.0", "10.0.0.256", "1.2.3.4 ", "fd00:::1", "a.b.c.d", "010.0.0.1"}) {
    EXPECT_FALSE(Address::parse(text)) << text;
  }
}

TEST(Prefix, KeepsItsFamilyAtLengthZero) {
  EXPECT_EQ(Prefix::parse("0.0.0.0/0")->to_string(), "0.0.0.0/0");
  EXPECT_EQ(Prefix::parse("::/0")->to_string(), "::/0");
  EXPECT_FALSE(Prefix::parse("0.0.0.0/0")->contains(*Address::parse("fd00::1")));
  EXPECT_TRUE(Prefix::parse("0.0.0.0/0")->contains(*Address::parse("10.1.2.3")));
  EXPECT_FALSE(Prefix::parse("::/0")->contains(*Address::parse("10.1.2.3")));
}

TEST(Prefix, ClearsOrRefusesHostBits) {
  EXPECT_EQ(Prefix::parse("10.1.2.3/8")->to_string(), "10.0.0.0/8");
  EXPECT_FALSE(Prefix::parse("10.1.2.3/8", true));
  EXPECT_EQ(Prefix::parse("fd00::1/64")->to_string(), "fd00::/64");
  EXPECT_FALSE(Prefix::parse("10.0.0.0/33"));
  EXPECT_FALSE(Prefix::parse("10.0.0.0/-1"));
  EXPECT_FALSE(Prefix::parse("10.0.0.0/"));
}

TEST(Prefix, ContainsWhatItCovers) {
  const auto prefix = *Prefix::parse("10.244.1.0/26");
  EXPECT_TRUE(prefix.contains(*Address::parse("10.244.1.63")));
  EXPECT_FALSE(prefix.contains(*Address::parse("10.244.1.64")));
  EXPECT_TRUE(prefix.contains(*Prefix::parse("10.244.1.32/27")));
  EXPECT_FALSE(prefix.contains(*Prefix::parse("10.244.0.0/16")));
}

TEST(Mac, RoundTripsAndRefuses) {
  EXPECT_EQ(Mac::parse("02:00:5e:10:00:ff")->to_string(), "02:00:5e:10:00:ff");
  for (const char* text : {"", "02:00:5e:10:00", "02-00-5e-10-00-ff", "02:00:5e:10:00:fg"}) {
    EXPECT_FALSE(Mac::parse(text)) << text;
  }
}

}  // namespace
}  // namespace podwire::net
