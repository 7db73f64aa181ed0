#include "control/time_text.h"

#include <array>
#include <ctime>
#include <string_view>

namespace podwire::control {

using std::chrono::system_clock;

std::optional<system_clock::time_point> parse_time(const std::string& text) {
  std::tm parts{};
  const char* rest = strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (rest == nullptr) return std::nullopt;
  std::chrono::nanoseconds fraction{0};
  if (*rest == '.') {
    std::chrono::nanoseconds unit{100'000'000};
    for (++rest; *rest >= '0' && *rest <= '9'; ++rest, unit /= 10) fraction += unit * (*rest - '0');
  }
  if (rest != std::string_view("Z")) return std::nullopt;
  return system_clock::from_time_t(timegm(&parts)) +
         std::chrono::duration_cast<system_clock::duration>(fraction);
}

std::string format_time(system_clock::time_point time, const char* format) {
  const std::time_t whole = system_clock::to_time_t(time);
  std::tm parts{};
  gmtime_r(&whole, &parts);
  std::array<char, 64> text;
  return {text.data(), strftime(text.data(), text.size(), format, &parts)};
}

}  // namespace podwire::control
