// The measurements of main.cc, each of which prints its rows.
#pragma once

#include <malloc.h>

#include <chrono>
#include <fstream>

#include "bench/lib/alternate.h"
#include "bench/lib/record.h"

namespace podwire::bench {

struct Options {
  unsigned prefixes = 1'000'000;
  Windows windows;
  bool json = false;
};

void measure_table(const Options& options);
// Linux's routes in memory, and the builder over them.
void measure_builder(const Options& options);
// A network namespace of its own, in which the kernel holds the routes. Needs root.
void measure_kernel(const Options& options);

[[nodiscard]] inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Without what was freed before and not yet given back.
[[nodiscard]] inline double resident_megabytes() {
  malloc_trim(0);
  std::ifstream file("/proc/self/statm");
  std::uint64_t size = 0, resident = 0;
  file >> size >> resident;
  return static_cast<double>(resident) * 4096 / 1e6;
}

}  // namespace podwire::bench
