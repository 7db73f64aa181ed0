// How much a pod may send and receive: a token bucket of bits, as the generic cell rate algorithm
// (ITU-T I.371, Annex A) keeps one in a single word. Any number of workers, without a lock: what
// passes in any time t is at most burst + rate * t.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>

namespace podwire::tables {

class RateLimit {
 public:
  static constexpr std::uint64_t kLeastBits = 1000, kMostBits = 1'000'000'000'000;  // a second

  // Bits a second, from kLeastBits to kMostBits; the bucket, which is full at first, in bits, at
  // most 2^36. Time is the TSC's. A frame larger than the bucket passes when that is full, and is
  // paid for afterwards.
  RateLimit(std::uint64_t bits_per_second, std::uint64_t burst_bits,
            std::uint64_t cycles_per_second) noexcept
      : per_byte_(shifted_quotient(8 * cycles_per_second, bits_per_second)),
        tolerance_(static_cast<std::uint64_t>((burst_bits / 8 * Wide{per_byte_}) >> kShift)) {}

  // True: the frame passes and is paid for. `now` in cycles; it may lag behind another worker's.
  bool admit(std::uint32_t bytes, std::uint64_t now) noexcept {
    const std::uint64_t cost = cycles_for(bytes);
    std::uint64_t full_at = full_at_.load(std::memory_order_relaxed);
    for (;;) {
      const std::uint64_t from = std::max(full_at, now);
      if (from - now + cost > std::max(tolerance_, cost)) return false;
      if (full_at_.compare_exchange_weak(full_at, from + cost, std::memory_order_relaxed)) {
        return true;
      }
    }
  }

 private:
  __extension__ typedef unsigned __int128 Wide;
  static constexpr unsigned kShift = 16;  // of fractions of a cycle
  // Both round up: a limit is never exceeded for want of precision.
  static std::uint64_t shifted_quotient(std::uint64_t a, std::uint64_t b) noexcept {
    return static_cast<std::uint64_t>(((Wide{a} << kShift) + b - 1) / b);
  }
  [[nodiscard]] std::uint64_t cycles_for(std::uint32_t bytes) const noexcept {
    constexpr std::uint64_t kFraction = (std::uint64_t{1} << kShift) - 1;
    return static_cast<std::uint64_t>((bytes * Wide{per_byte_} + kFraction) >> kShift);
  }

  const std::uint64_t per_byte_;                       // cycles, shifted
  const std::uint64_t tolerance_;                      // cycles that the whole bucket is worth
  alignas(64) std::atomic<std::uint64_t> full_at_{0};  // when the bucket is full again
};

// Of one port. Shared by every snapshot for as long as the port's pod is attached, so that a
// change elsewhere fills no bucket; made by control, asked by workers. Null: no limit.
struct PortLimits {
  std::unique_ptr<RateLimit> to_pod, from_pod;
};

}  // namespace podwire::tables
