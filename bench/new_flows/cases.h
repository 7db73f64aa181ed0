// The cases of new_flows. Each checks what it is about to measure, measures, and prints its row.
#pragma once

#include <cstdint>

namespace podwire::bench {

struct Options {
  std::uint32_t flows = 1'000'000;  // connections in the table
  double seconds = 10;
  bool json = false;
};

inline constexpr std::uint32_t kLeastFlows = 50'000, kMostFlows = 20'000'000;

void measure_udp(const Options& options);
void measure_tcp(const Options& options);
void measure_services(const Options& options);
void measure_syn_flood(const Options& options);
void measure_inserts(const Options& options);
void measure_ageing(const Options& options);
void measure_memory(const Options& options);

}  // namespace podwire::bench
