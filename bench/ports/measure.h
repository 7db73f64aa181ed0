// The measurements: one trial at a rate, the search for NDR and PDR with latency below, and TCP
// connections.
#pragma once

#include "bench/ports/options.h"
#include "bench/ports/report.h"

namespace podwire::ports {

// What a measurement came to, and the latencies that --percentiles is for.
struct Measurement {
  Row row;
  std::string line;
  Histogram latencies;
};

Result<Measurement> measure_rate(Testbed& testbed, const Options& options);
Result<Measurement> measure_connections(Testbed& testbed, const Options& options);
Result<Measurement> measure_search(Testbed& testbed, const Options& options);

}  // namespace podwire::ports
