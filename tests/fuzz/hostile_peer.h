// What the fuzzers of ports with shared memory have in common: the input as the peer reads it, and
// buffers that are counted.
#pragma once

#include <rte_mempool.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "dataplane/io/mempool.h"
#include "tests/lib/world.h"

namespace podwire::test {

inline void require(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "fuzz: %s\n", what);
  std::abort();
}

// Behind its end an input reads as zeroes.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}
  [[nodiscard]] bool empty() const { return left_ == 0; }
  std::uint8_t byte() { return take<std::uint8_t>(); }
  template <typename T>
  T take() {
    T value{};
    copy(reinterpret_cast<std::uint8_t*>(&value), sizeof value);
    return value;
  }
  void copy(std::uint8_t* to, std::size_t most) {
    const std::size_t count = std::min(most, left_);
    if (count == 0) return;
    std::memcpy(to, data_, count);
    data_ += count;
    left_ -= count;
  }

 private:
  const std::uint8_t* data_;
  std::size_t left_;
};

inline io::Pools pools() {
  static const io::Pools made = [] {
    start_eal();
    DataplaneConfig config;
    config.packet_buffers = 511;
    config.large_buffers = 15;
    auto result = io::make_pools(config);
    require(result.has_value(), "no memory for buffers");
    return *result;
  }();
  return made;
}

inline unsigned buffers_held() {
  return rte_mempool_in_use_count(pools().packets) + rte_mempool_in_use_count(pools().large);
}

// A frame as a port must hand it on: as long as it says, and no runt.
inline void check_received(const rte_mbuf& frame) {
  std::uint32_t bytes = 0;
  for (const rte_mbuf* part = &frame; part != nullptr; part = part->next) bytes += part->data_len;
  require(bytes == frame.pkt_len && bytes >= 14, "a frame is not as long as it says");
}

}  // namespace podwire::test
