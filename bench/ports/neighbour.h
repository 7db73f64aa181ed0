// Answers neighbour requests (ARP, RFC 4861) for every address: the generator stands for all that
// is behind the wire, whatever next hop the device under test looks for.
#pragma once

#include <cstdint>

#include "dataplane/net/address.h"

namespace podwire::ports {

// Turns a request of `length` bytes in a buffer of `room` into its answer; returns the answer's
// length, 0 when the frame is no request (or asks whether an address is taken).
[[nodiscard]] unsigned answer_neighbour(std::uint8_t* frame, unsigned length, unsigned room,
                                        net::Mac own) noexcept;

}  // namespace podwire::ports
