#include "dataplane/io/device_string.h"

#include <linux/if_packet.h>

#include <algorithm>
#include <charconv>

namespace podwire::io {
namespace {

constexpr unsigned kAnyFrame = 65535;
constexpr unsigned kMemifBuffer = 2048, kPacketPlace = 2048;  // the drivers' defaults

}  // namespace

DeviceString parse_device_string(const std::string& text) {
  const auto comma = text.find(',');
  if (comma == std::string::npos) return {text, {}};
  return {text.substr(0, comma), text.substr(comma + 1)};
}

std::string DeviceString::value(const std::string& key) const {
  std::size_t start = 0;
  while (start <= arguments.size()) {
    const auto end = std::min(arguments.find(',', start), arguments.size());
    const std::string pair = arguments.substr(start, end - start);
    if (pair.starts_with(key + "=")) return pair.substr(key.size() + 1);
    start = end + 1;
  }
  return {};
}

std::uint16_t DeviceString::largest_frame() const {
  const auto number = [this](const char* key, unsigned otherwise) {
    const std::string text = value(key);
    unsigned read = otherwise;
    std::from_chars(text.data(), text.data() + text.size(), read);
    return read;
  };
  unsigned bytes = kAnyFrame;
  if (is_driver("net_memif")) bytes = number("bsize", kMemifBuffer);
  if (is_driver("net_af_packet")) {
    constexpr unsigned kHeader = TPACKET2_HDRLEN - sizeof(sockaddr_ll);
    bytes = std::max(number("framesz", kPacketPlace), kHeader) - kHeader;
  }
  return static_cast<std::uint16_t>(std::min(bytes, kAnyFrame));
}

std::string DeviceString::with_defaults(unsigned queues) const {
  std::string text = arguments.empty() ? name : name + "," + arguments;
  const auto add = [&](const std::string& key, const std::string& wanted) {
    if (value(key).empty()) text += "," + key + "=" + wanted;
  };
  if (is_driver("net_af_packet")) {
    // Larger rings than the driver's own (io/README.md has the figures).
    add("qdisc_bypass", "1");
    if (value("framesz").empty() && value("blocksz").empty() && value("framecnt").empty()) {
      text += ",blocksz=1048576,framesz=2048,framecnt=2048";
    }
    if (queues > 1) add("qpairs", std::to_string(queues));
  } else if (is_driver("net_af_xdp")) {
    // Workers wait on the socket themselves; the driver's busy polling costs a call per empty poll.
    add("busy_budget", "0");
  }
  return text;
}

}  // namespace podwire::io
