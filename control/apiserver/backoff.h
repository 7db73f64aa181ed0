// How long to wait before the next try: doubled each time up to a limit, and drawn at random from
// the upper half, so that the nodes of a cluster do not come back all at once. Control thread only.
#pragma once

#include <chrono>
#include <random>

namespace podwire::control::apiserver {

class Backoff {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kFirst{250};
  // What a node waits at most after the server is back (users-and-operators.md R2).
  static constexpr std::chrono::milliseconds kMost{10'000};

  explicit Backoff(std::mt19937_64& random) : random_(random) {}

  // A try that comes long after the last one failed begins anew.
  std::chrono::milliseconds next(Clock::time_point now);
  // What is waited for now is another thing than before.
  void begin_anew() { next_ = kFirst; }

 private:
  std::mt19937_64& random_;
  std::chrono::milliseconds next_ = kFirst;
  Clock::time_point last_{};
};

}  // namespace podwire::control::apiserver
