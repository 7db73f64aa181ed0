// How fast this core is right now. The sibling thread of a core, often another tenant's, takes up
// to half of it and shows in no counter of a virtual machine; it shows in how many independent
// additions a cycle of the TSC holds.
#pragma once

#include <cstdint>

namespace podwire::bench {

// The TSC between two fences: nothing of what is measured leaks out, nothing else in.
[[nodiscard]] inline std::uint64_t now_cycles() noexcept {
  __builtin_ia32_lfence();
  const std::uint64_t now = __builtin_ia32_rdtsc();
  __builtin_ia32_lfence();
  return now;
}

// Additions per TSC cycle in four independent chains: about four a core cycle when the core is
// ours alone, half of that when its sibling works. Takes about a third of a microsecond and no
// memory.
[[nodiscard]] double additions_per_cycle() noexcept;

// Core cycles per TSC cycle, by a chain of additions that wait for each other. A busy sibling does
// not change it.
[[nodiscard]] double core_cycles_per_cycle() noexcept;

}  // namespace podwire::bench
