// When memory may be reused: DPDK's quiescent-state RCU, one instance for snapshots and flows
// alike. A worker is registered for its lifetime, reports once per round, and is offline while it
// sleeps. Lives on plain memory: needs no EAL.
#pragma once

#include <atomic>
#include <cstdint>

struct rte_rcu_qsbr;

namespace podwire::tables {

class Quiescence {
 public:
  // Indices 0..workers-1 are the workers'; all start offline.
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
  // waits; may say false once too often while another thread asks too.
  [[nodiscard]] std::uint64_t begin() noexcept;
  [[nodiscard]] bool passed(std::uint64_t token) noexcept;

  // While one lives, the control thread reads shared memory as a worker would. Control thread only,
  // one at a time, and short: nothing is reused meanwhile.
  class ControlReader {
   public:
    explicit ControlReader(Quiescence& quiescence) noexcept : quiescence_(quiescence) {
      quiescence_.online(quiescence_.workers_);
    }
    ~ControlReader() { quiescence_.offline(quiescence_.workers_); }
    ControlReader(const ControlReader&) = delete;
    ControlReader& operator=(const ControlReader&) = delete;

   private:
    Quiescence& quiescence_;
  };

 private:
  const unsigned workers_;
  rte_rcu_qsbr* rcu_;
  std::atomic<bool> checking_{false};
};

}  // namespace podwire::tables
