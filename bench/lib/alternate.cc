#include "bench/lib/alternate.h"

#include <algorithm>
#include <chrono>

#include "bench/lib/calibration.h"

namespace podwire::bench {
namespace {

struct Window {
  double cycles;       // per operation
  double calibration;  // the slower of the one before and the one after
};
using Series = std::vector<Window>;

Window measure(const Subject& subject) {
  subject.prepare();
  const double before = additions_per_cycle();
  const std::uint64_t start = now_cycles();
  const std::uint64_t operations = subject.run();
  const std::uint64_t end = now_cycles();
  return {static_cast<double>(end - start) / static_cast<double>(operations),
          std::min(before, additions_per_cycle())};
}

// The fastest calibration so far, of everything that this process has measured.
double& fastest() {
  static double best = [] {
    double most = 0;
    for (int i = 0; i < 20'000; ++i) most = std::max(most, additions_per_cycle());
    return most;
  }();
  return best;
}

std::size_t count_quiet(const Series& series) {
  const double least = fastest() * (1 - kTolerance);
  return static_cast<std::size_t>(std::count_if(
      series.begin(), series.end(), [&](const Window& w) { return w.calibration >= least; }));
}

Measured judge(Series series, const Windows& windows) {
  Measured out;
  out.noise.windows = series.size();
  out.noise.core = core_cycles_per_cycle();
  std::vector<double> calibrations;
  for (const auto& window : series) calibrations.push_back(window.calibration);
  out.noise.calibration = spread_of(std::move(calibrations));
  // Stable: among equally quiet windows the order says nothing about their cycles.
  std::stable_sort(series.begin(), series.end(),
                   [](const Window& a, const Window& b) { return a.calibration > b.calibration; });
  std::size_t taken = count_quiet(series);
  // A core that never does three additions a cycle has been shared all the time.
  const bool ever_alone = fastest() >= 3 * out.noise.core;
  out.noise.quiet = ever_alone && taken >= std::min<std::size_t>(windows.wanted, 41);
  if (!out.noise.quiet) taken = std::max<std::size_t>(series.size() / 3, 1);
  out.noise.accepted = taken;
  std::vector<double> cycles;
  for (std::size_t i = 0; i < taken; ++i) cycles.push_back(series[i].cycles);
  out.cycles = spread_of(std::move(cycles));
  return out;
}

}  // namespace

std::vector<Measured> alternate(std::span<const Subject> subjects, const Windows& windows) {
  std::vector<Series> series(subjects.size());
  (void)fastest();
  for (unsigned n = 0; n < windows.warm_up; ++n) {
    for (const auto& subject : subjects) (void)measure(subject);
  }
  const auto limit =
      std::chrono::steady_clock::now() + std::chrono::duration<double>(windows.seconds_max);
  const auto enough = [&] {
    return std::all_of(series.begin(), series.end(),
                       [&](const Series& s) { return count_quiet(s) >= windows.wanted; });
  };
  do {
    for (std::size_t s = 0; s < subjects.size(); ++s) {
      for (unsigned n = 0; n < kTurn; ++n) {
        const Window window = measure(subjects[s]);
        if (n < kTurnWarmUp) continue;
        series[s].push_back(window);
        fastest() = std::max(fastest(), window.calibration);
      }
    }
  } while (!enough() && std::chrono::steady_clock::now() < limit);
  std::vector<Measured> out;
  for (auto& each : series) out.push_back(judge(std::move(each), windows));
  return out;
}

Noise together(std::span<const Measured> results) {
  Noise all;
  for (const auto& result : results) {
    all.windows += result.noise.windows;
    all.accepted += result.noise.accepted;
    all.quiet = all.quiet && result.noise.quiet;
  }
  if (!results.empty()) {
    all.calibration = results.front().noise.calibration;
    all.core = results.front().noise.core;
  }
  return all;
}

}  // namespace podwire::bench
