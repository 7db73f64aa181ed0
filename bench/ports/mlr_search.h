// Multiple Loss Ratio search (RFC 9971): the highest loads at which a device loses no more than a
// goal's share, several goals in one search. Which loads are bounds, and what throughput is, follow
// the RFC's appendices A and B to the letter, so that results compare; which load is tried next is
// free there, and ours. Pure: the device is a function.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <vector>

namespace podwire::ports {

// Loads are packets a second of one direction. Durations in seconds.
struct Goal {
  double loss_ratio = 0;
  double exceed_ratio = 0.5;  // share of time in which a load may lose more and still hold
  double final_duration = 1;  // shorter trials only hint
  double duration_sum = 7;    // of trials of one load before it must be judged
  double initial_duration = 0.2;
  double width = 0.005;  // relative distance of the bounds at the end
};

enum class Bound { undecided, lower, upper };

// All trials so far.
class TrialResults {
 public:
  void add(double load, double seconds, double loss_ratio);
  [[nodiscard]] Bound classify(double load, const Goal& goal) const;
  // The smallest upper bound, and the largest lower bound below it.
  [[nodiscard]] std::optional<double> relevant_upper(const Goal& goal) const;
  [[nodiscard]] std::optional<double> relevant_lower(const Goal& goal) const;
  [[nodiscard]] double conditional_throughput(double load, const Goal& goal) const;
  [[nodiscard]] std::size_t count() const;

 private:
  struct Result {
    double seconds, loss_ratio;
  };
  std::map<double, std::vector<Result>> by_load_;
};

struct GoalResult {
  Goal goal;
  std::optional<double> lower, upper;
  double throughput = 0;  // conditional, at the lower bound
  // Regular: both bounds stand, no further apart than the width (or the largest load itself holds).
  bool regular = false;
};

struct SearchLimits {
  double least_load = 1000, largest_load = 1e6;
  double seconds = 600;  // of all trials; then the bounds are what they are
};

struct SearchResult {
  std::vector<GoalResult> goals;
  std::size_t trials = 0;
  double seconds = 0;
};

// Sends `load` packets a second for so many seconds and returns the loss ratio.
using Measurer = std::function<double(double load, double seconds)>;

SearchResult search(const SearchLimits& limits, std::span<const Goal> goals,
                    const Measurer& measure);

}  // namespace podwire::ports
