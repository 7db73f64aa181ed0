// The packet that an ICMP error quotes (RFC 792, RFC 4443 section 2.4): where its headers are and
// which flow it belongs to. At least 8 bytes of its transport header are needed.
#pragma once

#include <cstdint>
#include <optional>

#include "dataplane/flow/flow_key.h"
#include "dataplane/packet.h"

namespace podwire::stages {

struct Quote {
  std::uint8_t* l3 = nullptr;  // inside the error's own buffer
  std::uint8_t* l4 = nullptr;
  unsigned l4_size = 0;  // bytes of the transport header and payload that are quoted; at least 8
  std::uint8_t protocol = 0;
  net::be16 source_port, destination_port;  // as Packet has them

  // The quoted packet's own key.
  template <typename F>
  [[nodiscard]] typename F::Key key() const noexcept;
};

// Of an ICMP error whose eight header bytes are readable. Nothing when the quoted packet is cut too
// short, is of the other family, is a later fragment, or is itself an ICMP error.
std::optional<Quote> quote_of(const Packet& error) noexcept;

}  // namespace podwire::stages
