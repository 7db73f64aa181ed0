// The workers' counters, summed, and how fast they move. Control thread only.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <vector>

#include "control/dataplane_link.h"
#include "dataplane/observe/counters.h"

namespace podwire::control {

using DropTotals = std::array<std::uint64_t, kReasons>;  // by Reason

struct WorkerTotals {
  std::uint64_t received = 0, originated = 0, sent = 0, punted = 0, holding = 0;
  std::uint64_t flows_created = 0, flows_removed = 0, flows_expired = 0;
  std::uint64_t policy_rejudged = 0, tunnel_in = 0, tunnel_out = 0, fast_path = 0, handed_over = 0;
  std::uint64_t rounds = 0, idle_rounds = 0, busy_cycles = 0, idle_cycles = 0, sleeps = 0;
  DropTotals drops{};
  [[nodiscard]] std::uint64_t dropped() const;
};
struct PortTotals {
  std::uint64_t rx_packets = 0, rx_bytes = 0, tx_packets = 0, tx_bytes = 0;
  std::uint64_t rx_drops = 0, tx_drops = 0;
};
struct Totals {
  std::chrono::steady_clock::time_point taken;
  std::vector<WorkerTotals> workers;
  std::vector<PortTotals> ports;  // by PortId, as many as asked for
  [[nodiscard]] WorkerTotals sum() const;
};
Totals read_totals(DataplaneLink& dataplane, std::size_t ports);

// The last two readings, about a second apart.
class Sampler {
 public:
  explicit Sampler(DataplaneLink& dataplane) : dataplane_(dataplane) {}
  void sample(std::size_t ports);

  [[nodiscard]] const Totals& newest() const { return newest_; }
  // Change per second between the two readings; 0 before the second one.
  [[nodiscard]] double per_second(std::uint64_t before, std::uint64_t after) const;
  [[nodiscard]] const Totals& before() const { return before_; }
  // Part of its time that a worker had packets to work on, 0 to 1.
  [[nodiscard]] double busy_share(unsigned worker) const;
  // The first worker that has not come round for ten seconds, or -1.
  [[nodiscard]] int stuck_worker() const;

 private:
  struct Progress {
    std::uint64_t rounds = 0;
    std::chrono::steady_clock::time_point moved;
  };
  DataplaneLink& dataplane_;
  Totals before_, newest_;
  std::vector<Progress> progress_;
};

}  // namespace podwire::control
