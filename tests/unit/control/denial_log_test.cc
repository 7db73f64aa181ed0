#include "control/denial_log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "control/log.h"

namespace podwire::control {
namespace {

class DenialLogTest : public testing::Test {
 protected:
  DenialLogTest() {
    policies.set_policy_names(std::make_shared<const std::vector<std::string>>(
        std::vector<std::string>{"none", "shop/web"}));
    set_log_level(LogLevel::info);
    kube::Pod pod;
    pod.meta.ns = "shop";
    pod.meta.name = "client";
    pod.ips = {*net::Address::parse("10.244.1.5")};
    store.pods["shop/client"] = pod;
    event.kind = observe::Event::Kind::policy_denied;
    event.protocol = 6;
    event.port = net::be16(8080);
    event.policy = 1;
    event.source = *net::Address::parse("10.244.1.5");
    event.address = *net::Address::parse("10.244.2.9");
  }
  std::string said(unsigned times) {
    testing::internal::CaptureStderr();
    for (unsigned i = 0; i < times; ++i) log.tell(policies, store, event);
    return testing::internal::GetCapturedStderr();
  }
  tables::PolicyTable policies;
  Store store;
  observe::Event event;
  DenialLog log;
};

TEST_F(DenialLogTest, NamesPolicyPodAndPort) {
  EXPECT_NE(said(1).find("policy shop/web refused TCP from 10.244.1.5 (shop/client) to 10.244.2.9 "
                         "port 8080"),
            std::string::npos);
}

TEST_F(DenialLogTest, WritesAFewLinesASecondAndThenHowManyMore) {
  const std::string text = said(DenialLog::kPerSecond + 7);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), DenialLog::kPerSecond);
  // When the second is over it says what was left out.
  std::string later;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (later.empty() && std::chrono::steady_clock::now() < end) {
    testing::internal::CaptureStderr();
    log.flush();
    later = testing::internal::GetCapturedStderr();
  }
  EXPECT_NE(later.find("policy refused 7 more flows"), std::string::npos) << later;
}

}  // namespace
}  // namespace podwire::control
