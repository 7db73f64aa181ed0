// new_flows: what a connection costs from its first packet on. --help lists the cases.
#include <boost/program_options.hpp>
#include <cstdio>
#include <iostream>

#include "bench/lib/record.h"
#include "bench/new_flows/cases.h"
#include "bench/path/node.h"

namespace podwire::bench {
namespace {

struct Case {
  const char* name;
  const char* about;
  void (*measure)(const Options&);
};

constexpr Case kCases[]{
    {"udp", "new UDP flows: Service chosen, policy judged both ways, both directions entered",
     measure_udp},
    {"services", "new UDP flows to 10 Services, to 10 of 10,000, and to all of 10,000",
     measure_services},
    {"tcp", "complete TCP connections: handshake, request, reply, both FINs: 8 packets",
     measure_tcp},
    {"syn-flood", "established TCP with a burst of SYNs after each of its bursts, at the limit",
     measure_syn_flood},
    {"inserts", "single inserts to the limit and at it: the longest", measure_inserts},
    {"ageing", "a pass of the sweep over a full table", measure_ageing},
    {"memory", "a full table's memory", measure_memory},
};

bool is_case(const std::string& name) {
  return std::any_of(std::begin(kCases), std::end(kCases),
                     [&](const Case& c) { return name == c.name; });
}

}  // namespace
}  // namespace podwire::bench

int main(int argc, char** argv) {
  using namespace podwire::bench;
  namespace options = boost::program_options;
  std::vector<std::uint32_t> flows;
  std::vector<std::string> names;
  Options common;
  options::options_description description("new_flows: what new connections cost");
  description.add_options()("help", "this text")("case", options::value(&names)->composing(),
                                                 "only this case (repeat for more)")(
      "flows", options::value(&flows)->multitoken(),
      "connections in the table, of two entries each; default 1000000")(
      "seconds", options::value(&common.seconds)->default_value(10), "at most, for each figure")(
      "json", options::bool_switch(&common.json), "one JSON object a line");
  options::variables_map given;
  try {
    options::store(options::parse_command_line(argc, argv, description), given);
    options::notify(given);
  } catch (const options::error& error) {
    stop("new_flows", error.what(), 2);
  }
  if (given.contains("help")) {
    std::cout << description;
    for (const auto& c : kCases) std::printf("  %-10s %s\n", c.name, c.about);
    return 0;
  }
  for (const auto& name : names) {
    if (!is_case(name)) stop("new_flows", "no case " + name + "; --help lists them", 2);
  }
  if (flows.empty()) flows = {1'000'000};
  warn_of_build("new_flows");
  podwire::test::start_eal();
  make_packet_pool();
  for (const std::uint32_t count : flows) {
    if (count < kLeastFlows || count > kMostFlows) {
      stop("new_flows",
           "--flows is " + std::to_string(kLeastFlows) + " to " + std::to_string(kMostFlows), 2);
    }
    common.flows = count;
    for (const auto& c : kCases) {
      if (names.empty() || std::find(names.begin(), names.end(), c.name) != names.end()) {
        c.measure(common);
      }
    }
  }
  return 0;
}
