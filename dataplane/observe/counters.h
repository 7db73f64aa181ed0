// Counters belong to the worker that writes them; readers on other threads sum over workers. One
// writer, any readers: relaxed loads and stores, no read-modify-write, no shared line written by
// two workers.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "dataplane/packet.h"
#include "dataplane/reasons.h"

namespace podwire::observe {

class Counter {
 public:
  void add(std::uint64_t n = 1) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t read() const noexcept {
    return value_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<std::uint64_t> value_{0};
};

struct PortCounters {
  Counter rx_packets, rx_bytes, tx_packets, tx_bytes, rx_drops, tx_drops;
};

// Policies whose refusals are counted each by itself: those with the lowest numbers.
inline constexpr std::uint32_t kCountedPolicies = 1000;

// The ledger, per worker and at any quiet moment, exactly:
//   received + originated = sent + sum(drops) + holding
// `received` counts every buffer a port gave us; `originated` those podwire made itself (ICMP
// errors, fragments beyond the first, segments beyond the first); `sent` those a port took;
// `holding` is the number in hold queues now (a gauge).
struct alignas(64) WorkerCounters {
  Counter received, originated, sent, punted;
  Counter holding;    // set as a gauge by its owner
  Counter fast_path;  // of those sent, by the fast path
  // Frames that its ports gave it and another worker carries: that one counts them as received.
  Counter handed_over;
  std::array<Counter, kReasons> drops;
  Counter flows_created, flows_removed, flows_expired, policy_rejudged, tunnel_in, tunnel_out;
  Counter rounds, idle_rounds, busy_cycles, idle_cycles, sleeps;  // TSC cycles
  std::array<PortCounters, kMaxPorts> ports;
  // By PolicyAnswer::policy; the last holds the others'. Part of `drops`.
  std::array<Counter, kCountedPolicies + 1> policy_drops;
};

}  // namespace podwire::observe
