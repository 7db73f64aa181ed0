// Latencies as Gil Tene's HdrHistogram keeps them: counts in buckets that double in width, each cut
// into 2,048 parts of which the upper half is used, so that every value is kept within 0.1 %
// (three significant digits). Debian 12 has no C library of it.
#pragma once

#include <cstdint>
#include <ostream>
#include <vector>

namespace podwire::ports {

class Histogram {
 public:
  // Values above 2^kBits (69 s in nanoseconds) are kept as the highest.
  static constexpr unsigned kBits = 36, kPartBits = 11;
  static constexpr std::uint64_t kParts = 1U << kPartBits;

  Histogram() : counts_(index_of((std::uint64_t{1} << kBits) - 1) + 1) {}

  void record(std::uint64_t value) noexcept {
    constexpr std::uint64_t kMost = (std::uint64_t{1} << kBits) - 1;
    if (value > kMost) value = kMost;
    ++counts_[index_of(value)];
    ++total_;
    if (value > max_) max_ = value;
    if (value < min_) min_ = value;
  }
  void add(const Histogram& other);
  void clear();

  [[nodiscard]] std::uint64_t total() const { return total_; }
  [[nodiscard]] std::uint64_t max() const { return max_; }
  [[nodiscard]] std::uint64_t min() const { return total_ == 0 ? 0 : min_; }
  // The highest value that is the same as the one below which `percent` of all lie.
  [[nodiscard]] std::uint64_t at_percentile(double percent) const;
  [[nodiscard]] double mean() const;
  [[nodiscard]] double deviation() const;

  // HdrHistogram's percentile distribution, which its plotter takes; values are divided by `unit`.
  void write_distribution(std::ostream& out, double unit, unsigned ticks_per_half = 5) const;

 private:
  static constexpr std::size_t index_of(std::uint64_t value) noexcept {
    const unsigned width = 64U - static_cast<unsigned>(__builtin_clzll(value | (kParts - 1)));
    const unsigned shift = width - kPartBits;
    return (std::size_t{shift} << (kPartBits - 1)) + static_cast<std::size_t>(value >> shift);
  }
  [[nodiscard]] static std::uint64_t lowest_of(std::size_t index) noexcept;
  [[nodiscard]] static std::uint64_t highest_of(std::size_t index) noexcept;
  [[nodiscard]] static double middle_of(std::size_t index) noexcept {
    return (static_cast<double>(lowest_of(index)) + static_cast<double>(highest_of(index) + 1)) / 2;
  }

  std::vector<std::uint64_t> counts_;
  std::uint64_t total_ = 0, max_ = 0, min_ = UINT64_MAX;
};

}  // namespace podwire::ports
