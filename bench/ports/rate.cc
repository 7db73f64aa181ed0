#include "bench/ports/rate.h"

#include <array>
#include <cmath>
#include <cstdlib>

namespace podwire::ports {
namespace {

struct Suffix {
  const char* text;
  Rate::Unit unit;
  double factor;
};
constexpr std::array<Suffix, 8> kSuffixes{{{"", Rate::Unit::packets, 1e6},
                                           {"Mpps", Rate::Unit::packets, 1e6},
                                           {"kpps", Rate::Unit::packets, 1e3},
                                           {"pps", Rate::Unit::packets, 1},
                                           {"%", Rate::Unit::link_percent, 1},
                                           {"Gbit/s", Rate::Unit::bits, 1e9},
                                           {"Mbit/s", Rate::Unit::bits, 1e6},
                                           {"kbit/s", Rate::Unit::bits, 1e3}}};

}  // namespace

double link_packets_per_second(double mean_size, double link_bits_per_second) {
  return link_bits_per_second / 8 / (mean_size + kGapBytes);
}

Result<double> Rate::packets_per_second(double mean_size, double link_bits_per_second) const {
  switch (unit) {
    case Unit::packets:
      return value;
    case Unit::bits:
      return value / 8 / mean_size;
    case Unit::link_percent:
      if (link_bits_per_second <= 0) {
        return fail("--rate: this device does not say how fast its link is; give Mpps");
      }
      return value / 100 * link_packets_per_second(mean_size, link_bits_per_second);
    case Unit::most:
      break;
  }
  return 0;
}

std::optional<double> parse_number(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != 0 || !std::isfinite(value)) return {};
  return value;
}

Result<Rate> parse_rate(const std::string& text) {
  if (text == "max") return Rate{};
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (end != text.c_str() && std::isfinite(value) && value > 0) {
    for (const Suffix& suffix : kSuffixes) {
      if (suffix.text == std::string(end)) return Rate{suffix.unit, value * suffix.factor};
    }
  }
  return fail(
      "--rate is max, or a number above 0 with Mpps, kpps, pps, %, Gbit/s or Mbit/s, not \"" +
      text + "\"");
}

}  // namespace podwire::ports
