// What workers tell control: one bounded ring per worker. A full ring drops and counts, never
// waits.
#pragma once

#include <cstdint>

#include "dataplane/net/address.h"
#include "dataplane/observe/counters.h"
#include "dataplane/packet.h"
#include "dataplane/spsc_ring.h"

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
    if (!events_.push(event)) lost_.add();
  }
  bool pop(Event& event) noexcept { return events_.pop(event); }
  [[nodiscard]] std::uint64_t lost() const noexcept { return lost_.read(); }

 private:
  SpscRing<Event, kSize> events_;
  Counter lost_;
};

}  // namespace podwire::observe
