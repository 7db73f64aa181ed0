// A port that takes every frame and keeps the pointers: the least that a transmit can do.
#pragma once

#include <array>
#include <cstring>
#include <utility>

#include "dataplane/io/port.h"

namespace podwire::bench {

class Sink : public io::Port {
 public:
  static constexpr unsigned kRoom = 1024;
  explicit Sink(const char* kind) : kind_(kind) {}
  [[nodiscard]] unsigned queues() const noexcept override { return 1; }
  unsigned receive(unsigned, std::span<rte_mbuf*>) noexcept override { return 0; }
  unsigned transmit(unsigned, std::span<rte_mbuf*> frames) noexcept override {
    const auto taken = std::min<unsigned>(kRoom - count_, static_cast<unsigned>(frames.size()));
    std::memcpy(&frames_[count_], frames.data(), taken * sizeof(rte_mbuf*));
    count_ += taken;
    return taken;
  }
  [[nodiscard]] int wait_descriptor(unsigned) const noexcept override { return -1; }
  [[nodiscard]] bool up() const noexcept override { return true; }
  [[nodiscard]] const char* kind() const noexcept override { return kind_; }

  // What came since the last take(). The buffers are the reader's.
  [[nodiscard]] std::span<rte_mbuf* const> frames() const { return {frames_.data(), count_}; }
  // How many came, and none from now on.
  [[nodiscard]] unsigned take() { return std::exchange(count_, 0); }
  // Frames that must come; whether just those came since the last time, and none from now on.
  void expect(unsigned count) { expected_ += count; }
  [[nodiscard]] bool settle() { return take() == std::exchange(expected_, 0); }

 private:
  const char* kind_;
  // Apart from what a worker reads that receives here.
  alignas(128) unsigned count_ = 0;
  unsigned expected_ = 0;
  std::array<rte_mbuf*, kRoom> frames_;
};

}  // namespace podwire::bench
