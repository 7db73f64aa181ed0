#include "dataplane/handoff.h"

#include <unistd.h>

#include <bit>

#include "dataplane/check.h"

namespace podwire {

Handoff::Handoff(unsigned workers)
    : workers_(workers), rings_(std::size_t{workers} * workers), states_(workers) {
  check(workers <= 64, "frames are handed over between at most 64 workers");
  for (unsigned from = 0; from < workers; ++from) {
    for (unsigned to = 0; to < workers; ++to) {
      if (from != to) rings_[std::size_t{from} * workers + to] = std::make_unique<Ring>();
    }
  }
}

Handoff::~Handoff() {
  Burst::Frame frame;
  for (const auto& ring : rings_) {
    while (ring != nullptr && ring->pop(frame)) rte_pktmbuf_free(frame.mbuf);
  }
}

bool Handoff::give(unsigned from, unsigned to, const Burst::Frame& frame) noexcept {
  if (!ring(from, to).push(frame)) return false;
  states_[from].given_to |= std::uint64_t{1} << to;
  return true;
}

// Both sides exchange `asleep`, and of two exchanges one comes first: either we find the sleeper
// and wake it, or its exchange has seen ours, and with it our pushes, when it looks at the rings.
void Handoff::wake(unsigned from) noexcept {
  std::uint64_t given = states_[from].given_to;
  if (given == 0) return;
  states_[from].given_to = 0;
  for (; given != 0; given &= given - 1) {
    State& state = states_[static_cast<unsigned>(std::countr_zero(given))];
    if (!state.asleep.exchange(false, std::memory_order_acq_rel)) continue;
    const std::uint64_t one = 1;
    const int descriptor = state.wake_descriptor.load(std::memory_order_relaxed);
    static_cast<void>(!write(descriptor, &one, sizeof one));
  }
}

unsigned Handoff::take(unsigned to, Burst& burst) noexcept {
  unsigned taken = 0;
  Burst::Frame frame;
  for (unsigned from = 0; from < workers_; ++from) {
    if (from == to) continue;
    Ring& waiting = ring(from, to);
    for (; !burst.full() && waiting.pop(frame); ++taken) burst.append_handed(frame);
  }
  return taken;
}

bool Handoff::may_sleep(unsigned worker, int wake_descriptor) noexcept {
  State& state = states_[worker];
  state.wake_descriptor.store(wake_descriptor, std::memory_order_relaxed);
  state.asleep.exchange(true, std::memory_order_acq_rel);
  for (unsigned from = 0; from < workers_; ++from) {
    if (from == worker || ring(from, worker).empty()) continue;
    awake(worker);
    return false;
  }
  return true;
}

void Handoff::awake(unsigned worker) noexcept {
  states_[worker].asleep.store(false, std::memory_order_relaxed);
}

}  // namespace podwire
