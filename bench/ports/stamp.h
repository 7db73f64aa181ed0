// What every test packet's payload begins with: whose packet it is, its number in its flow, and
// when it left. Written and read by this program alone, so in the machine's byte order.
#pragma once

#include <cstdint>

namespace podwire::ports {

struct [[gnu::packed]] Stamp {
  static constexpr std::uint8_t kMark = 0xb5;

  std::uint8_t mark = kMark;
  // Of the trial, so that what an earlier trial left in the device is not counted in this one;
  // the highest bit is set in replies (direction two).
  std::uint8_t trial = 0;
  std::uint32_t flow = 0;
  std::uint32_t sequence = 0;  // within the flow and direction, from 0
  std::uint64_t sent_at = 0;   // TSC

  static constexpr std::uint8_t kReply = 0x80;
};
// 18 bytes are what a 64-byte UDP frame over IPv4 has room for.
static_assert(sizeof(Stamp) == 18);

}  // namespace podwire::ports
