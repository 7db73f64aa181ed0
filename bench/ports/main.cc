// ports: podwire's own packet generator and sink.
#include <rte_eal.h>

#include <fstream>
#include <iostream>

#include "bench/ports/report.h"

namespace podwire::ports {
namespace {

Result<void> write_percentiles(const std::string& path, const Trial& trial) {
  Histogram latencies;
  for (const Direction& d : trial.directions) latencies.add(d.arrived.latency_ns);
  std::ofstream out(path);
  latencies.write_distribution(out, 1000);  // in microseconds
  if (!out.flush()) return fail("--percentiles: " + path + " cannot be written");
  return {};
}

Result<void> measure(const Options& options) {
  auto made = Testbed::make(options.testbed);
  if (!made) return tl::unexpected(made.error());
  Testbed& testbed = **made;
  const auto rate = options.rate.packets_per_second(options.testbed.traffic.mean_size(),
                                                    testbed.link_bits_per_second());
  if (!rate) return tl::unexpected(rate.error());
  if (options.open) {
    if (auto done = testbed.open_flows(); !done) return done;
  }
  const Trial trial = testbed.run(*rate, options.seconds);
  Row row = describe_setup(options);
  add_trial(row, options, trial);
  std::cout << (options.json ? row.dump() : line_of(row)) << std::endl;
  return options.percentiles.empty() ? Result<void>()
                                     : write_percentiles(options.percentiles, trial);
}

int run(int argc, char** argv) {
  const auto complain = [](const Error& error) {
    std::cerr << "ports: " << error.message << "\n";
    return 1;
  };
  const auto options = parse_options(argc, argv);
  if (!options) return complain(options.error()), 2;
  if (!*options) return 0;
  if (auto done = start_eal((*options)->eal); !done) return complain(done.error());
  const auto done = measure(**options);
  rte_eal_cleanup();
  return done ? 0 : complain(done.error());
}

}  // namespace
}  // namespace podwire::ports

int main(int argc, char** argv) {
  return podwire::ports::run(argc, argv);
}
