#include "control/apiserver/backoff.h"

#include <gtest/gtest.h>

#include <set>

namespace podwire::control::apiserver {
namespace {

using namespace std::chrono_literals;

TEST(Backoff, DoublesUpToItsLimitWithinTheUpperHalf) {
  std::mt19937_64 random(1);
  Backoff backoff(random);
  auto now = Backoff::Clock::time_point(1h);
  auto most = Backoff::kFirst;
  for (int i = 0; i < 12; ++i) {
    const auto time = backoff.next(now);
    EXPECT_GE(time, most / 2) << i;
    EXPECT_LE(time, most) << i;
    now += time;
    most = std::min(most * 2, Backoff::kMost);
  }
  EXPECT_EQ(most, Backoff::kMost);
}

TEST(Backoff, BeginsAnewAfterAQuietTime) {
  std::mt19937_64 random(1);
  Backoff backoff(random);
  auto now = Backoff::Clock::time_point(1h);
  for (int i = 0; i < 10; ++i) backoff.next(now);
  EXPECT_GE(backoff.next(now + 20s), Backoff::kMost / 2);  // the limit itself is no quiet time
  EXPECT_LE(backoff.next(now + 20s + 31s), Backoff::kFirst);
}

TEST(Backoff, IsNotTheSameForTwoNodes) {
  std::set<std::int64_t> times;
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937_64 random(seed);
    Backoff backoff(random);
    times.insert(backoff.next(Backoff::Clock::time_point(1h)).count());
  }
  EXPECT_GT(times.size(), 20U);
}

}  // namespace
}  // namespace podwire::control::apiserver
