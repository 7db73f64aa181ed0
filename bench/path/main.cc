// path: cycles per packet of the whole pipeline for established flows, beside those of a look-up in
// DPDK's rte_hash with as many keys, window by window in turn. Every flow's packet is checked
// before anything is measured.
#include <rte_cycles.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <cmath>
#include <cstdio>
#include <iostream>

#include "bench/lib/draw.h"
#include "bench/lib/options.h"
#include "bench/lib/record.h"
#include "bench/lib/rte_hash_table.h"
#include "bench/path/node.h"
#include "bench/path/workers.h"

namespace podwire::bench {
namespace {

struct Options {
  std::vector<std::string> cases;
  std::vector<std::uint32_t> flows;
  std::vector<std::string> distributions;
  Windows windows;
  unsigned workers = 1;
  bool json = false;
};

Row row_of(const test::FlowCase& c, std::uint32_t flows, const std::string& distribution,
           const std::vector<Measured>& measured) {
  const Spread& path = measured[0].cycles;
  const Spread& rte_hash = measured[1].cycles;
  Row row{
      {"bench", "path"},
      {"case", c.name},
      {"flows", flows},
      {"distribution", distribution},
      {"from", "received"},
      {"burst", kBurst},
      {"cycles_per_packet", to_json(path)},
      {"rte_hash_cycles", std::round(rte_hash.median * 10) / 10},
      {"rte_hash_spread", to_json(rte_hash)},
      {"ratio", std::round(path.median / rte_hash.median * 100) / 100},
      {"packets_per_second", std::llround(static_cast<double>(rte_get_tsc_hz()) / path.median)}};
  add_record(row, together(measured));
  return row;
}

std::string line_of(const Row& row) {
  const auto& cycles = row["cycles_per_packet"];
  char line[256];
  std::snprintf(line, sizeof(line), "%-22s %8u flows %-10s %6.1f cycles (%.1f to %.1f)",
                row["case"].get<std::string>().c_str(), row["flows"].get<unsigned>(),
                row["distribution"].get<std::string>().c_str(), cycles["median"].get<double>(),
                cycles["p10"].get<double>(), cycles["p90"].get<double>());
  std::string text = line;
  if (row.contains("ratio")) {
    text += ", rte_hash " + row["rte_hash_cycles"].dump() + ", ratio " + row["ratio"].dump();
  } else {
    text += ", one worker " + row["one_worker_cycles"].dump() + ", speedup " +
            row["speedup"].dump() + "; a bystander costs " + row["bystander_costs"].dump() +
            " times";
  }
  return text + (row["noise"]["quiet"].get<bool>() ? "" : "  (never quiet: quietest third)");
}

const test::FlowCase* find_case(std::string_view name) {
  for (const auto& c : test::flow_cases()) {
    if (name == c.name) return &c;
  }
  return nullptr;
}

// As many draws as there are flows, within reason: a short sequence would stay in the caches.
std::vector<std::uint32_t> sequence_of(const std::string& distribution, std::uint32_t flows) {
  return draw(distribution, flows, std::clamp(flows, 1U << 20U, 1U << 23U));
}

Windows windows_of(const Options& given, std::uint32_t flows) {
  Windows windows = given.windows;
  windows.warm_up = std::clamp(flows / kBurst, 64U, 8192U);
  return windows;
}

void measure(const test::FlowCase& c, std::uint32_t flows, const Options& given) {
  Node node(c, flows);
  Lane lane(node, c);
  for (const auto& distribution : given.distributions) {
    const auto sequence = sequence_of(distribution, flows);
    RteHashBaseline baseline(flows, sequence);
    const Subject subjects[] = {lane.subject(sequence), baseline.subject()};
    const auto measured = alternate(subjects, windows_of(given, flows));
    const Row row = row_of(c, flows, distribution, measured);
    show(row, given.json, line_of(row));
  }
}

void measure_workers(const test::FlowCase& c, std::uint32_t flows, const Options& given) {
  for (const auto& distribution : given.distributions) {
    const auto two = measure_two_workers(
        c, *find_case(c.reply), flows, sequence_of(distribution, flows), windows_of(given, flows));
    const auto part = [](double a, double b) { return (a + b) / 2; };
    const Spread &there = two.there.cycles, &back = two.back.cycles;
    const Spread mean{part(there.median, back.median), part(there.p10, back.p10),
                      part(there.p90, back.p90)};
    Row row{{"bench", "path_workers"},
            {"case", c.name},
            {"flows", flows},
            {"distribution", distribution},
            {"workers", 2},
            {"cycles_per_packet", to_json(mean)},
            {"one_worker_cycles", std::round(two.one.cycles.median * 10) / 10},
            {"there", to_json(there)},
            {"back", to_json(back)},
            {"there_alone", to_json(two.there_alone.cycles)},
            {"back_alone", to_json(two.back_alone.cycles)},
            {"bystander_costs", std::round(two.bystander_costs() * 1000) / 1000},
            {"speedup", std::round(two.speedup() * 1000) / 1000}};
    const Measured all[] = {two.one, two.there, two.back};
    add_record(row, together(all));
    show(row, given.json, line_of(row));
  }
}

void check_options(Options& given) {
  for (const auto& name : given.cases) {
    const auto* c = find_case(name);
    if (c == nullptr) stop("path", "no case " + name + "; --help lists them", 2);
    if (given.workers == 2 && c->reply == nullptr) {
      stop("path", name + " is one direction only: two workers need a case with a reply", 2);
    }
  }
  if (given.workers != 1 && given.workers != 2) stop("path", "--workers is 1 or 2", 2);
  if (given.workers == 2 && !has_two_cores()) stop("path", "two workers need two cores", 2);
  for (const auto& name : given.distributions) {
    if (!is_distribution(name)) {
      stop("path", std::string("--distribution is ") + kDistributions + ", not " + name, 2);
    }
  }
  for (const auto count : given.flows) {
    if (count == 0 || count > test::kMostFlows) {
      stop("path", "--flows is 1 to " + std::to_string(test::kMostFlows), 2);
    }
  }
  if (given.windows.wanted == 0 || !(given.windows.seconds_max > 0)) {
    stop("path", "--windows and --seconds are more than 0", 2);
  }
}

Options read_options(int argc, char** argv) {
  namespace po = boost::program_options;
  Options given;
  po::options_description known("path: cycles per packet through the whole pipeline");
  known.add_options()("help", "this text")("case", po::value(&given.cases)->multitoken(),
                                           "only these cases")(
      "flows",
      po::value(&given.flows)->multitoken()->default_value({1000, 1'000'000}, "1000 1000000"),
      "established flows")(
      "distribution",
      po::value(&given.distributions)->multitoken()->default_value({"uniform"}, "uniform"),
      "of packets over flows: uniform, zipf (exponent 1.1) or sequential")(
      "windows", po::value(&given.windows.wanted)->default_value(given.windows.wanted),
      "quiet windows of 256 packets that are wanted for each figure")(
      "workers", po::value(&given.workers)->default_value(1),
      "2: both directions, each carried by a worker of its own, against one that carries both")(
      "seconds", po::value(&given.windows.seconds_max)->default_value(given.windows.seconds_max),
      "at most, for each figure")("json", po::bool_switch(&given.json), "one JSON object a line");
  if (!read_words("path", known, argc, argv)) {
    std::cout << "Cases:\n";
    for (const auto& c : test::flow_cases()) std::printf("  %-22s %s\n", c.name, c.about);
    std::exit(0);
  }
  check_options(given);
  return given;
}

}  // namespace
}  // namespace podwire::bench

int main(int argc, char** argv) {
  using namespace podwire;
  const auto given = bench::read_options(argc, argv);
  bench::warn_of_build("path");
  test::start_eal();
  bench::make_packet_pool();
  for (const auto& c : test::flow_cases()) {
    const auto& wanted = given.cases;
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), c.name) == wanted.end())
      continue;
    if (given.workers == 2 && c.reply == nullptr) continue;
    for (const auto flows : given.flows) {
      given.workers == 2 ? bench::measure_workers(c, flows, given)
                         : bench::measure(c, flows, given);
    }
  }
  return 0;
}
