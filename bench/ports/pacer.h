// When packets are due. Time is the TSC; the schedule is exact over any length, since what is due
// is computed from the start and never added up.
#pragma once

#include <algorithm>
#include <cstdint>

namespace podwire::ports {

class Pacer {
 public:
  // `packets_per_second` 0: as fast as possible. `backlog`: packets that a late sender may make up
  // for at once; more are skipped and counted, since a burst of them would measure the device's
  // queue and not its rate.
  Pacer(double packets_per_second, std::uint64_t tsc_hz, std::uint32_t backlog)
      : packets_per_cycle_(packets_per_second / static_cast<double>(tsc_hz)), backlog_(backlog) {}

  void start(std::uint64_t now) noexcept {
    start_ = now;
    taken_ = skipped_ = 0;
  }
  // Packets that may be sent now, `most` at most. They count as sent unless returned.
  [[nodiscard]] std::uint32_t take(std::uint64_t now, std::uint32_t most) noexcept {
    if (packets_per_cycle_ == 0) {
      taken_ += most;
      return most;
    }
    const std::uint64_t open = scheduled(now) - taken_ - skipped_;
    if (open > backlog_) skipped_ += open - backlog_;
    const auto now_due =
        static_cast<std::uint32_t>(std::min({open, backlog_, std::uint64_t{most}}));
    taken_ += now_due;
    return now_due;
  }
  void give_back(std::uint32_t packets) noexcept { taken_ -= packets; }

  // Packets that the schedule has had until `now`, sent or not.
  [[nodiscard]] std::uint64_t scheduled(std::uint64_t now) const noexcept {
    return static_cast<std::uint64_t>(static_cast<double>(now - start_) * packets_per_cycle_);
  }
  [[nodiscard]] std::uint64_t skipped() const noexcept { return skipped_; }

 private:
  double packets_per_cycle_;
  std::uint64_t backlog_;
  std::uint64_t start_ = 0, taken_ = 0, skipped_ = 0;
};

}  // namespace podwire::ports
