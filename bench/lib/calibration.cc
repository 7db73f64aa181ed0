#include "bench/lib/calibration.h"

namespace podwire::bench {

double additions_per_cycle() noexcept {
  constexpr unsigned kTurns = 128;
  std::uint64_t a = 1, b = 2, c = 3, d = 4;
  const std::uint64_t start = now_cycles();
  for (unsigned turn = 0; turn < kTurns; ++turn) {
    asm volatile(".rept 8\n add $1, %0\n add $1, %1\n add $1, %2\n add $1, %3\n .endr"
                 : "+r"(a), "+r"(b), "+r"(c), "+r"(d)
                 :
                 : "cc");
  }
  return kTurns * 32.0 / static_cast<double>(now_cycles() - start);
}

double core_cycles_per_cycle() noexcept {
  constexpr unsigned kTurns = 128;
  std::uint64_t a = 1;
  const std::uint64_t start = now_cycles();
  for (unsigned turn = 0; turn < kTurns; ++turn) {
    asm volatile(".rept 32\n add %0, %0\n .endr" : "+r"(a) : : "cc");
  }
  return kTurns * 32.0 / static_cast<double>(now_cycles() - start);
}

}  // namespace podwire::bench
