#include "bench/ports/pacer.h"

#include <gtest/gtest.h>

namespace podwire::ports {
namespace {

constexpr std::uint64_t kHz = 2'600'000'000;

std::uint64_t send_for(Pacer& pacer, std::uint64_t from, std::uint64_t cycles, std::uint64_t step) {
  std::uint64_t sent = 0;
  for (std::uint64_t now = from; now <= from + cycles; now += step) sent += pacer.take(now, 32);
  return sent;
}

TEST(Pacer, SendsExactlyTheRate) {
  for (const double rate : {1.0, 999.0, 123'456.789, 14'880'952.38}) {
    Pacer pacer(rate, kHz, 1000);
    const std::uint64_t start = 0xfff'ffff'ffffULL;  // a machine that has been up for long
    pacer.start(start);
    const std::uint64_t sent = send_for(pacer, start, kHz, 1300);
    EXPECT_NEAR(static_cast<double>(sent), rate, 1) << rate;
    EXPECT_EQ(pacer.skipped(), 0U);
  }
}

TEST(Pacer, DoesNotDriftOverAnHour) {
  Pacer pacer(1e6 / 3, kHz, 1U << 30U);
  pacer.start(0);
  std::uint64_t sent = 0;
  for (std::uint64_t second = 0; second <= 3600; ++second) {
    sent += pacer.take(second * kHz, 1U << 30U);
  }
  EXPECT_NEAR(static_cast<double>(sent), 3600 * 1e6 / 3, 1);
}

TEST(Pacer, SpacesPackets) {
  Pacer pacer(1e6, kHz, 1000);
  pacer.start(0);
  EXPECT_EQ(pacer.take(2599, 32), 0U);
  EXPECT_EQ(pacer.take(2600, 32), 1U);
  EXPECT_EQ(pacer.take(2601, 32), 0U);
  EXPECT_EQ(pacer.take(5200, 32), 1U);
}

TEST(Pacer, SkipsWhatIsBeyondTheBacklog) {
  Pacer pacer(1e6, kHz, 100);
  pacer.start(0);
  const std::uint64_t after_a_millisecond = kHz / 1000;
  EXPECT_EQ(pacer.take(after_a_millisecond, 32), 32U);
  EXPECT_EQ(pacer.skipped(), 900U);
  EXPECT_EQ(pacer.take(after_a_millisecond, 1000), 68U);
  EXPECT_EQ(pacer.take(after_a_millisecond, 1000), 0U);
  EXPECT_EQ(pacer.scheduled(after_a_millisecond), 1000U);
}

TEST(Pacer, TakesBackWhatCouldNotBeMade) {
  Pacer pacer(1e6, kHz, 100);
  pacer.start(0);
  EXPECT_EQ(pacer.take(26'000, 32), 10U);
  pacer.give_back(4);
  EXPECT_EQ(pacer.take(26'000, 32), 4U);
}

TEST(Pacer, WithoutRateIsAlwaysDue) {
  Pacer pacer(0, kHz, 100);
  pacer.start(0);
  EXPECT_EQ(pacer.take(1, 32), 32U);
  EXPECT_EQ(pacer.take(1, 32), 32U);
}

}  // namespace
}  // namespace podwire::ports
