// What is carried together: the frames of one receive, and the packets of one pass through the
// stages. Both in order; compaction keeps it. A worker's own.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/packet.h"

namespace podwire {

inline constexpr unsigned kBatchSize = 64;

// Frames as the ports gave them.
class Burst {
 public:
  struct Frame {
    rte_mbuf* mbuf;
    PortId in_port;
    bool handed;  // by another worker, which has received it
  };
  [[nodiscard]] unsigned size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] bool full() const { return size_ == kBatchSize; }
  const Frame& operator[](unsigned i) const { return frames_[i]; }
  // Only while !full().
  void append(rte_mbuf* mbuf, PortId in_port) { frames_[size_++] = {mbuf, in_port, false}; }
  void append_handed(const Frame& frame) { frames_[size_++] = {frame.mbuf, frame.in_port, true}; }
  void clear() { size_ = 0; }

 private:
  std::array<Frame, kBatchSize> frames_;
  unsigned size_ = 0;
};

// Frames on their way through the stages.
class Batch {
 public:
  [[nodiscard]] unsigned size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] bool full() const { return size_ == kBatchSize; }
  Packet& operator[](unsigned i) { return *order_[i]; }
  const Packet& operator[](unsigned i) const { return *order_[i]; }

  // A fresh slot at the end. Only while !full().
  Packet& append(rte_mbuf* mbuf, PortId in_port) {
    Packet& packet = store_[size_];
    packet = Packet{};
    packet.mbuf = mbuf;
    packet.in_port = in_port;
    order_[size_++] = &packet;
    return packet;
  }
  void clear() { size_ = 0; }

  // Keeps the packets for which `stays(packet)` is true, in order. Returns how many stay.
  template <typename F>
  unsigned keep_if(F&& stays) {
    unsigned kept = 0;
    for (unsigned i = 0; i < size_; ++i) {
      Packet* packet = order_[i];
      if (stays(*packet)) order_[kept++] = packet;
    }
    return size_ = kept;
  }

 private:
  std::array<Packet, kBatchSize> store_;
  std::array<Packet*, kBatchSize> order_;
  unsigned size_ = 0;
};

}  // namespace podwire
