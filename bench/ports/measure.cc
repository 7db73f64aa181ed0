#include "bench/ports/measure.h"

#include <algorithm>
#include <cstdio>

namespace podwire::ports {
namespace {

Histogram latencies_of(const Trial& trial) {
  Histogram all;
  for (const Direction& direction : trial.directions) all.add(direction.arrived.latency_ns);
  return all;
}

double loss_ratio(const Trial& trial) {
  if (trial.intended() == 0) return 1;
  return 1 - static_cast<double>(trial.arrived()) / static_cast<double>(trial.intended());
}

// The largest load that is worth trying: --rate, or twice what the device takes at full speed, but
// no more than the link carries.
Result<double> largest_load(Testbed& testbed, const Options& options) {
  const double size = options.testbed.traffic.mean_size();
  const double link = testbed.link_bits_per_second();
  const auto given = options.rate.packets_per_second(size, link);
  if (!given || *given > 0) return given;
  const double seconds = options.goals.front().initial_duration;
  const Trial trial = testbed.run(0, seconds);
  const double taken =
      static_cast<double>(trial.sent()) / seconds / static_cast<double>(trial.directions.size());
  if (taken == 0) return fail("--search: the device takes no packets");
  return link > 0 ? std::min(2 * taken, link_packets_per_second(size, link)) : 2 * taken;
}

}  // namespace

Result<Measurement> measure_rate(Testbed& testbed, const Options& options) {
  const auto rate = options.rate.packets_per_second(options.testbed.traffic.mean_size(),
                                                    testbed.link_bits_per_second());
  if (!rate) return tl::unexpected(rate.error());
  const Trial trial = testbed.run(*rate, options.seconds);
  Measurement out{describe_setup(options), {}, latencies_of(trial)};
  add_trial(out.row, options, trial);
  out.line = line_of(out.row);
  return out;
}

Result<Measurement> measure_connections(Testbed& testbed, const Options& options) {
  const ConnectionsDone done = testbed.run_connections(*options.connections, options.seconds);
  Measurement out{describe_setup(options), {}, done.duration_ns};
  add_connections(out.row, done);
  out.line = line_of_connections(out.row);
  if (done.completed == 0) return fail("--connections: none came through the device under test");
  return out;
}

Result<Measurement> measure_search(Testbed& testbed, const Options& options) {
  const auto largest = largest_load(testbed, options);
  if (!largest) return tl::unexpected(largest.error());
  SearchLimits limits = options.limits;
  limits.largest_load = std::max(*largest, limits.least_load);
  const auto measure = [&](double load, double seconds) {
    const Trial trial = testbed.run(load, seconds);
    std::fprintf(stderr, "ports: %.6f Mpps for %.2f s: %.4f %% lost\n", load / 1e6, seconds,
                 100 * loss_ratio(trial));
    return loss_ratio(trial);
  };
  const SearchResult found = search(limits, options.goals, measure);
  Measurement out{describe_setup(options), {}, {}};
  add_search(out.row, options, found);
  const double pdr = found.goals.back().throughput;
  for (const int percent : {10, 50, 90}) {
    if (pdr == 0) break;
    const Trial trial = testbed.run(pdr * percent / 100, options.seconds);
    Row level{{"percent_of_pdr", percent}};
    add_trial(level, options, trial);
    out.row["latency"].push_back(level);
    out.latencies.add(latencies_of(trial));
  }
  out.line = line_of_search(out.row);
  return out;
}

}  // namespace podwire::ports
