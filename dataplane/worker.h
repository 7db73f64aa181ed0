// One worker: what its stages may touch, and its loop: receive -> pipeline -> transmit ->
// housekeeping. Everything here belongs to the worker's own thread, except where a comment says
// otherwise.
#pragma once

#include <rte_cycles.h>
#include <rte_mempool.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/batch.h"
#include "dataplane/config.h"
#include "dataplane/flow/entered.h"
#include "dataplane/handoff.h"
#include "dataplane/observe/counters.h"
#include "dataplane/observe/events.h"
#include "dataplane/tables/quiescence.h"
#include "dataplane/tables/snapshot.h"

namespace podwire {

namespace flow {
class Flows;          // both families' maps, shared by all workers
class AffinityTable;  // ClientIP session affinity, shared by all workers
}  // namespace flow
namespace stages {
class FragmentTable;  // incomplete datagrams, this worker's
class HoldQueue;      // packets that wait for a neighbour, this worker's
}  // namespace stages

// What all workers share. Made before the first worker starts, outlives the last.
struct Shared {
  explicit Shared(const DataplaneConfig& config, unsigned workers);
  ~Shared();

  const DataplaneConfig config;
  const unsigned workers;
  const std::uint64_t cycles_per_second;  // of the TSC
  // TSC at second 0 of every timeout. Tests move it back to let time pass.
  std::atomic<std::uint64_t> start_cycles;
  tables::Quiescence quiescence;
  std::atomic<const tables::Snapshot*> snapshot{
      nullptr};  // stored by control, loaded once per batch
  std::unique_ptr<flow::Flows> flows;
  std::unique_ptr<flow::AffinityTable> affinity;
  std::unique_ptr<Handoff> handoff;    // null: one worker, or switched off
  rte_mempool* packet_pool = nullptr;  // 2 KiB of data and headroom for every header we may prepend
  rte_mempool* large_pool = nullptr;   // 64 KiB, second segments of unsegmented TCP
  std::atomic<bool> stop{false};
};

// Two lines apart from its neighbours: processors fetch lines in pairs, and each worker writes its
// own for every burst.
struct alignas(128) Worker {
  Worker(Shared& shared, unsigned index);
  ~Worker();

  Shared& shared;
  const unsigned index;
  const tables::Snapshot* snapshot = nullptr;  // valid for the current batch
  std::uint64_t now_cycles = 0;                // TSC, read once per batch
  std::uint32_t now_seconds = 0;               // since start; the unit of every timeout
  std::uint64_t random_state;                  // xorshift, seeded from getrandom
  std::uint64_t choice_key;                    // of Service's choice, from getrandom

  observe::WorkerCounters counters;
  observe::EventRing events;

  // How many flows of this burst may still make room for themselves in a full table. It costs as
  // much as many known packets: under a flood these come first.
  static constexpr unsigned kRoomABurst = 8;
  unsigned room_left = 0;
  flow::Entered entered;  // since the burst began

  // kBatchSize places, by Packet::admission; given out in turn, so that those of one batch differ.
  std::vector<Admission> admissions;
  std::uint16_t next_admission = 0;
  std::unique_ptr<stages::FragmentTable> fragments;
  std::unique_ptr<stages::HoldQueue> holds;

  // Frames for one output port, sent when the batch is through or the queue is full.
  struct Outbox {
    unsigned size = 0;
    std::uint64_t bytes = 0;
    std::array<rte_mbuf*, kBatchSize> frames;
    void append(rte_mbuf* mbuf) noexcept {
      bytes += mbuf->pkt_len;
      frames[size++] = mbuf;
    }
  };
  std::vector<std::unique_ptr<Outbox>> outboxes;  // by PortId
  std::vector<PortId> pending;                    // ports whose outbox is not empty

  // ICMP errors that podwire made while a batch ran: IP packets without Ethernet header, in_port
  // kNoPort, Source::self. They enter the pipeline at parse once the batch is through.
  Batch originated;
  // Adds one and counts it as originated; false when there is no room: the caller frees it.
  [[nodiscard]] bool originate(rte_mbuf* mbuf) noexcept;
  struct {  // token bucket of stages::originate
    std::uint64_t filled_cycles = 0;
    std::uint32_t tokens = 0;
  } icmp_budget;
  std::uint16_t next_tunnel_id = 0;  // IPv4 identification of outer headers

  [[nodiscard]] std::uint64_t random() noexcept {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * 0x2545f4914f6cdd1dULL;
  }
  void count_drop(Reason reason) noexcept {
    counters.drops[static_cast<std::size_t>(reason)].add();
  }
  // Frees the buffer and counts; `port` is where it came from.
  void drop(rte_mbuf* mbuf, Reason reason, PortId port) noexcept;
  // Puts a finished frame (Ethernet header first) into the port's outbox.
  void send(rte_mbuf* mbuf, PortId port) noexcept {
    if (port >= kMaxPorts) [[unlikely]]  // punted before there is a host port or an uplink
      return drop(mbuf, Reason::port_down, kNoPort);
    outbox_with_room(port).append(mbuf);
  }
  // The outbox of a port below kMaxPorts, known to be waiting for flush().
  Outbox& outbox_with_room(PortId port) noexcept {
    Outbox& outbox = *outboxes[port];
    if (outbox.size == kBatchSize) flush(port);
    if (outbox.size == 0) pending.push_back(port);
    return outbox;
  }
  // Hands every outbox to its port; what a port does not take is dropped under port_full or
  // port_down. Needs a snapshot.
  void flush() noexcept;
  void flush(PortId port) noexcept;
  // One burst from receive to transmit: loads the snapshot, stamps the clock, counts what it
  // received, runs the pipeline, then what it originated, and flushes. The burst is empty
  // afterwards. An empty burst is allowed: it lets held packets go on and age. `now`: in TSC
  // cycles.
  void process(Burst& burst, std::uint64_t now = rte_rdtsc()) noexcept;
  // Loads the snapshot and stamps the clock, as process() does: for housekeeping between batches.
  void begin_round(std::uint64_t now = rte_rdtsc()) noexcept;

 private:
  void count_at_ports(const Burst& burst) noexcept;
  // Bandwidth of pods: drop what exceeds it, in bandwidth.cc.
  void police_received(Burst& burst) noexcept;
  void police_outbox(Outbox& outbox, PortId port, tables::RateLimit& limit) noexcept;
  void run_originated() noexcept;

  Batch batch_;  // scratch of process(), empty between calls
};

}  // namespace podwire
