#pragma once

// IP protocol numbers as the tests' tables name them (IANA's "Assigned Internet Protocol Numbers").

#include <cstdint>

namespace podwire {

inline constexpr std::uint8_t kIcmp = 1, kIgmp = 2, kTcp = 6, kUdp = 17, kIcmp6 = 58, kSctp = 132;

}  // namespace podwire
