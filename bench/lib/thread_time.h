// The time that this thread has had a core for: what is left of elapsed time without preemption.
// Neither other threads nor interrupts that the kernel accounts apart are in it, and of other
// guests of the host nothing where the hypervisor tells its steal time to the kernel
// (CONFIG_PARAVIRT_TIME_ACCOUNTING).
#pragma once

#include <cstdint>
#include <ctime>

namespace podwire::bench {

// A system call: some 0.2 us.
[[nodiscard]] inline std::uint64_t thread_nanoseconds() noexcept {
  timespec time{};
  (void)::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(time.tv_nsec);
}

}  // namespace podwire::bench
