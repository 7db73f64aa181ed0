#include "control/bgp/protocols.h"

#include <sstream>

namespace podwire::control::bgp {
namespace {

constexpr int kTableLine = 1002;  // "NAME BGP --- up 20:20:10.123 Established"

std::string trimmed(std::string text) {
  const auto begin = text.find_first_not_of(' ');
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(' ') - begin + 1);
}

// "1 imported, 0 filtered, 2 exported, 1 preferred"
void read_routes(const std::string& text, Protocol& protocol) {
  std::istringstream words(text);
  std::uint64_t count = 0;
  for (std::string what; words >> count >> what;) {
    if (what.starts_with("imported")) protocol.imported += count;
    if (what.starts_with("filtered")) protocol.filtered += count;
    if (what.starts_with("exported")) protocol.exported += count;
    if (what.starts_with("preferred")) protocol.preferred += count;
  }
}

}  // namespace

std::map<std::string, Protocol> read_protocols(const BirdAnswer& answer) {
  std::map<std::string, Protocol> all;
  Protocol* now = nullptr;
  for (const BirdAnswer::Line& line : answer.lines) {
    std::istringstream words(line.text);
    std::string name, type;
    if (line.code == kTableLine && !line.text.starts_with(' ') && words >> name >> type) {
      now = type == "BGP" ? &all[name] : nullptr;
      continue;
    }
    if (now == nullptr) continue;
    const auto colon = line.text.find(':');
    if (colon == std::string::npos) continue;
    const std::string key = trimmed(line.text.substr(0, colon));
    const std::string value = trimmed(line.text.substr(colon + 1));
    if (key == "BGP state") now->state = value;
    if (key == "Last error") now->last_error = value;
    if (key == "Routes") read_routes(value, *now);
  }
  return all;
}

}  // namespace podwire::control::bgp
