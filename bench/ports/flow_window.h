// What has come of one flow in one direction: which of its packets, and in what order. As the
// anti-replay window of RFC 4303 section 3.4.3: the next sequence number and a bit for each of the
// 64 before it.
#pragma once

#include <cstdint>

namespace podwire::ports {

enum class Order : std::uint8_t {
  in_order,    // the next one, or one behind a gap
  reordered,   // a later one came first (RFC 4737 section 3)
  duplicated,  // came before
  stale,       // more than 64 behind: too late to say whether it came before
};

class FlowWindow {
 public:
  static constexpr std::uint32_t kBits = 64;

  [[nodiscard]] Order see(std::uint32_t sequence) noexcept {
    if (sequence >= next_) {
      const std::uint32_t ahead = sequence - next_;
      seen_ = ahead + 1 >= kBits ? 0 : seen_ << (ahead + 1);
      seen_ |= 1;  // bit n: sequence next_ - 1 - n
      next_ = sequence + 1;
      return Order::in_order;
    }
    const std::uint32_t behind = next_ - 1 - sequence;
    if (behind >= kBits) return Order::stale;
    const std::uint64_t bit = std::uint64_t{1} << behind;
    if ((seen_ & bit) != 0) return Order::duplicated;
    seen_ |= bit;
    return Order::reordered;
  }

 private:
  std::uint64_t seen_ = 0;
  std::uint32_t next_ = 0;
};

}  // namespace podwire::ports
