// The kernel's side of a tap port: making, finding and ending the device (Linux
// Documentation/networking/tuntap.rst). Control thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/net/address.h"
#include "dataplane/result.h"

namespace podwire::io {

// The largest frame a sender may leave unsegmented, in bytes of its IP packet: with an IPIP header
// in front it still fits a 16-bit length, and with its Ethernet header a first and a large buffer.
inline constexpr unsigned kMaxSuperFrame = 61440;

struct TapSpec {
  std::string netns;      // path; empty: the caller's own
  std::string interface;  // 1 to 15 characters
  net::Mac mac;
  std::uint16_t mtu = 1500;
  bool persistent = true;  // survives its queues; opened again under the same name
  unsigned queues = 1;
};

// Makes the device (down, for whoever gives it addresses to bring up), or attaches to the
// persistent one of that name, and returns one non-blocking descriptor per queue. A device of
// another kind under that name, or one whose queues are held by another process, is refused.
Result<std::vector<int>> open_tap_device(const TapSpec& spec);

// Ends a persistent device. Not finding it, or its namespace, is success.
Result<void> remove_tap_device(const std::string& netns, const std::string& interface);

}  // namespace podwire::io
