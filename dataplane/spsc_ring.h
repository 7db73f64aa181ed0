// A bounded queue between two threads: one pushes, one pops, neither waits. Sizes are powers of
// two.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace podwire {

template <typename T, std::uint32_t kSize>
class SpscRing {
  static_assert((kSize & (kSize - 1)) == 0);

 public:
  // False when it is full.
  bool push(const T& item) noexcept {
    const auto head = head_.load(std::memory_order_relaxed);
    if (head - tail_.load(std::memory_order_acquire) == kSize) return false;
    items_[head % kSize] = item;
    head_.store(head + 1, std::memory_order_release);
    return true;
  }
  // False when it is empty.
  bool pop(T& item) noexcept {
    const auto tail = tail_.load(std::memory_order_relaxed);
    if (tail == head_.load(std::memory_order_acquire)) return false;
    item = items_[tail % kSize];
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }
  // For the popping thread.
  [[nodiscard]] bool empty() const noexcept {
    return tail_.load(std::memory_order_relaxed) == head_.load(std::memory_order_acquire);
  }

 private:
  alignas(64) std::atomic<std::uint32_t> head_{0};
  alignas(64) std::atomic<std::uint32_t> tail_{0};
  alignas(64) std::array<T, kSize> items_;
};

}  // namespace podwire
