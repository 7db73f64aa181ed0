// Memory that a peer shares with us, and may take away: reading a page behind the end of a file
// that was cut (ftruncate on a memfd) raises SIGBUS, which would end the process. A watched range
// survives it: the handler puts zeroed memory over the whole range, sets the owner's flag, and the
// access goes on. Whoever touches a watched range looks at its flag afterwards and believes nothing
// that it read once the flag is set.
//
// SIGBUS anywhere else goes to the handler that was there before, or ends the process as ever.
// DPDK's EAL has handlers of its own, for the length of a call only (while it touches new huge
// pages, and in its hotplug monitor, which podwired does not start); ours is put in with the first
// watch, after EAL has started. Sources: signal(7), sigaction(2), lib/eal/linux/eal_memalloc.c.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "dataplane/result.h"

namespace podwire::io {

// Ranges watched at one time, of all ports together.
inline constexpr std::size_t kMaxWatched = 8192;

class SigbusWatch {
 public:
  SigbusWatch() = default;
  // Watches [start, start + bytes), a whole mapping; both multiples of its page size. `lost` is set
  // by any thread's fault and outlives the watch. Fails when all kMaxWatched places are taken, or
  // the range is empty. Any thread; not from a signal handler.
  static Result<SigbusWatch> over(void* start, std::size_t bytes, std::atomic<bool>& lost);
  // Ends the watch: no thread may be inside the range any more. Unmap after it.
  ~SigbusWatch();
  SigbusWatch(SigbusWatch&& other) noexcept : place_(std::exchange(other.place_, kNone)) {}
  SigbusWatch& operator=(SigbusWatch&& other) noexcept {
    std::swap(place_, other.place_);
    return *this;
  }

 private:
  static constexpr std::uint32_t kNone = 0xffffffff;
  std::uint32_t place_ = kNone;
};

// From now on a fault of the calling thread outside of every watched range is survived as well: one
// page of zeroes is put there, and `faulted` set, which lives as long as the process. For a thread
// of a library that maps a peer's memory and touches it before anybody could watch it.
void survive_sigbus_here(std::atomic<bool>& faulted) noexcept;

// How many ranges are watched now; for tests that look for leaks. Any thread.
[[nodiscard]] std::size_t watched_ranges() noexcept;

}  // namespace podwire::io
