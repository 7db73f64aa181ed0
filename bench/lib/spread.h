// Median with the tenth and the ninetieth percentile: how every series of windows is told.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace podwire::bench {

struct Spread {
  double median = 0, p10 = 0, p90 = 0;
};

[[nodiscard]] inline Spread spread_of(std::vector<double> samples) {
  if (samples.empty()) return {};
  std::sort(samples.begin(), samples.end());
  const auto at = [&](double part) {
    return samples[static_cast<std::size_t>(part * static_cast<double>(samples.size() - 1) + 0.5)];
  };
  return {at(0.5), at(0.1), at(0.9)};
}

}  // namespace podwire::bench
