// A worker's life: receive, pipeline, transmit, housekeeping, and rest when there is nothing to do.
//
// Snapshots and flows may be freed once this worker has reported quiescence: the loop holds none of
// them when it reports, and is offline while it sleeps. Its poll list keeps drivers of the snapshot
// it was built from; it is rebuilt right after a newer one is loaded and before anything is polled.
#pragma once

#include "dataplane/poll_list.h"
#include "dataplane/worker.h"

namespace podwire {

class WorkerLoop {
 public:
  // `wake_descriptor` is an eventfd: written to, it ends this worker's sleep.
  WorkerLoop(Worker& worker, unsigned workers, int wake_descriptor);

  // Until shared.stop. The calling thread is the worker's.
  void run() noexcept;

 private:
  void round() noexcept;
  void look_at_ports() noexcept;
  void age_flows() noexcept;
  unsigned take_handed() noexcept;
  void rest() noexcept;

  Worker& worker_;
  const unsigned workers_;
  const int wake_descriptor_;
  PollList polls_;
  Burst burst_;
  std::uint64_t port_generation_ = ~std::uint64_t{0};
  std::uint64_t worked_at_ = 0, asked_at_ = 0;  // TSC
  const std::uint64_t spin_cycles_, ask_cycles_;
};

}  // namespace podwire
