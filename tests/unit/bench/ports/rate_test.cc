#include "bench/ports/rate.h"

#include <gtest/gtest.h>

namespace podwire::ports {
namespace {

double pps(const std::string& text, double size, double link) {
  return parse_rate(text).value().packets_per_second(size, link).value();
}

TEST(Rate, ReadsEveryUnit) {
  EXPECT_EQ(pps("max", 64, 0), 0);
  EXPECT_DOUBLE_EQ(pps("2.5", 64, 0), 2.5e6);
  EXPECT_DOUBLE_EQ(pps("2.5Mpps", 64, 0), 2.5e6);
  EXPECT_DOUBLE_EQ(pps("300kpps", 64, 0), 3e5);
  EXPECT_DOUBLE_EQ(pps("7pps", 64, 0), 7);
  EXPECT_DOUBLE_EQ(pps("8Gbit/s", 1000, 0), 1e6);
  EXPECT_DOUBLE_EQ(pps("512Mbit/s", 64, 0), 1e6);
}

// The figure every datasheet has: 10 Gbit/s are 14.88 Mpps of 64 bytes.
TEST(Rate, PercentIsOfWhatTheLinkCarries) {
  EXPECT_NEAR(pps("100%", 64, 1e10), 14'880'952, 1);
  EXPECT_NEAR(pps("50%", 1518, 1e11), 8'127'438 / 2.0, 1);
}

TEST(Rate, RefusesWithASentence) {
  for (const char* text : {"", "fast", "-1", "0", "1Mpp", "1 Mpps", "nan", "inf", "1e400"}) {
    const auto rate = parse_rate(text);
    ASSERT_FALSE(rate) << text;
    EXPECT_NE(rate.error().message.find("--rate"), std::string::npos);
  }
  EXPECT_FALSE(parse_rate("10%").value().packets_per_second(64, 0));
}

}  // namespace
}  // namespace podwire::ports
