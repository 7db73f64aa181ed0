#include "control/apiserver/backoff.h"

#include <algorithm>

namespace podwire::control::apiserver {

std::chrono::milliseconds Backoff::next(Clock::time_point now) {
  if (now - last_ > 3 * kMost) next_ = kFirst;
  last_ = now;
  const auto most = next_.count();
  next_ = std::min(next_ * 2, kMost);
  return std::chrono::milliseconds(
      std::uniform_int_distribution<std::int64_t>(most / 2, most)(random_));
}

}  // namespace podwire::control::apiserver
