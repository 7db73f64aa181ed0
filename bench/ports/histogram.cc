#include "bench/ports/histogram.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace podwire::ports {

void Histogram::add(const Histogram& other) {
  for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
  total_ += other.total_;
  max_ = std::max(max_, other.max_);
  min_ = std::min(min_, other.min_);
}

void Histogram::clear() {
  std::fill(counts_.begin(), counts_.end(), 0);
  total_ = max_ = 0;
  min_ = UINT64_MAX;
}

std::uint64_t Histogram::lowest_of(std::size_t index) noexcept {
  constexpr std::size_t kHalf = kParts / 2;
  if (index < kParts) return index;
  const std::size_t shift = index / kHalf - 1;
  return static_cast<std::uint64_t>(index - shift * kHalf) << shift;
}

std::uint64_t Histogram::highest_of(std::size_t index) noexcept {
  return lowest_of(index + 1) - 1;
}

std::uint64_t Histogram::at_percentile(double percent) const {
  const double share = std::min(percent, 100.0) / 100 * static_cast<double>(total_);
  const auto wanted = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(std::ceil(share)));
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    sum += counts_[i];
    if (sum >= wanted) return std::min(highest_of(i), max_);
  }
  return max_;
}

double Histogram::mean() const {
  if (total_ == 0) return 0;
  double sum = 0;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    if (counts_[i] != 0) sum += middle_of(i) * static_cast<double>(counts_[i]);
  }
  return sum / static_cast<double>(total_);
}

double Histogram::deviation() const {
  if (total_ == 0) return 0;
  const double middle = mean();
  double sum = 0;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    if (counts_[i] == 0) continue;
    const double off = middle_of(i) - middle;
    sum += off * off * static_cast<double>(counts_[i]);
  }
  return std::sqrt(sum / static_cast<double>(total_));
}

void Histogram::write_distribution(std::ostream& out, double unit, unsigned ticks_per_half) const {
  char line[128];
  const auto put = [&](const char* format, auto... values) {
    std::snprintf(line, sizeof line, format, values...);
    out << line;
  };
  put("%12s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
  std::uint64_t sum = 0;
  double next = 0;  // percentile from which on the next line is due
  for (std::size_t i = 0; i < counts_.size() && total_ > 0; ++i) {
    if (counts_[i] == 0) continue;
    sum += counts_[i];
    const double reached = 100.0 * static_cast<double>(sum) / static_cast<double>(total_);
    if (reached < next && sum < total_) continue;
    const double value = static_cast<double>(std::min(highest_of(i), max_)) / unit;
    if (sum == total_) {
      put("%12.3f %14.12f %10lu\n", value, 1.0, sum);
      break;
    }
    put("%12.3f %14.12f %10lu %14.2f\n", value, reached / 100, sum, 100 / (100 - reached));
    // Each halving of what is left above gets as many lines as the one before.
    while (next <= reached) {
      const double halvings = std::floor(std::log2(100 / (100 - next))) + 1;
      next += 100 / (std::pow(2, halvings) * ticks_per_half);
    }
  }
  put("#[Mean    = %12.3f, StdDeviation   = %12.3f]\n", mean() / unit, deviation() / unit);
  put("#[Max     = %12.3f, Total count    = %12lu]\n", static_cast<double>(max_) / unit, total_);
  put("#[Buckets = %12u, SubBuckets     = %12lu]\n", kBits - kPartBits + 1, kParts);
}

}  // namespace podwire::ports
