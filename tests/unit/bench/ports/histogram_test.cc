#include "bench/ports/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <sstream>

namespace podwire::ports {
namespace {

std::uint64_t exact(const std::vector<std::uint64_t>& sorted, double percent) {
  const auto rank =
      static_cast<std::size_t>(std::ceil(percent / 100 * static_cast<double>(sorted.size())));
  return sorted[std::max<std::size_t>(rank, 1) - 1];
}

TEST(Histogram, KeepsThreeDigits) {
  std::mt19937_64 random(3);
  std::vector<std::uint64_t> values;
  Histogram histogram;
  for (int i = 0; i < 100'000; ++i) {
    const auto value = random() >> (28 + random() % 36);  // any magnitude up to the highest
    values.push_back(value);
    histogram.record(value);
  }
  std::sort(values.begin(), values.end());
  for (const double percent : {0.0, 1.0, 10.0, 50.0, 90.0, 99.0, 99.9, 99.99, 100.0}) {
    const auto wanted = static_cast<double>(exact(values, percent));
    const auto found = static_cast<double>(histogram.at_percentile(percent));
    EXPECT_GE(found, wanted) << percent;
    EXPECT_LE(found, wanted * 1.001 + 1) << percent;
  }
  EXPECT_EQ(histogram.max(), values.back());
  EXPECT_EQ(histogram.min(), values.front());
  EXPECT_EQ(histogram.total(), values.size());
}

TEST(Histogram, SmallValuesAreExact) {
  Histogram histogram;
  for (std::uint64_t value = 0; value < 2048; ++value) histogram.record(value);
  EXPECT_EQ(histogram.at_percentile(50), 1023U);
  EXPECT_EQ(histogram.at_percentile(100), 2047U);
}

TEST(Histogram, HighestTakesAllAbove) {
  Histogram histogram;
  histogram.record(UINT64_MAX);
  EXPECT_EQ(histogram.max(), (std::uint64_t{1} << Histogram::kBits) - 1);
  EXPECT_EQ(histogram.at_percentile(50), histogram.max());
}

TEST(Histogram, EmptyHasNoValues) {
  const Histogram histogram;
  EXPECT_EQ(histogram.at_percentile(99), 0U);
  EXPECT_EQ(histogram.mean(), 0);
}

TEST(Histogram, SumIsAsIfRecordedTogether) {
  Histogram one, two, both;
  for (std::uint64_t i = 1; i < 5000; ++i) {
    (i % 3 == 0 ? one : two).record(i * i);
    both.record(i * i);
  }
  one.add(two);
  for (const double percent : {10.0, 50.0, 99.9}) {
    EXPECT_EQ(one.at_percentile(percent), both.at_percentile(percent));
  }
  EXPECT_EQ(one.max(), both.max());
  EXPECT_NEAR(one.mean(), both.mean(), 1e-6);
}

// The table that HdrHistogram's tools read: rising values, percentiles and counts, then the totals.
TEST(Histogram, DistributionRisesToEverything) {
  Histogram histogram;
  for (std::uint64_t i = 1; i <= 100'000; ++i) histogram.record(i);
  std::ostringstream out;
  histogram.write_distribution(out, 1000);
  std::istringstream in(out.str());
  std::string line;
  std::getline(in, line);
  EXPECT_EQ(line, "       Value     Percentile TotalCount 1/(1-Percentile)");
  double last_value = -1, last_percentile = -1;
  unsigned lines = 0;
  while (std::getline(in, line) && (line.empty() || line[0] != '#')) {
    if (line.empty()) continue;
    double value = 0, percentile = 0;
    std::uint64_t count = 0;
    ASSERT_EQ(std::sscanf(line.c_str(), "%lf %lf %lu", &value, &percentile, &count), 3) << line;
    EXPECT_GT(value, last_value);
    EXPECT_GT(percentile, last_percentile);
    EXPECT_NEAR(percentile, static_cast<double>(count) / 100'000, 1e-9);
    EXPECT_NEAR(value, percentile * 100, 0.11);
    last_value = value;
    last_percentile = percentile;
    ++lines;
  }
  EXPECT_EQ(last_percentile, 1);
  EXPECT_GT(lines, 40U);
  EXPECT_LT(lines, 200U);
  EXPECT_NE(line.find("#[Mean    =       50.0"), std::string::npos) << line;
  EXPECT_NE(out.str().find("Total count    =       100000]"), std::string::npos);
}

}  // namespace
}  // namespace podwire::ports
