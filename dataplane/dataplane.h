// The dataplane as one thing: DPDK, pools, uplink, host tap, workers, and what control may do while
// they run. main.cc puts control's DataplaneLink in front of it. Control thread only.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "dataplane/config.h"
#include "dataplane/io/lock_file.h"
#include "dataplane/io/memif_service.h"
#include "dataplane/io/mempool.h"
#include "dataplane/io/tap.h"
#include "dataplane/io/uplink.h"
#include "dataplane/io/vhost_user.h"
#include "dataplane/observe/events.h"
#include "dataplane/observe/flow_row.h"
#include "dataplane/result.h"
#include "dataplane/worker.h"

namespace podwire {

class Dataplane {
 public:
  // Everything up and workers running, without a snapshot: they forward nothing yet. Once per
  // process. The error is one sentence that says what to do.
  static Result<std::unique_ptr<Dataplane>> start(const DataplaneConfig& config);
  // Workers stop, ports close, the uplink goes back to its owner.
  ~Dataplane();

  void publish(std::unique_ptr<const tables::Snapshot> snapshot);
  std::size_t reclaim();

  Result<std::shared_ptr<io::Port>> open_tap(io::TapSpec spec);
  // The first one starts the memif thread. `report` is kept from the first call on; see
  // io::MemifService::Report.
  Result<std::shared_ptr<io::Port>> open_memif(io::MemifSpec spec,
                                               const io::MemifService::Report& report);
  // No queues: one a worker.
  Result<std::shared_ptr<io::Port>> open_vhost_user(io::VhostUserSpec spec);
  [[nodiscard]] const std::shared_ptr<io::Uplink>& uplink() const { return uplink_; }
  [[nodiscard]] const std::shared_ptr<io::TapPort>& host_tap() const { return host_tap_; }

  // Why taps make a system call for each frame on some worker; empty: they need not.
  [[nodiscard]] std::string why_single_calls() const;

  [[nodiscard]] unsigned workers() const { return static_cast<unsigned>(workers_.size()); }
  [[nodiscard]] const observe::WorkerCounters& counters(unsigned worker) const {
    return workers_[worker]->state->counters;
  }
  void poll_events(const std::function<void(const observe::Event&)>& each);
  [[nodiscard]] std::uint64_t events_lost() const;
  [[nodiscard]] std::uint32_t now_seconds() const;
  [[nodiscard]] std::uint64_t cycles_per_second() const { return shared_->cycles_per_second; }
  std::vector<observe::FlowRow> flows(std::size_t limit,
                                      const std::function<bool(const observe::FlowRow&)>& wanted);
  void erase_flows(observe::FlowCursor& at,
                   const std::function<bool(const observe::FlowRow&)>& ends);
  struct Fill {
    const char* table;
    std::uint64_t used, limit;
  };
  [[nodiscard]] std::array<Fill, 4> fills() const;

 private:
  struct WorkerThread {
    std::unique_ptr<Worker> state;
    int wake_descriptor = -1;
    io::LockFile core_lock;
    std::string why_single_calls;  // written before start_worker() returns
    std::thread thread;
  };
  struct Retired {
    std::unique_ptr<const tables::Snapshot> snapshot;
    std::uint64_t token;
  };

  explicit Dataplane(const DataplaneConfig& config);
  Result<void> open_ports(const io::Pools& pools);
  Result<void> start_workers();
  Result<void> start_worker(unsigned index, int core);
  void wake_workers() noexcept;
  void stop_workers() noexcept;

  const DataplaneConfig config_;
  const unsigned worker_count_;
  bool eal_started_ = false;
  std::unique_ptr<Shared> shared_;
  std::shared_ptr<io::Uplink> uplink_;
  std::shared_ptr<io::TapPort> host_tap_;
  std::shared_ptr<io::MemifService> memif_;
  std::unique_ptr<const tables::Snapshot> current_;
  std::vector<Retired> retired_;  // oldest first
  std::vector<std::unique_ptr<WorkerThread>> workers_;
};

}  // namespace podwire
