// Rates as people give them: "max", "2.5Mpps", "300kpps", "10%" of the link, "3Gbit/s".
#pragma once

#include <optional>
#include <string>

#include "dataplane/result.h"

namespace podwire::ports {

// What a frame of a given size (with check sequence) takes of an Ethernet: 8 bytes of preamble and
// 12 of gap besides (IEEE 802.3).
inline constexpr double kGapBytes = 20;

struct Rate {
  enum class Unit { most, packets, link_percent, bits };
  Unit unit = Unit::most;
  double value = 0;  // packets or bits a second, or percent

  // Of frames with this mean size; 0 for "as fast as possible". Bits are those of frames; percent
  // count preamble and gap too, so that 100 % is what the link can carry.
  [[nodiscard]] Result<double> packets_per_second(double mean_size,
                                                  double link_bits_per_second) const;
};

// A whole text that is a finite number.
std::optional<double> parse_number(const std::string& text);

// A number without a unit is Mpps.
Result<Rate> parse_rate(const std::string& text);

[[nodiscard]] double link_packets_per_second(double mean_size, double link_bits_per_second);

}  // namespace podwire::ports
