#include "control/denial_counts.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/unit/control/fake_dataplane.h"

namespace podwire::control {
namespace {

class DenialCountsTest : public testing::Test {
 protected:
  DenialCountsTest() {
    dataplane.add_worker();
    dataplane.add_worker();
  }
  void name(std::vector<std::string> names) {
    policies.set_policy_names(std::make_shared<const std::vector<std::string>>(std::move(names)));
  }
  void refuse(std::size_t policy, std::uint64_t packets, unsigned worker = 0) {
    dataplane.worker_counters[worker]->policy_drops[policy].add(packets);
  }
  std::uint64_t count(const std::string& policy) {
    counts.gather(dataplane, policies);
    const auto found = counts.by_policy().find(policy);
    return found == counts.by_policy().end() ? 0 : found->second;
  }
  FakeDataplane dataplane;
  tables::PolicyTable policies;
  DenialCounts counts;
};

TEST_F(DenialCountsTest, SumsTheWorkersByName) {
  name({"none", "a/in", "a/out"});
  EXPECT_EQ(count("a/in"), 0U);
  EXPECT_TRUE(counts.by_policy().empty());
  refuse(1, 3, 0);
  refuse(1, 4, 1);
  refuse(2, 1);
  EXPECT_EQ(count("a/in"), 7U);
  EXPECT_EQ(count("a/out"), 1U);
  refuse(1, 1);
  EXPECT_EQ(count("a/in"), 8U);
}

TEST_F(DenialCountsTest, ANumberThatGetsAnotherNameKeepsWhatWasBefore) {
  name({"none", "a/old"});
  EXPECT_EQ(count("a/old"), 0U);
  refuse(1, 5);
  name({"none", "a/new"});
  EXPECT_EQ(count("a/old"), 5U);
  refuse(1, 2);
  EXPECT_EQ(count("a/new"), 2U);
  EXPECT_EQ(count("a/old"), 5U);
}

TEST_F(DenialCountsTest, HasABoundAndLosesNoPacket) {
  std::vector<std::string> names{"none"};
  for (unsigned round = 0; round < 3; ++round) {
    names.resize(1);
    for (unsigned n = 1; n < DenialCounts::kMost + 500; ++n) {
      names.push_back("ns" + std::to_string(round) + "/p" + std::to_string(n));
    }
    name(names);
    counts.gather(dataplane, policies);
    for (std::size_t n = 0; n <= DenialCounts::kMost; ++n) refuse(n, 1);
    counts.gather(dataplane, policies);
    EXPECT_LE(counts.by_policy().size(), DenialCounts::kMost + 1);
  }
  std::uint64_t sum = 0;
  for (const auto& [policy, packets] : counts.by_policy()) sum += packets;
  EXPECT_EQ(sum, 3 * (DenialCounts::kMost + 1));
  EXPECT_GE(count(DenialCounts::kOther), 1000U);
  EXPECT_EQ(count("ns2/p7"), 1U);
}

}  // namespace
}  // namespace podwire::control
