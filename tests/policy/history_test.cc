// Order does not matter: whatever the history, its end is judged as the API says. Runs a few
// thousand histories; HISTORIES=n and SEED=n in the environment run others, and more.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/policy/history.h"

namespace podwire::tests {
namespace {

std::uint64_t number_in(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

TEST(Histories, EndAsTheApiSaysWhateverTheirOrder) {
  const std::uint64_t first = number_in("SEED", 1), count = number_in("HISTORIES", 5000);
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    const History history = random_history(seed);
    const std::string found = difference(history);
    if (found.empty()) continue;
    const History small = shortened(history);
    FAIL() << "SEED=" << seed << " HISTORIES=1: " << found << "\nshortened to " << small.size()
           << " steps, where " << difference(small) << "\n"
           << to_string(small);
  }
}

// Both answers are common, or nothing would be shown by their being the same.
TEST(Histories, AskWhatIsAllowedAndWhatIsNot) {
  std::size_t allowed = 0, denied = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    control::build::Cluster cluster;
    for (const Step& step : random_history(seed)) step.apply(cluster);
    const auto& table = *cluster.build().policies;
    for (const Question& q : all_questions()) {
      const auto answer =
          table.judge({q.source, q.destination, net::be16(q.port), q.protocol, q.from_own_node});
      ++(answer.allowed ? allowed : denied);
    }
  }
  EXPECT_GT(allowed, denied / 10);
  EXPECT_GT(denied, allowed / 10);
}

}  // namespace
}  // namespace podwire::tests
