// Measures subjects against each other in short windows that take turns, A A A B B B A A A ..., so
// that a busy machine harms all alike; and keeps the windows in which the machine was quiet.
//
// A window is quiet when the calibration just before and just after it is within kTolerance of the
// fastest one that this process has seen. Where too few windows are, the quietest third of them is
// taken, and the result says so.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "bench/lib/spread.h"

namespace podwire::bench {

struct Subject {
  // Makes ready what the next window needs. Not timed.
  std::function<void()> prepare;
  // One window, 200 to 2,000 operations. Returns how many they were.
  std::function<std::uint64_t()> run;
};

struct Noise {
  std::uint64_t windows = 0, accepted = 0;
  bool quiet = true;   // false: the quietest third was taken
  Spread calibration;  // additions per TSC cycle, of all windows
  double core = 0;     // core cycles per TSC cycle

  [[nodiscard]] double share() const {
    return windows == 0 ? 0 : static_cast<double>(accepted) / static_cast<double>(windows);
  }
};

struct Measured {
  Spread cycles;  // TSC cycles per operation
  Noise noise;
};

struct Windows {
  unsigned wanted = 201;      // quiet windows of each subject
  unsigned warm_up = 64;      // windows of each subject that are not counted
  double seconds_max = 20.0;  // then what there is must do
};

inline constexpr double kTolerance = 0.08;
// A turn is this many windows, the first of which, in which a subject's memory comes back to the
// caches, do not count.
inline constexpr unsigned kTurn = 8, kTurnWarmUp = 2;

[[nodiscard]] std::vector<Measured> alternate(std::span<const Subject> subjects,
                                              const Windows& windows);

// What several results of one measurement have in common, for its record.
[[nodiscard]] Noise together(std::span<const Measured> results);

}  // namespace podwire::bench
