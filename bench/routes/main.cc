// routes: a million learned prefixes. What the route table, the builder and the mirror of Linux's
// routes take of memory and time, and how soon a change is in force.
#include <rte_eal.h>
#include <unistd.h>

#include <boost/program_options.hpp>
#include <string>
#include <vector>

#include "bench/lib/options.h"
#include "bench/routes/measures.h"
#include "dataplane/check.h"

namespace podwire::bench {
namespace {

void start_eal() {
  const std::string prefix = "podwire-bench-" + std::to_string(::getpid());
  std::vector<std::string> words{"routes", "--no-huge",   "--no-pci",       "--no-shconf",
                                 "-m",     "64",          "--no-telemetry", "--file-prefix",
                                 prefix,   "--log-level", "error"};
  std::vector<char*> arguments;
  for (auto& word : words) arguments.push_back(word.data());
  check(rte_eal_init(static_cast<int>(arguments.size()), arguments.data()) >= 0,
        "DPDK did not start; its messages above say why");
}

}  // namespace
}  // namespace podwire::bench

int main(int argc, char** argv) {
  using namespace podwire::bench;
  namespace po = boost::program_options;
  Options given;
  std::string only;
  po::options_description known("routes: what a million learned prefixes cost");
  known.add_options()("help", "this text")("json", po::bool_switch(&given.json),
                                           "one JSON object a line")(
      "prefixes", po::value(&given.prefixes)->default_value(given.prefixes), "of Linux's table")(
      "only", po::value(&only)->value_name("PART"), "table, builder or kernel");
  if (!read_words("routes", known, argc, argv)) return 0;
  if (given.prefixes < 1000 || given.prefixes > 4'000'000) {
    stop("routes", "--prefixes is not between 1000 and 4000000", 2);
  }
  if (!only.empty() && only != "table" && only != "builder" && only != "kernel") {
    stop("routes", "--only is none of table, builder, kernel", 2);
  }
  warn_of_build("routes");
  if (only.empty() || only == "builder") measure_builder(given);
  if (only.empty() || only == "kernel") measure_kernel(given);
  if (only.empty() || only == "table") {
    start_eal();
    measure_table(given);
  }
  return 0;
}
