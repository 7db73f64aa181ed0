// Random histories of a small cluster: what comes, changes and goes, out of few names, labels,
// addresses and ports, so that things meet. A history is data: any part of it is one too, which is
// how a failing one is made short.
#pragma once

#include <functional>
#include <random>
#include <string>
#include <vector>

#include "tests/policy/evaluator.h"
#include "tests/unit/control/build/cluster.h"

namespace podwire::tests {

struct Step {
  std::string what;
  std::function<void(control::build::Cluster&)> apply;
  bool build = false;  // the builder runs after it
};
using History = std::vector<Step>;

History random_history(std::uint64_t seed);

// What is asked: pairs with one end on this node, and some ports of each protocol.
std::vector<Question> all_questions();

// Empty, or what differs at the end of the history: the table that came about step by step, one
// built from the final objects at once, and the evaluator. Also an answer that changed on the way
// under one policy generation, by which flows are judged again.
std::string difference(const History& history);

// The shortest part that still differs, by leaving out steps.
History shortened(History history);
std::string to_string(const History& history);

}  // namespace podwire::tests
