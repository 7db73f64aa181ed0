// One direction of test traffic: what is sent (Sender) and what has come (Arrivals). Each belongs
// to one thread; the sums are read when that thread has stopped.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "bench/ports/device.h"
#include "bench/ports/flow_tuple.h"
#include "bench/ports/flow_window.h"
#include "bench/ports/frame_maker.h"
#include "bench/ports/histogram.h"
#include "bench/ports/pacer.h"

namespace podwire::ports {

inline constexpr unsigned kBurst = 32;

struct Traffic {
  FrameShape shape;
  std::vector<unsigned> sizes;  // of frames with check sequence, in the order they are sent
  std::uint32_t flows = 1;
  // Flows that take the place of the oldest, a second; 0: the same flows throughout.
  double new_flows_per_second = 0;
  bool every_packet_new = false;  // each packet opens a flow
  // What a sender that was kept off its core makes up for at once; the rest is not sent.
  double backlog_seconds = 0.001;

  [[nodiscard]] double mean_size() const;
  [[nodiscard]] unsigned largest_size() const;
};

// The sizes of --size: a number of bytes, or "imix" (7 of 64, 4 of 570, 1 of 1518; a size below the
// shape's least is raised to it). Empty when `text` is neither.
std::vector<unsigned> sizes_of(const std::string& text, const FrameShape& shape);

struct Sent {
  std::uint64_t packets = 0, bytes = 0;
  // Due but not sent: the device took no more, or the sender was kept off its core.
  std::uint64_t refused = 0, late = 0;
  std::uint64_t new_flows = 0;
};

class Sender {
 public:
  // Flow n has the tuple learned[n] when there is one for it, else space.tuple(n).
  Sender(Device& device, rte_mempool& pool, const FrameMaker& maker, const Traffic& traffic,
         const FlowSpace& space, const std::vector<FlowTuple>* learned);
  ~Sender();
  Sender(const Sender&) = delete;
  Sender& operator=(const Sender&) = delete;

  // `packets_per_second` 0: as fast as the device takes them.
  void start(std::uint8_t trial, double packets_per_second, std::uint64_t tsc_hz,
             std::uint64_t now);
  void poll(std::uint64_t now) noexcept;
  // Gives up what the device has not taken.
  void stop(std::uint64_t now) noexcept;

  [[nodiscard]] const Sent& sent() const { return sent_; }

 private:
  struct Slot {
    std::uint32_t flow = 0, sequence = 0;
  };
  void move_flows(std::uint64_t now) noexcept;
  unsigned make_burst(unsigned count, std::uint64_t now) noexcept;
  void transmit() noexcept;
  void free_pending() noexcept;

  Device& device_;
  rte_mempool& pool_;
  FrameMaker maker_;
  Traffic traffic_;
  FlowSpace space_;
  const std::vector<FlowTuple>* learned_;

  std::vector<Slot> slots_;
  std::uint32_t next_slot_ = 0, next_moved_ = 0;
  std::uint32_t next_flow_;  // the next flow's number; goes on over trials, so none comes twice
  std::size_t next_size_ = 0;
  std::uint8_t trial_ = 0;
  Pacer pacer_, flow_pacer_;
  std::array<rte_mbuf*, kBurst> pending_{};
  unsigned first_pending_ = 0, pending_count_ = 0;
  bool refused_ = false;  // the device has not taken all since packets were last due
  Sent sent_;
};

struct Arrived {
  std::uint64_t packets = 0, bytes = 0;  // each packet once
  std::uint64_t reordered = 0, duplicated = 0, stale = 0;
  Histogram latency_ns;
};

class Arrivals {
 public:
  explicit Arrivals(std::uint32_t flows) : windows_(flows) {}

  void start();
  void see(const Stamp& stamp, unsigned bytes, std::uint64_t latency_ns) noexcept;
  [[nodiscard]] const Arrived& arrived() const { return arrived_; }

 private:
  struct Window {
    std::uint32_t flow = 0;
    FlowWindow packets;
  };
  std::vector<Window> windows_;
  Arrived arrived_;
};

}  // namespace podwire::ports
