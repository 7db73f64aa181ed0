// TCP connections from SYN to the last ACK, both ends ours: each packet is sent when the one before
// it has come through the device under test. What connections a second it carries follows from how
// fast the packets come back, not from a schedule.
//
//   client  SYN ─▶   ◀─ SYN ACK   ACK request ─▶   ◀─ reply   FIN ─▶   ◀─ FIN   ACK ─▶  server
#pragma once

#include <array>
#include <vector>

#include "bench/ports/device.h"
#include "bench/ports/frame_maker.h"
#include "bench/ports/histogram.h"
#include "bench/ports/pacer.h"
#include "bench/ports/sink.h"

namespace podwire::ports {

struct ConnectionsDone {
  double seconds = 0;
  std::uint64_t opened = 0, completed = 0;
  std::uint64_t failed = 0;  // a packet did not come for kPatienceSeconds
  std::uint64_t packets_sent = 0, packets_received = 0, wrong_checksum = 0;
  Histogram duration_ns;  // from the SYN's sending to the last ACK's arrival
};

class Connections {
 public:
  static constexpr double kPatienceSeconds = 0.5;

  struct End {  // the client's and the server's
    Device& device;
    const FrameMaker& maker;
    Sink& sink;
  };
  // `open_at_once`: connections in progress at a time, at most.
  Connections(const End& client, const End& server, rte_mempool& pool, const FlowSpace& space,
              std::uint32_t open_at_once, unsigned frame_length);
  ~Connections();
  Connections(const Connections&) = delete;
  Connections& operator=(const Connections&) = delete;

  // `per_second` 0: the next begins as soon as one has ended.
  ConnectionsDone run(std::uint8_t trial, double per_second, double seconds);

 private:
  struct Slot {
    // Its remainder by the number of slots tells the slot, so that a packet of a connection that
    // was given up is known as such.
    std::uint32_t connection = 0;
    std::uint8_t awaited = 0;  // the step on its way; kStepsOfConnection: none, the slot is free
    std::uint64_t begun_at = 0, moved_at = 0;
    FlowTuple reply;
  };
  struct Outbox {
    std::vector<rte_mbuf*> frames;
    std::size_t sent = 0;
    [[nodiscard]] bool empty() const { return sent == frames.size(); }
  };
  void begin_some(std::uint64_t now) noexcept;
  void begin(Slot& slot, std::uint64_t now) noexcept;
  void advance(const Received& received, std::uint64_t now) noexcept;
  void send(Slot& slot, std::uint64_t now) noexcept;
  void flush() noexcept;
  void give_up_some(std::uint64_t now) noexcept;
  void poll() noexcept;

  std::array<End, 2> ends_;
  std::array<Outbox, 2> outboxes_;
  rte_mempool& pool_;
  FlowSpace space_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
  unsigned length_;
  std::size_t looked_at_ = 0;  // by give_up_some
  std::uint8_t trial_ = 0;
  double ns_per_cycle_;
  std::uint64_t patience_;
  Pacer pacer_;
  ConnectionsDone done_;
};

}  // namespace podwire::ports
