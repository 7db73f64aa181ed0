// noise: how quiet this machine is, as the record of a measurement tells it. For benches in Python,
// which measure other programs, and to see whether measuring makes sense now.
#include <algorithm>
#include <boost/program_options.hpp>
#include <chrono>
#include <iostream>
#include <thread>

#include "bench/lib/alternate.h"
#include "bench/lib/calibration.h"
#include "bench/lib/record.h"

namespace podwire::bench {
namespace {

// Calibrations alone, spread over the time: a subject that does nothing.
Noise observe(double seconds) {
  const Subject idle{[] { std::this_thread::sleep_for(std::chrono::microseconds(200)); },
                     [] { return std::uint64_t{1}; }};
  return alternate({&idle, 1}, {.wanted = ~0U, .warm_up = 0, .seconds_max = seconds})[0].noise;
}

}  // namespace
}  // namespace podwire::bench

int main(int argc, char** argv) {
  using namespace podwire::bench;
  namespace options = boost::program_options;
  double seconds = 1;
  options::options_description known("noise: share of quiet moments on this core, as JSON");
  known.add_options()("help", "this text")("seconds", options::value(&seconds)->default_value(1),
                                           "how long to look");
  options::variables_map given;
  try {
    options::store(options::parse_command_line(argc, argv, known), given);
    options::notify(given);
  } catch (const options::error& error) {
    stop("noise", error.what(), 2);
  }
  if (given.contains("help")) {
    std::cout << known;
    return 0;
  }
  Row row;
  add_record(row, observe(std::clamp(seconds, 0.01, 3600.0)));
  std::cout << row.dump() << "\n";
  return 0;
}
