// What is carried together: the frames of one receive, and the packets of one pass through the
// stages. Both in order; compaction keeps it. A worker's own.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "dataplane/packet.h"

namespace podwire {

inline constexpr unsigned kBatchSize = 64;

// Frames as the ports gave them, in runs of what came the same way.
class Burst {
 public:
  struct Frame {
    rte_mbuf* mbuf;
    PortId in_port;
    bool handed;  // by another worker, which has received it
  };
  struct Run {  // the frames from `begin` up to `end`
    unsigned begin, end;
    PortId in_port;
    bool handed;
  };
  [[nodiscard]] unsigned size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] bool full() const { return size_ == kBatchSize; }
  [[nodiscard]] std::span<rte_mbuf* const> mbufs() const { return {mbufs_.data(), size_}; }
  [[nodiscard]] std::span<const Run> runs() const { return {runs_.data(), run_count_}; }
  [[nodiscard]] Frame operator[](unsigned i) const {
    const Run* run = runs_.data();
    while (run->end <= i) ++run;
    return {mbufs_[i], run->in_port, run->handed};
  }

  // Where the next frames go; then how many there are, and of which port.
  [[nodiscard]] std::span<rte_mbuf*> room() { return std::span(mbufs_).subspan(size_); }
  void received(unsigned count, PortId in_port) { extend(count, in_port, false); }
  // Only while !full().
  void append(rte_mbuf* mbuf, PortId in_port) {
    mbufs_[size_] = mbuf;
    extend(1, in_port, false);
  }
  void append_handed(const Frame& frame) {
    mbufs_[size_] = frame.mbuf;
    extend(1, frame.in_port, true);
  }
  void clear() { size_ = run_count_ = 0; }

  // Keeps the frames for which `stays(mbuf, run)` is true, in order.
  template <typename F>
  void keep_if(F&& stays) {
    const unsigned runs = run_count_;
    size_ = run_count_ = 0;
    for (unsigned r = 0; r < runs; ++r) {
      const Run run = runs_[r];  // its place may be taken by then
      unsigned kept = 0;
      for (unsigned i = run.begin; i < run.end; ++i) {
        rte_mbuf* mbuf = mbufs_[i];
        if (stays(mbuf, run)) mbufs_[size_ + kept++] = mbuf;
      }
      extend(kept, run.in_port, run.handed);
    }
  }

 private:
  void extend(unsigned count, PortId in_port, bool handed) {
    if (count == 0) return;
    const Run* last = run_count_ == 0 ? nullptr : &runs_[run_count_ - 1];
    if (last == nullptr || last->in_port != in_port || last->handed != handed) {
      runs_[run_count_++] = {size_, size_, in_port, handed};
    }
    runs_[run_count_ - 1].end = size_ += count;
  }

  std::array<rte_mbuf*, kBatchSize> mbufs_;
  std::array<Run, kBatchSize> runs_;
  unsigned size_ = 0, run_count_ = 0;
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

  // Keeps the packets for which `stays(packet)` is true, in order. Until it returns, those that
  // have not been asked about stand where they stood. Returns how many stay.
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
