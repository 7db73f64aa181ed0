// Frames that one worker received and another carries. A device spreads frames over its queues by
// their outer addresses, which are the same for all that comes through one tunnel; and some devices
// have fewer queues than there are workers. What the fast path would carry of these goes to the
// worker that the flow's hash names: all packets of a flow to the same one, in order.
//
// A ring for each pair of workers. Nobody waits: when a ring is full the receiver carries the frame
// itself, which the shared flow table allows.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/batch.h"
#include "dataplane/spsc_ring.h"

namespace podwire {

class Handoff {
 public:
  explicit Handoff(unsigned workers);
  ~Handoff();  // frees what nobody took
  Handoff(const Handoff&) = delete;
  Handoff& operator=(const Handoff&) = delete;

  // Whose flow it is, by the hash of its key.
  [[nodiscard]] unsigned worker_of(std::uint32_t hash) const noexcept {
    return static_cast<unsigned>(std::uint64_t{hash} * workers_ >> 32U);
  }
  // Worker `from`'s thread. False when there is no room.
  bool give(unsigned from, unsigned to, const Burst::Frame& frame) noexcept;
  // Ends the sleep of those that were given frames since the last call.
  void wake(unsigned from) noexcept;

  // Worker `to`'s thread: appends frames while there are any and the burst has room. Returns how
  // many.
  unsigned take(unsigned to, Burst& burst) noexcept;
  // Before a sleep that `wake_descriptor` (an eventfd) ends; false when frames wait. Then awake().
  bool may_sleep(unsigned worker, int wake_descriptor) noexcept;
  void awake(unsigned worker) noexcept;

 private:
  using Ring = SpscRing<Burst::Frame, 256>;
  struct alignas(64) State {
    std::atomic<bool> asleep{false};
    std::atomic<int> wake_descriptor{-1};
    alignas(64) std::uint64_t given_to = 0;  // its own: a bit for each worker
  };
  [[nodiscard]] Ring& ring(unsigned from, unsigned to) noexcept {
    return *rings_[std::size_t{from} * workers_ + to];
  }

  const unsigned workers_;
  std::vector<std::unique_ptr<Ring>> rings_;  // none from a worker to itself
  std::vector<State> states_;
};

}  // namespace podwire
