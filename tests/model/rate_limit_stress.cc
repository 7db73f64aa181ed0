// A pod's bandwidth under many workers, each with its own idea of the time: what passes never
// exceeds the bucket and what flowed into it. Run it under ThreadSanitizer; what holds is exact,
// whatever the interleaving.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <random>
#include <thread>
#include <vector>

#include "dataplane/tables/rate_limit.h"

namespace podwire::tables {
namespace {

constexpr unsigned kWorkers = 16;
constexpr std::uint64_t kHz = 1'000'000'000;
constexpr std::uint64_t kCyclesAByte = 100, kBurst = 50'000;

TEST(RateLimitStress, WorkersTogetherNeverExceedIt) {
  RateLimit limit(8 * kHz / kCyclesAByte, 8 * kBurst, kHz);
  std::atomic<std::uint64_t> clock{kHz}, latest{kHz}, passed{0}, asked{0};
  const auto worker = [&](unsigned index) {
    std::minstd_rand random(index + 1);
    std::uint64_t mine = 0, wanted = 0;
    for (unsigned burst = 0; burst < 400; ++burst) {
      // Its own stamp, which is older than another's by the time that it asks.
      const std::uint64_t now = clock.fetch_add(1 + random() % 3000);
      for (unsigned i = 0; i < 32; ++i) {
        const auto bytes = static_cast<std::uint32_t>(60 + random() % 1455);
        wanted += bytes;
        if (limit.admit(bytes, now)) mine += bytes;
      }
      for (auto seen = latest.load(); seen < now && !latest.compare_exchange_weak(seen, now);) {
      }
    }
    passed += mine;
    asked += wanted;
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kWorkers; ++i) threads.emplace_back(worker, i);
  for (auto& thread : threads) thread.join();
  const std::uint64_t most = kBurst + (latest.load() - kHz) / kCyclesAByte;
  EXPECT_LE(passed.load(), most);
  // They wanted far more: nearly all that was allowed was used.
  ASSERT_GT(asked.load(), 4 * most);
  EXPECT_GT(passed.load(), most / 2);
}

}  // namespace
}  // namespace podwire::tables
