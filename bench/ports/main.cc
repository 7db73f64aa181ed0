// ports: podwire's own packet generator and sink.
#include <rte_eal.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <thread>

#include "bench/lib/record.h"
#include "bench/ports/measure.h"

namespace podwire::ports {
namespace {

constexpr double kNoiseSeconds = 0.3;

// How quiet this core is, for the record.
bench::Noise observe_noise() {
  const bench::Subject idle{[] { std::this_thread::sleep_for(std::chrono::microseconds(200)); },
                            [] { return std::uint64_t{1}; }};
  return bench::alternate({&idle, 1}, {.wanted = ~0U, .warm_up = 0, .seconds_max = kNoiseSeconds})
      .front()
      .noise;
}

Result<void> write_percentiles(const std::string& path, const Histogram& latencies) {
  std::ofstream out(path);
  latencies.write_distribution(out, 1000);  // in microseconds
  if (!out.flush()) return fail("--percentiles: " + path + " cannot be written");
  return {};
}

Result<void> measure(const Options& options) {
  const bench::Noise noise = observe_noise();
  auto made = Testbed::make(options.testbed);
  if (!made) return tl::unexpected(made.error());
  Testbed& testbed = **made;
  if (options.open && !options.connections) {
    if (auto done = testbed.open_flows(); !done) return done;
  }
  auto done = options.connections ? measure_connections(testbed, options)
              : options.search    ? measure_search(testbed, options)
                                  : measure_rate(testbed, options);
  if (!done) return tl::unexpected(done.error());
  bench::add_record(done->row, noise);
  bench::show(done->row, options.json, done->line);
  return options.percentiles.empty() ? Result<void>()
                                     : write_percentiles(options.percentiles, done->latencies);
}

int run(int argc, char** argv) {
  const auto complain = [](const Error& error, int status) {
    std::cerr << "ports: " << error.message << "\n";
    return status;
  };
  const auto options = parse_options(argc, argv);
  if (!options) return complain(options.error(), 2);
  if (!*options) return 0;
  bench::warn_of_build("ports");
  if (auto done = start_eal((*options)->eal); !done) return complain(done.error(), 1);
  const auto done = measure(**options);
  rte_eal_cleanup();
  return done ? 0 : complain(done.error(), 1);
}

}  // namespace
}  // namespace podwire::ports

int main(int argc, char** argv) {
  return podwire::ports::run(argc, argv);
}
