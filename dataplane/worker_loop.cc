#include "dataplane/worker_loop.h"

#include <rte_cycles.h>
#include <sys/prctl.h>

#include "dataplane/flow/flows.h"

namespace podwire {
namespace {

constexpr std::uint64_t kSpinUs = 5;              // without work before a sleep
constexpr std::uint64_t kAskUs = 10;              // between two looks at cold queues under load
constexpr std::uint32_t kLongestSleepUs = 10000;  // ageing and sweeps go on meanwhile
constexpr unsigned long kTimerSlackNs = 1000;

}  // namespace

WorkerLoop::WorkerLoop(Worker& worker, unsigned workers, int wake_descriptor)
    : worker_(worker),
      workers_(workers),
      wake_descriptor_(wake_descriptor),
      polls_(worker.index, workers, wake_descriptor),
      spin_cycles_(worker.shared.cycles_per_second * kSpinUs / 1000000),
      ask_cycles_(worker.shared.cycles_per_second * kAskUs / 1000000) {}

void WorkerLoop::run() noexcept {
  prctl(PR_SET_TIMERSLACK, kTimerSlackNs);
  worker_.shared.quiescence.online(worker_.index);
  while (!worker_.shared.stop.load(std::memory_order_acquire)) round();
  worker_.snapshot = nullptr;
  worker_.shared.quiescence.offline(worker_.index);
}

void WorkerLoop::look_at_ports() noexcept {
  const auto* snapshot = worker_.snapshot;
  if (snapshot == nullptr || snapshot->ports->generation == port_generation_) return;
  port_generation_ = snapshot->ports->generation;
  polls_.rebuild(*snapshot->ports);
}

void WorkerLoop::round() noexcept {
  worker_.begin_round();
  look_at_ports();
  const std::uint64_t start = worker_.now_cycles;
  const unsigned received =
      polls_.receive(burst_, [this](Burst& burst) { worker_.process(burst); }) + take_handed();
  // Held packets go on and age also when nothing comes.
  if (received == 0) worker_.process(burst_);
  if (worker_.shared.handoff != nullptr) worker_.shared.handoff->wake(worker_.index);
  age_flows();
  worker_.shared.quiescence.report(worker_.index);

  const std::uint64_t end = rte_rdtsc();
  auto& counters = worker_.counters;
  counters.rounds.add();
  if (received > 0) {
    counters.busy_cycles.add(end - start);
    worked_at_ = end;
  } else {
    counters.idle_rounds.add();
    counters.idle_cycles.add(end - start);
  }
  const bool nothing_hot = received == 0 && polls_.quiet();
  if (nothing_hot && worker_.shared.config.sleep_when_idle && end - worked_at_ >= spin_cycles_) {
    rest();
  } else if (end - asked_at_ >= ask_cycles_) {
    polls_.wait(0);
    asked_at_ = end;
  }
}

// Flows end by packets, by silence, for want of room and by control's word; the tables count them
// all, and the first worker passes that on.
void WorkerLoop::age_flows() noexcept {
  flow::Flows& flows = *worker_.shared.flows;
  auto& counters = worker_.counters;
  counters.flows_expired.add(flows.sweep(worker_.index, workers_, worker_.now_seconds));
  if (worker_.index == 0) {
    counters.flows_removed.add(flows.v4.ended() + flows.v6.ended() - counters.flows_removed.read());
  }
}

unsigned WorkerLoop::take_handed() noexcept {
  if (worker_.shared.handoff == nullptr) return 0;
  const unsigned taken = worker_.shared.handoff->take(worker_.index, burst_);
  if (taken > 0) worker_.process(burst_);
  return taken;
}

void WorkerLoop::rest() noexcept {
  Handoff* handoff = worker_.shared.handoff.get();
  if (handoff != nullptr && !handoff->may_sleep(worker_.index, wake_descriptor_)) return;
  const std::uint64_t start = rte_rdtsc();
  worker_.snapshot = nullptr;
  worker_.shared.quiescence.offline(worker_.index);
  polls_.wait(polls_.can_wait_long() ? kLongestSleepUs : worker_.shared.config.idle_sleep_max_us);
  worker_.shared.quiescence.online(worker_.index);
  if (handoff != nullptr) handoff->awake(worker_.index);
  asked_at_ = rte_rdtsc();
  worker_.counters.sleeps.add();
  worker_.counters.idle_cycles.add(asked_at_ - start);
}

}  // namespace podwire
