#include "bench/ports/segment.h"

namespace podwire::ports {

Segment segment_of_step(unsigned step, std::uint32_t payload) noexcept {
  using net::Tcp;
  constexpr std::uint8_t kFlags[kStepsOfConnection] = {Tcp::syn,
                                                       Tcp::syn | Tcp::ack,
                                                       Tcp::psh | Tcp::ack,
                                                       Tcp::psh | Tcp::ack,
                                                       Tcp::fin | Tcp::ack,
                                                       Tcp::fin | Tcp::ack,
                                                       Tcp::ack};
  // What either end has sent before this step: its payloads, and one each for SYN and FIN.
  std::uint32_t sent[2] = {0, 0};
  for (unsigned past = 0; past < step; ++past) {
    sent[past % 2] += payload + ((kFlags[past] & (Tcp::syn | Tcp::fin)) != 0 ? 1 : 0);
  }
  return {kFlags[step], sent[step % 2], step == 0 ? 0 : sent[(step + 1) % 2]};
}

}  // namespace podwire::ports
