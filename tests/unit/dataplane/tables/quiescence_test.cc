#include "dataplane/tables/quiescence.h"

#include <gtest/gtest.h>

namespace podwire::tables {
namespace {

TEST(Quiescence, OfflineWorkersHoldNothingUp) {
  Quiescence q(3);
  EXPECT_TRUE(q.passed(q.begin()));
}

TEST(Quiescence, WaitsForEveryOnlineWorkersReport) {
  Quiescence q(3);
  q.online(0);
  q.online(2);
  const auto token = q.begin();
  EXPECT_FALSE(q.passed(token));
  q.report(0);
  EXPECT_FALSE(q.passed(token));
  q.report(2);
  EXPECT_TRUE(q.passed(token));
}

TEST(Quiescence, OneReportEndsAllThatBeganBeforeAndNothingAfter) {
  Quiescence q(1);
  q.online(0);
  const auto first = q.begin(), second = q.begin();
  q.report(0);
  const auto third = q.begin();
  EXPECT_TRUE(q.passed(second));
  EXPECT_TRUE(q.passed(first));
  EXPECT_FALSE(q.passed(third));
}

TEST(Quiescence, GoingOfflineIsAReport) {
  Quiescence q(1);
  q.online(0);
  const auto token = q.begin();
  EXPECT_FALSE(q.passed(token));
  q.offline(0);
  EXPECT_TRUE(q.passed(token));
}

TEST(Quiescence, WorkerThatComesOnlineLaterIsNotWaitedFor) {
  Quiescence q(2);
  const auto token = q.begin();
  q.online(1);
  EXPECT_TRUE(q.passed(token));
}

TEST(Quiescence, ControlReaderHoldsReuseUpWhileItLives) {
  Quiescence q(1);
  std::uint64_t token = 0;
  {
    const Quiescence::ControlReader reading(q);
    token = q.begin();
    EXPECT_FALSE(q.passed(token));
  }
  EXPECT_TRUE(q.passed(token));
}

}  // namespace
}  // namespace podwire::tables
