// When memory may be reused: DPDK's quiescent-state RCU, one instance for snapshots and flows
// alike. A worker is registered for its lifetime, reports once per round, and is offline while it
// sleeps.
#pragma once

#include <cstdint>
#include <memory>

struct rte_rcu_qsbr;

namespace podwire::tables {

class Quiescence {
 public:
  explicit Quiescence(unsigned workers);
  ~Quiescence();
  Quiescence(const Quiescence&) = delete;
  Quiescence& operator=(const Quiescence&) = delete;

  // Worker `index` only, from its own thread. online() before the first read of shared memory,
  // report() when it holds none of it, offline() before it sleeps or stops.
  void online(unsigned index) noexcept;
  void report(unsigned index) noexcept;
  void offline(unsigned index) noexcept;

  // Any thread: everything unlinked before begin() may be reused once passed(token) is true. Never
  // waits.
  [[nodiscard]] std::uint64_t begin() noexcept;
  [[nodiscard]] bool passed(std::uint64_t token) noexcept;

 private:
  rte_rcu_qsbr* rcu_;
};

}  // namespace podwire::tables
