#include "dataplane/dataplane.h"

#include <pthread.h>
#include <rte_cycles.h>
#include <rte_lcore.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <future>

#include "dataplane/eal.h"
#include "dataplane/flow/flows.h"
#include "dataplane/io/call_batch.h"
#include "dataplane/io/host_tap.h"
#include "dataplane/worker_loop.h"

namespace podwire {
namespace {

// What DPDK itself, its rings and the drivers' queues take beside the pools.
constexpr std::uint32_t kBaseMemoryMb = 64;
constexpr int kUnpinned = -1;

// Moves the calling thread to `core`. False: it may not run there.
bool pin_to(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  return sched_setaffinity(0, sizeof set, &set) == 0;
}

}  // namespace

Dataplane::Dataplane(const DataplaneConfig& config)
    : config_(config),
      worker_count_(config.worker_cores.empty()
                        ? std::max(config.worker_count, 1U)
                        : static_cast<unsigned>(config.worker_cores.size())) {}

Result<std::unique_ptr<Dataplane>> Dataplane::start(const DataplaneConfig& config) {
  std::unique_ptr<Dataplane> dataplane(new Dataplane(config));
  if (auto done = start_eal(config, kBaseMemoryMb + io::pools_mb(config)); !done) {
    return tl::unexpected(done.error());
  }
  dataplane->eal_started_ = true;
  auto pools = io::make_pools(config);
  if (!pools) return tl::unexpected(pools.error());
  dataplane->shared_ = std::make_unique<Shared>(config, dataplane->worker_count_);
  dataplane->shared_->packet_pool = pools->packets;
  dataplane->shared_->large_pool = pools->large;
  if (auto done = dataplane->open_ports(*pools); !done) return tl::unexpected(done.error());
  if (auto done = dataplane->start_workers(); !done) return tl::unexpected(done.error());
  return dataplane;
}

Result<void> Dataplane::open_ports(const io::Pools& pools) {
  auto uplink = io::Uplink::open(config_.uplink_device, worker_count_, *pools.packets);
  if (!uplink) return tl::unexpected(uplink.error());
  uplink_ = std::move(*uplink);
  auto host = io::open_host_tap(config_.host_tap_name, uplink_->mac(), uplink_->mtu(),
                                worker_count_, *pools.packets, *pools.large);
  if (!host) return fail("host-tap: " + host.error().message);
  host_tap_ = std::move(*host);
  return {};
}

Result<void> Dataplane::start_workers() {
  const auto& cores = config_.worker_cores;
  for (unsigned i = 0; i < worker_count_; ++i) {
    const int core = cores.empty() ? kUnpinned : static_cast<int>(cores[i]);
    if (auto done = start_worker(i, core); !done) return done;
  }
  return {};
}

Result<void> Dataplane::start_worker(unsigned index, int core) {
  workers_.push_back(std::make_unique<WorkerThread>());
  WorkerThread& worker = *workers_.back();
  if (core != kUnpinned) {
    auto lock = io::LockFile::take("core-" + std::to_string(core));
    if (!lock) {
      return fail("worker-cores: core " + std::to_string(core) + " is taken by " +
                  lock.error().message + "; choose another");
    }
    worker.core_lock = std::move(*lock);
  }
  worker.state = std::make_unique<Worker>(*shared_, index);
  worker.wake_descriptor = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (worker.wake_descriptor < 0) return fail("no descriptor left; raise the limit of open files");

  std::promise<const char*> started;
  auto outcome = started.get_future();
  worker.thread = std::thread([this, &worker, &started, index, core] {
    pthread_setname_np(pthread_self(), ("worker-" + std::to_string(index)).c_str());
    if (core != kUnpinned && !pin_to(core)) {
      started.set_value("this process may not run there; see its CPU set");
      return;
    }
    if (rte_thread_register() != 0) {
      started.set_value("DPDK has no place for another thread; use fewer workers");
      return;
    }
    const auto calls = io::CallBatch::open();
    if (calls) {
      io::CallBatch::use(calls->get());
    } else {
      worker.why_single_calls = calls.error().message;
    }
    started.set_value(nullptr);
    WorkerLoop(*worker.state, worker_count_, worker.wake_descriptor).run();
    rte_thread_unregister();
  });
  const char* error = outcome.get();
  if (error == nullptr) return {};
  return fail("worker-cores: worker " + std::to_string(index) +
              (core == kUnpinned ? "" : " on core " + std::to_string(core)) + ": " + error);
}

std::string Dataplane::why_single_calls() const {
  for (const auto& worker : workers_) {
    if (!worker->why_single_calls.empty()) return worker->why_single_calls;
  }
  return {};
}

void Dataplane::wake_workers() noexcept {
  for (const auto& worker : workers_) {
    const std::uint64_t one = 1;
    if (worker->wake_descriptor >= 0) {
      static_cast<void>(!write(worker->wake_descriptor, &one, sizeof one));
    }
  }
}

void Dataplane::stop_workers() noexcept {
  if (shared_ != nullptr) shared_->stop.store(true, std::memory_order_release);
  wake_workers();
  for (const auto& worker : workers_) {
    if (worker->thread.joinable()) worker->thread.join();
    if (worker->wake_descriptor >= 0) close(worker->wake_descriptor);
  }
}

Dataplane::~Dataplane() {
  stop_workers();
  workers_.clear();
  if (shared_ != nullptr) shared_->snapshot.store(nullptr, std::memory_order_relaxed);
  retired_.clear();
  current_.reset();
  memif_.reset();
  host_tap_.reset();
  uplink_.reset();
  shared_.reset();
  if (eal_started_) stop_eal();
}

void Dataplane::publish(std::unique_ptr<const tables::Snapshot> snapshot) {
  shared_->snapshot.store(snapshot.get(), std::memory_order_release);
  std::swap(current_, snapshot);
  if (snapshot != nullptr) retired_.push_back({std::move(snapshot), shared_->quiescence.begin()});
  wake_workers();
}

std::size_t Dataplane::reclaim() {
  // Tokens pass in the order they were given.
  std::size_t passed = 0;
  while (passed < retired_.size() && shared_->quiescence.passed(retired_[passed].token)) ++passed;
  retired_.erase(retired_.begin(), retired_.begin() + static_cast<std::ptrdiff_t>(passed));
  return retired_.size();
}

Result<std::shared_ptr<io::Port>> Dataplane::open_tap(io::TapSpec spec) {
  spec.queues = workers();
  auto port = io::TapPort::open(spec, *shared_->packet_pool, *shared_->large_pool, "tap");
  if (!port) return tl::unexpected(port.error());
  return std::shared_ptr<io::Port>(std::move(*port));
}

Result<std::shared_ptr<io::Port>> Dataplane::open_memif(io::MemifSpec spec,
                                                        const io::MemifService::Report& report) {
  if (memif_ == nullptr) {
    auto service = io::MemifService::start(shared_->quiescence, report);
    if (!service) return tl::unexpected(service.error());
    memif_ = std::move(*service);
  }
  spec.interrupts = config_.sleep_when_idle;
  auto port = memif_->open(spec, workers(), *shared_->packet_pool, *shared_->large_pool);
  if (!port) return tl::unexpected(port.error());
  return std::shared_ptr<io::Port>(std::move(*port));
}

Result<std::shared_ptr<io::Port>> Dataplane::open_vhost_user(io::VhostUserSpec spec) {
  if (spec.queues == 0) spec.queues = std::min(workers(), io::kMaxVhostQueues);
  auto port = io::VhostUserPort::open(spec, *shared_->packet_pool, *shared_->large_pool);
  if (!port) return tl::unexpected(port.error());
  return std::shared_ptr<io::Port>(std::move(*port));
}

void Dataplane::poll_events(const std::function<void(const observe::Event&)>& each) {
  observe::Event event;
  for (const auto& worker : workers_) {
    while (worker->state->events.pop(event)) each(event);
  }
}

std::uint64_t Dataplane::events_lost() const {
  std::uint64_t lost = 0;
  for (const auto& worker : workers_) lost += worker->state->events.lost();
  return lost;
}

std::uint32_t Dataplane::now_seconds() const {
  return static_cast<std::uint32_t>(
      (rte_rdtsc() - shared_->start_cycles.load(std::memory_order_relaxed)) /
      shared_->cycles_per_second);
}

std::vector<observe::FlowRow> Dataplane::flows(
    std::size_t limit, const std::function<bool(const observe::FlowRow&)>& wanted) {
  return shared_->flows->rows(now_seconds(), limit, wanted);
}

void Dataplane::erase_flows(observe::FlowCursor& at,
                            const std::function<bool(const observe::FlowRow&)>& ends) {
  shared_->flows->erase_if(now_seconds(), at, ends);
}

std::array<Dataplane::Fill, 4> Dataplane::fills() const {
  const auto pool = [](const char* name, const rte_mempool* mempool) {
    return Fill{name, rte_mempool_in_use_count(mempool), mempool->size};
  };
  const auto& flows = *shared_->flows;
  return {Fill{"flows_v4", flows.v4.size(), flows.v4.limit()},
          Fill{"flows_v6", flows.v6.size(), flows.v6.limit()},
          pool("packet_buffers", shared_->packet_pool), pool("large_buffers", shared_->large_pool)};
}

}  // namespace podwire
