// What the pipeline fuzzer reads, and what packet cases are written down as for its seeds: frames
// into ports, time that passes, and a neighbour that comes and goes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace podwire::test {

// One event: a kind, then for a frame port, flags, first segment's size, segment size, length
// (two bytes each, little-endian, where they have two) and its bytes; for the others one byte.
struct Event {
  enum class Kind : std::uint8_t { frame, pass_seconds, neighbour };
  static constexpr std::uint8_t kMendEthernet = 1, kMendIpv4 = 2, kTcpSum = 4, kUdpSum = 8,
                                kSctpSum = 16, kUnsegmented = 32;
  static constexpr std::uint8_t kSameBurst = 0x80;  // of `port`: the next frame comes with it
  Kind kind = Kind::frame;
  std::uint8_t value = 0;  // seconds; or whether the neighbour is known
  std::uint8_t port = 0;
  std::uint8_t flags = 0;
  std::uint16_t first_segment = 0, segment_size = 0;
  std::vector<std::uint8_t> bytes;
};

inline void write_event(std::vector<std::uint8_t>& out, const Event& event) {
  const auto put16 = [&](std::size_t value) {
    out.push_back(static_cast<std::uint8_t>(value));
    out.push_back(static_cast<std::uint8_t>(value >> 8U));
  };
  out.push_back(static_cast<std::uint8_t>(event.kind));
  if (event.kind != Event::Kind::frame) {
    out.push_back(event.value);
    return;
  }
  out.push_back(event.port);
  out.push_back(event.flags);
  put16(event.first_segment);
  put16(event.segment_size);
  put16(event.bytes.size());
  out.insert(out.end(), event.bytes.begin(), event.bytes.end());
}

// The next event; `rest` moves on. Every input says something: numbers out of range are folded.
inline std::optional<Event> read_event(std::span<const std::uint8_t>& rest) {
  const auto take = [&]() -> unsigned {
    if (rest.empty()) return 0;
    const unsigned byte = rest.front();
    rest = rest.subspan(1);
    return byte;
  };
  const auto take16 = [&] {
    const unsigned low = take();
    return static_cast<std::uint16_t>(low | take() << 8U);
  };
  if (rest.empty()) return std::nullopt;
  Event event;
  event.kind = static_cast<Event::Kind>(take() % 3);
  if (event.kind != Event::Kind::frame) {
    event.value = static_cast<std::uint8_t>(take());
    return event;
  }
  event.port = static_cast<std::uint8_t>(take());
  event.flags = static_cast<std::uint8_t>(take());
  event.first_segment = take16();
  event.segment_size = take16();
  const std::size_t size = std::min<std::size_t>(take16(), rest.size());
  event.bytes.assign(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(size));
  rest = rest.subspan(size);
  return event;
}

}  // namespace podwire::test
