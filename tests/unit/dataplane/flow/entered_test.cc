#include "dataplane/flow/entered.h"

#include <gtest/gtest.h>

#include <random>

namespace podwire::flow {
namespace {

TEST(Entered, ForgetsNothingAndRemembersLittleElse) {
  std::mt19937 random(1);
  Entered entered;
  unsigned wrong = 0;
  constexpr unsigned kRounds = 100, kKeys = 128;  // both directions of a burst of new flows
  for (unsigned round = 0; round < kRounds; ++round) {
    std::array<std::uint32_t, kKeys> hashes;
    for (auto& hash : hashes) entered.add(hash = random());
    for (const auto hash : hashes) EXPECT_TRUE(entered.may_have(hash));
    for (unsigned n = 0; n < 1000; ++n) wrong += entered.may_have(random()) ? 1U : 0U;
    entered.clear();
    for (const auto hash : hashes) EXPECT_FALSE(entered.may_have(hash));
  }
  EXPECT_LT(wrong, kRounds * 1000 / 8);
}

}  // namespace
}  // namespace podwire::flow
