#include "bench/ports/mlr_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace podwire::ports {
namespace {

constexpr double kCapacity = 3'456'789;

Goal goal(double loss_ratio) {
  Goal out;
  out.loss_ratio = loss_ratio;
  return out;
}
const std::vector<Goal> kNdrAndPdr{goal(0), goal(0.005)};
const SearchLimits kLimits{.least_load = 1000, .largest_load = 20e6, .seconds = 1000};

// Forwards `capacity` packets a second and loses the rest.
double beyond(double capacity, double load) {
  return std::max(0.0, 1 - capacity / load);
}

// ---- what a load is: RFC 9971, "Load Classification Logic" ----

TEST(TrialResults, OneTrialOfFullLengthIsNotEnough) {
  TrialResults results;
  results.add(100, 1, 0);
  EXPECT_EQ(results.classify(100, goal(0)), Bound::undecided);
  EXPECT_EQ(results.classify(200, goal(0)), Bound::undecided);
}

TEST(TrialResults, MoreThanHalfOfTheTimeDecides) {
  TrialResults good, bad;
  for (int i = 0; i < 3; ++i) {
    good.add(100, 1, 0);
    bad.add(100, 1, 0.1);
  }
  EXPECT_EQ(good.classify(100, goal(0)), Bound::undecided);  // the other four may still be bad
  EXPECT_EQ(bad.classify(100, goal(0)), Bound::undecided);
  good.add(100, 1, 0);
  bad.add(100, 1, 0.1);
  EXPECT_EQ(good.classify(100, goal(0)), Bound::lower);
  EXPECT_EQ(bad.classify(100, goal(0)), Bound::upper);
  for (int i = 0; i < 3; ++i) good.add(100, 1, 0.1);  // three of seven seconds are allowed
  EXPECT_EQ(good.classify(100, goal(0)), Bound::lower);
  good.add(100, 1, 0.1);  // half is
  EXPECT_EQ(good.classify(100, goal(0)), Bound::lower);
  good.add(100, 1, 0.1);  // more is not
  EXPECT_EQ(good.classify(100, goal(0)), Bound::upper);
}

TEST(TrialResults, LossUpToTheGoalIsLow) {
  TrialResults results;
  for (int i = 0; i < 4; ++i) results.add(100, 1, 0.005);
  EXPECT_EQ(results.classify(100, goal(0.005)), Bound::lower);
  EXPECT_EQ(results.classify(100, goal(0.0049)), Bound::upper);
}

TEST(TrialResults, ShortTrialsAloneMakeNoLowerBound) {
  TrialResults results;
  for (int i = 0; i < 1000; ++i) results.add(100, 0.2, 0);
  EXPECT_EQ(results.classify(100, goal(0)), Bound::undecided);
}

TEST(TrialResults, ShortLossIsBalancedByShortGain) {
  TrialResults balanced, excess;
  for (int i = 0; i < 30; ++i) {
    balanced.add(100, 0.2, 0);
    balanced.add(100, 0.2, 0.1);
    excess.add(100, 0.2, 0.1);
  }
  EXPECT_EQ(balanced.classify(100, goal(0)), Bound::undecided);
  EXPECT_EQ(excess.classify(100, goal(0)), Bound::upper);
}

// Whatever came, the sum of full-length trials decides at the latest.
TEST(TrialResults, DurationSumAlwaysDecides) {
  std::mt19937 random(1);
  for (int run = 0; run < 1000; ++run) {
    TrialResults results;
    for (unsigned i = random() % 20; i > 0; --i) results.add(100, 0.2, random() % 2);
    for (int i = 0; i < 7; ++i) results.add(100, 1, random() % 2);
    EXPECT_NE(results.classify(100, goal(0)), Bound::undecided);
  }
}

TEST(TrialResults, LowerBoundIsBelowTheLeastUpperBound) {
  TrialResults results;
  for (int i = 0; i < 4; ++i) {
    results.add(100, 1, 0);
    results.add(200, 1, 0.1);  // an upper bound below a load that held: loss inversion
    results.add(300, 1, 0);
    results.add(400, 1, 0.1);
  }
  EXPECT_EQ(results.relevant_lower(goal(0)), 100);
  EXPECT_EQ(results.relevant_upper(goal(0)), 200);
}

TEST(TrialResults, ThroughputIsOfTheMedianTrial) {
  TrialResults results;
  for (const double loss : {0.004, 0.001, 0.5, 0.002, 0.003}) results.add(1000, 1, loss);
  results.add(1000, 0.2, 0.9);  // too short to count
  // The best 2.5 of 5 seconds end in the third best.
  EXPECT_DOUBLE_EQ(results.conditional_throughput(1000, goal(0.005)), 1000 * (1 - 0.003));
  EXPECT_EQ(results.conditional_throughput(2000, goal(0.005)), 0);
}

// ---- the search ----

TEST(MlrSearch, FindsACleanDevicesCapacity) {
  const auto found =
      search(kLimits, kNdrAndPdr, [](double load, double) { return beyond(kCapacity, load); });
  const GoalResult &ndr = found.goals[0], &pdr = found.goals[1];
  for (const auto& result : found.goals) {
    ASSERT_TRUE(result.regular);
    EXPECT_LE((*result.upper - *result.lower) / *result.upper, result.goal.width);
    EXPECT_NEAR(result.throughput, kCapacity, kCapacity * 0.006);
  }
  EXPECT_LE(*ndr.lower, kCapacity);
  EXPECT_GT(*ndr.upper, kCapacity);
  EXPECT_LE(*pdr.lower, kCapacity / 0.995 + 1);
  EXPECT_GT(*pdr.upper, kCapacity / 0.995 - 1);
  EXPECT_LT(found.seconds, 60);
}

// Wherever the capacity lies, limits included, the search ends and is right.
TEST(MlrSearch, EndsForEveryCapacity) {
  for (double capacity = 1500; capacity < 20e6; capacity *= 1.37) {
    const auto found =
        search(kLimits, kNdrAndPdr, [&](double load, double) { return beyond(capacity, load); });
    for (const auto& result : found.goals) {
      ASSERT_TRUE(result.regular) << capacity;
      EXPECT_NEAR(result.throughput, capacity, capacity * 0.006 + 1);
    }
    EXPECT_LT(found.seconds, 90) << capacity;
  }
}

TEST(MlrSearch, TakesTheLargestLoadThatHolds) {
  const auto found = search(kLimits, kNdrAndPdr, [](double, double) { return 0.0; });
  for (const auto& result : found.goals) {
    EXPECT_TRUE(result.regular);
    EXPECT_EQ(result.lower, kLimits.largest_load);
    EXPECT_FALSE(result.upper);
    EXPECT_EQ(result.throughput, kLimits.largest_load);
  }
}

TEST(MlrSearch, SaysWhenNothingHolds) {
  const auto found = search(kLimits, kNdrAndPdr, [](double, double) { return 1.0; });
  for (const auto& result : found.goals) {
    EXPECT_FALSE(result.regular);
    EXPECT_FALSE(result.lower);
    EXPECT_EQ(result.throughput, 0);
    EXPECT_EQ(result.upper, kLimits.least_load);
  }
}

// A device that loses one of a thousand at any load has no NDR, but a PDR.
TEST(MlrSearch, LossyDeviceHasOnlyPdr) {
  const auto found = search(kLimits, kNdrAndPdr, [](double load, double) {
    return std::max(0.001, beyond(kCapacity, load));
  });
  EXPECT_FALSE(found.goals[0].lower);
  EXPECT_EQ(found.goals[0].throughput, 0);
  ASSERT_TRUE(found.goals[1].regular);
  EXPECT_NEAR(found.goals[1].throughput, kCapacity, kCapacity * 0.006);
}

// One trial of five is disturbed: that is what the exceed ratio is for.
TEST(MlrSearch, RareDisturbanceDoesNotMoveTheResult) {
  unsigned close = 0;
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    const auto found = search(kLimits, kNdrAndPdr, [&](double load, double) {
      const double disturbed = random() % 5 == 0 ? 0.02 : 0;
      return std::max(disturbed, beyond(kCapacity, load));
    });
    close += std::abs(found.goals[0].throughput - kCapacity) < kCapacity * 0.02 &&
             std::abs(found.goals[1].throughput - kCapacity) < kCapacity * 0.02;
  }
  EXPECT_GE(close, 40U);
}

// The capacity itself varies by 5 %: NDR lies in its range, and results are ordered.
TEST(MlrSearch, NoisyCapacityGivesABoundInItsRange) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<double> capacity(kCapacity * 0.95, kCapacity);
    const auto found = search(kLimits, kNdrAndPdr,
                              [&](double load, double) { return beyond(capacity(random), load); });
    EXPECT_GE(found.goals[0].throughput, kCapacity * 0.90);
    EXPECT_LE(found.goals[1].throughput, kCapacity);
    EXPECT_LE(*found.goals[0].lower, *found.goals[1].upper);
    EXPECT_LT(found.seconds, 300);
  }
}

TEST(MlrSearch, KeepsToItsTimeAndLimits) {
  SearchLimits limits = kLimits;
  limits.seconds = 10;
  std::mt19937 random(5);
  double seconds = 0;
  const auto found = search(limits, kNdrAndPdr, [&](double load, double duration) {
    EXPECT_GE(load, limits.least_load);
    EXPECT_LE(load, limits.largest_load);
    EXPECT_EQ(load, std::round(load));
    seconds += duration;
    return random() % 2 == 0 ? 0.0 : 0.5;
  });
  EXPECT_LE(seconds, limits.seconds + 1);
  EXPECT_EQ(found.seconds, seconds);
}

TEST(MlrSearch, ShortTrialsComeFirst) {
  std::vector<double> durations;
  (void)search(kLimits, kNdrAndPdr, [&](double load, double duration) {
    durations.push_back(duration);
    return beyond(kCapacity, load);
  });
  EXPECT_TRUE(std::is_sorted(durations.begin(), durations.end()));
  EXPECT_EQ(durations.front(), Goal{}.initial_duration);
  EXPECT_EQ(durations.back(), Goal{}.final_duration);
}

}  // namespace
}  // namespace podwire::ports
