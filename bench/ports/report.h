// Results as JSON rows and as lines to read.
#pragma once

#include <nlohmann/json.hpp>

#include "bench/ports/mlr_search.h"
#include "bench/ports/options.h"

namespace podwire::ports {

using Row = nlohmann::ordered_json;

// What was measured with: system, devices, packets.
[[nodiscard]] Row describe_setup(const Options& options);
[[nodiscard]] double mpps_of(double packets_per_second);
// NDR and PDR: throughput and the bounds it lies between, of one direction; with two, their sum.
void add_search(Row& row, const Options& options, const SearchResult& result);
[[nodiscard]] std::string line_of_search(const Row& row);
// What came of a trial. Rates are sums over directions; with two, each is given, too.
void add_trial(Row& row, const Options& options, const Trial& trial);
void add_connections(Row& row, const ConnectionsDone& done);
[[nodiscard]] std::string line_of_connections(const Row& row);
[[nodiscard]] Row latency_row(const Histogram& latencies);

[[nodiscard]] std::string line_of(const Row& row);

}  // namespace podwire::ports
