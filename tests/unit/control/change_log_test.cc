#include "control/change_log.h"

#include <gtest/gtest.h>

#include "control/log.h"

namespace podwire::control {
namespace {

std::string said(ChangeLog& log, std::vector<std::string> problems, std::size_t added) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(log.tell(std::move(problems)), added);
  return testing::internal::GetCapturedStderr();
}

TEST(ChangeLog, SaysEachProblemOnceAndOnceMoreWhenItIsGone) {
  set_log_level(LogLevel::info);
  ChangeLog log;
  EXPECT_NE(said(log, {"a is wrong"}, 1).find("a is wrong"), std::string::npos);
  EXPECT_EQ(said(log, {"a is wrong"}, 0), "");
  const std::string second = said(log, {"a is wrong", "b is wrong"}, 1);
  EXPECT_EQ(second.find("a is wrong"), std::string::npos);
  EXPECT_NE(second.find("b is wrong"), std::string::npos);
  EXPECT_NE(said(log, {"b is wrong"}, 0).find("no longer so: a is wrong"), std::string::npos);
  EXPECT_EQ(log.now(), std::vector<std::string>{"b is wrong"});
}

}  // namespace
}  // namespace podwire::control
