// The command line, checked.
#pragma once

#include <optional>
#include <string>

#include "bench/ports/mlr_search.h"
#include "bench/ports/rate.h"
#include "bench/ports/testbed.h"

namespace podwire::ports {

struct Options {
  std::string system = "device";  // what is measured, as results name it
  EalOptions eal;
  TestbedOptions testbed;
  // As they were written, for the result.
  std::string size = "64", load = "max", new_flows = "0";
  Rate rate;
  double seconds = 10;
  bool open = true;
  bool search = false;                // NDR and PDR, then latency below PDR
  std::optional<double> connections;  // a second; 0: as many as can be
  std::vector<Goal> goals;
  SearchLimits limits;
  bool json = false;
  std::string percentiles;  // a file for latencies' distribution
};

// Nothing when --help was asked for and shown.
Result<std::optional<Options>> parse_options(int argc, char** argv);

}  // namespace podwire::ports
