#include "dataplane/tables/rate_limit.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace podwire::tables {
namespace {

constexpr std::uint64_t kHz = 1'000'000'000, kNow = 5 * kHz;

TEST(RateLimit, PassesTheBucketAtOnceAndTheRateAfterwards) {
  RateLimit limit(8'000'000, 80'000, kHz);  // a byte in 1,000 cycles
  unsigned passed = 0;
  for (unsigned n = 0; n < 100; ++n) passed += limit.admit(1000, kNow) ? 1 : 0;
  EXPECT_EQ(passed, 10U);
  for (unsigned n = 1; n <= 100'000; ++n) passed += limit.admit(1000, kNow + n * 10'000) ? 1 : 0;
  EXPECT_EQ(passed, 1010U);
  // A bucket never holds more than its size.
  for (unsigned n = 0; n < 100; ++n) passed += limit.admit(1000, kNow + 60 * kHz) ? 1 : 0;
  EXPECT_EQ(passed, 1020U);
}

TEST(RateLimit, AFrameLargerThanTheBucketPassesWhenThatIsFullAndIsPaidFor) {
  RateLimit limit(8'000'000, 8'000, kHz);
  EXPECT_TRUE(limit.admit(10'000, kNow));
  EXPECT_FALSE(limit.admit(1, kNow + 8'999'000));
  EXPECT_TRUE(limit.admit(1000, kNow + 10'000'000));
}

TEST(RateLimit, ExtremesDoNotOverflow) {
  RateLimit slow(RateLimit::kLeastBits, std::uint64_t{1} << 36, 5 * kHz);
  EXPECT_TRUE(slow.admit(65'535, kNow));
  RateLimit fast(RateLimit::kMostBits, 8 * 65'535, kHz);
  EXPECT_TRUE(fast.admit(65'535, kNow));
  EXPECT_FALSE(fast.admit(65'535, kNow));
  EXPECT_TRUE(fast.admit(65'535, kNow + 1'000));
}

TEST(RateLimit, WorkersShareOneBucket) {
  RateLimit limit(8'000'000'000, 8'000'000, kHz);
  std::atomic<unsigned> passed{0};
  std::vector<std::thread> workers;
  for (unsigned w = 0; w < 4; ++w) {
    workers.emplace_back([&] {
      for (unsigned n = 0; n < 20'000; ++n) passed += limit.admit(1000, kNow) ? 1 : 0;
    });
  }
  for (auto& worker : workers) worker.join();
  EXPECT_EQ(passed.load(), 1000U);
}

}  // namespace
}  // namespace podwire::tables
