// What workers tell control: one bounded ring per worker. A full ring drops and counts, never
// waits.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "dataplane/net/address.h"
#include "dataplane/observe/counters.h"
#include "dataplane/packet.h"

namespace podwire::observe {

struct Event {
  enum class Kind : std::uint8_t {
    neighbour_wanted,  // `address` is on the uplink's link and its Ethernet address is not known
    policy_denied,     // source, destination, protocol, port; `policy` as in PolicyAnswer
  };
  Kind kind = Kind::neighbour_wanted;
  std::uint8_t protocol = 0;
  net::be16 port;
  std::uint32_t policy = 0;
  net::Address address, source;
};

// Single producer (its worker), single consumer (the control thread).
class EventRing {
 public:
  static constexpr unsigned kSize = 1024;

  void push(const Event& event) noexcept {
    const auto head = head_.load(std::memory_order_relaxed);
    if (head - tail_.load(std::memory_order_acquire) == kSize) {
      lost_.add();
      return;
    }
    events_[head % kSize] = event;
    head_.store(head + 1, std::memory_order_release);
  }
  bool pop(Event& event) noexcept {
    const auto tail = tail_.load(std::memory_order_relaxed);
    if (tail == head_.load(std::memory_order_acquire)) return false;
    event = events_[tail % kSize];
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }
  [[nodiscard]] std::uint64_t lost() const noexcept { return lost_.read(); }

 private:
  alignas(64) std::atomic<std::uint32_t> head_{0};
  alignas(64) std::atomic<std::uint32_t> tail_{0};
  Counter lost_;
  std::array<Event, kSize> events_;
};

}  // namespace podwire::observe
