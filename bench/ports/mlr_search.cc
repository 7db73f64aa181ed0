#include "bench/ports/mlr_search.h"

#include <algorithm>
#include <cmath>

namespace podwire::ports {
namespace {

// Coarser goals come first: each has the next one's width doubled, and shorter trials.
constexpr unsigned kStages = 3;

Goal at_stage(const Goal& goal, unsigned stage) {
  if (stage + 1 == kStages) return goal;
  Goal out = goal;
  const double done = static_cast<double>(stage) / (kStages - 1);
  out.final_duration =
      goal.initial_duration * std::pow(goal.final_duration / goal.initial_duration, done);
  out.duration_sum = out.final_duration;  // one trial judges
  out.width = goal.width * std::pow(2, kStages - 1 - stage);
  return out;
}

class Search {
 public:
  Search(const SearchLimits& limits, const Measurer& measure)
      : limits_(limits), measure_(measure) {}

  // The share that comes through at the largest load is the first guess for every goal.
  double first_guess(double seconds) {
    return limits_.largest_load * (1 - trial(limits_.largest_load, seconds));
  }

  // Tries loads until the goal's bounds are close. `hint` is where they are expected, and becomes
  // where they are.
  void narrow(const Goal& goal, double& hint) {
    double step = goal.width;
    Bound last = results_.classify(whole(hint), goal);
    while (!is_narrow(goal) && seconds_ < limits_.seconds) {
      const double load = next_load(goal, hint, last, step);
      if (results_.classify(load, goal) != Bound::undecided) return;  // no load lies between
      judge(load, goal);
      if (last != Bound::undecided) step *= 2;
      last = results_.classify(load, goal);
    }
    hint = results_.relevant_lower(goal).value_or(hint);
  }

  GoalResult result(const Goal& goal) const {
    GoalResult out{goal, results_.relevant_lower(goal), results_.relevant_upper(goal), 0, false};
    if (out.lower) out.throughput = results_.conditional_throughput(*out.lower, goal);
    out.regular = out.lower && is_narrow(goal);
    return out;
  }
  [[nodiscard]] std::size_t trials() const { return results_.count(); }
  [[nodiscard]] double seconds() const { return seconds_; }

 private:
  double trial(double load, double seconds) {
    const double loss = measure_(load, seconds);
    results_.add(load, seconds, loss);
    seconds_ += seconds;
    return loss;
  }

  void judge(double load, const Goal& goal) {
    while (results_.classify(load, goal) == Bound::undecided && seconds_ < limits_.seconds) {
      trial(load, goal.final_duration);
    }
  }

  [[nodiscard]] double whole(double load) const {
    return std::clamp(std::round(load), limits_.least_load, limits_.largest_load);
  }

  [[nodiscard]] bool is_narrow(const Goal& goal) const {
    const auto lower = results_.relevant_lower(goal), upper = results_.relevant_upper(goal);
    if (lower && *lower >= limits_.largest_load) return true;
    if (upper && *upper <= limits_.least_load) return true;
    return lower && upper && (*upper - *lower) / *upper <= goal.width;
  }

  // The hint first; then away from it in doubling steps, until the other bound is found; then
  // between the bounds.
  [[nodiscard]] double next_load(const Goal& goal, double hint, Bound last, double step) const {
    const double lower = results_.relevant_lower(goal).value_or(limits_.least_load);
    const double upper = results_.relevant_upper(goal).value_or(limits_.largest_load);
    const double guess = whole(hint);
    if (last == Bound::undecided && guess >= lower && guess <= upper &&
        results_.classify(guess, goal) == Bound::undecided) {
      return guess;
    }
    const double between = whole(std::sqrt(lower * upper));
    // A limit that was never judged is tried itself before what lies between.
    const bool ends_open = upper - lower <= 2 * goal.width * upper;
    if (ends_open && !results_.relevant_upper(goal)) return whole(upper);
    if (ends_open && !results_.relevant_lower(goal)) return whole(lower);
    if (last == Bound::lower) return std::min(between, whole(lower * (1 + step)));
    if (last == Bound::upper) return std::max(between, whole(upper * (1 - step)));
    return between;
  }

  const SearchLimits limits_;
  const Measurer& measure_;
  TrialResults results_;
  double seconds_ = 0;
};

}  // namespace

void TrialResults::add(double load, double seconds, double loss_ratio) {
  by_load_[load].push_back({seconds, loss_ratio});
}

// RFC 9971, "Load Classification Code".
Bound TrialResults::classify(double load, const Goal& goal) const {
  const auto found = by_load_.find(load);
  if (found == by_load_.end()) return Bound::undecided;
  double full_low = 0, full_high = 0, short_low = 0, short_high = 0;
  for (const Result& trial : found->second) {
    const bool full = trial.seconds >= goal.final_duration;
    const bool high = trial.loss_ratio > goal.loss_ratio;
    (full ? (high ? full_high : full_low) : (high ? short_high : short_low)) += trial.seconds;
  }
  const double balancing = short_low * goal.exceed_ratio / (1 - goal.exceed_ratio);
  const double effective_high = full_high + std::max(0.0, short_high - balancing);
  const double whole = std::max(full_low + effective_high, goal.duration_sum);
  const double allowed = whole * goal.exceed_ratio;
  if (effective_high > allowed) return Bound::upper;
  return whole - full_low <= allowed ? Bound::lower : Bound::undecided;
}

std::optional<double> TrialResults::relevant_upper(const Goal& goal) const {
  for (const auto& [load, trials] : by_load_) {
    if (classify(load, goal) == Bound::upper) return load;
  }
  return {};
}

std::optional<double> TrialResults::relevant_lower(const Goal& goal) const {
  std::optional<double> found;
  for (const auto& [load, trials] : by_load_) {
    const Bound bound = classify(load, goal);
    if (bound == Bound::upper) break;
    if (bound == Bound::lower) found = load;
  }
  return found;
}

// RFC 9971, "Conditional Throughput Code": of the full-length trials, the best ones that make up
// the share of time in which the goal must hold; the worst loss among them.
double TrialResults::conditional_throughput(double load, const Goal& goal) const {
  std::vector<Result> full;
  double sum = 0;
  if (const auto found = by_load_.find(load); found != by_load_.end()) {
    for (const Result& trial : found->second) {
      if (trial.seconds < goal.final_duration) continue;
      full.push_back(trial);
      sum += trial.seconds;
    }
  }
  std::sort(full.begin(), full.end(),
            [](const Result& a, const Result& b) { return a.loss_ratio < b.loss_ratio; });
  double remaining = sum * (1 - goal.exceed_ratio), loss = 1;
  for (const Result& trial : full) {
    if (remaining <= 0) break;
    loss = trial.loss_ratio;
    remaining -= trial.seconds;
  }
  return load * (1 - loss);
}

std::size_t TrialResults::count() const {
  std::size_t sum = 0;
  for (const auto& [load, trials] : by_load_) sum += trials.size();
  return sum;
}

SearchResult search(const SearchLimits& limits, std::span<const Goal> goals,
                    const Measurer& measure) {
  Search search(limits, measure);
  SearchResult out;
  if (goals.empty()) return out;
  std::vector<double> hints(goals.size(), search.first_guess(goals.front().initial_duration));
  // Smaller losses first: an upper bound found low makes everything above it moot (RFC 9971,
  // "Consequences").
  for (unsigned stage = 0; stage < kStages; ++stage) {
    for (std::size_t i = 0; i < goals.size(); ++i) {
      search.narrow(at_stage(goals[i], stage), hints[i]);
    }
  }
  for (const Goal& goal : goals) out.goals.push_back(search.result(goal));
  out.trials = search.trials();
  out.seconds = search.seconds();
  return out;
}

}  // namespace podwire::ports
