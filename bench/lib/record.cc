#include "bench/lib/record.h"

#include <rte_version.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iostream>

#include "bench/lib/commit.h"

namespace podwire::bench {
namespace {

double rounded(double value, double steps) {
  return std::round(value * steps) / steps;
}

std::string machine() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

std::string date() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  return {text, std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc)};
}

}  // namespace

Row to_json(const Spread& spread) {
  return {{"median", rounded(spread.median, 10)},
          {"p10", rounded(spread.p10, 10)},
          {"p90", rounded(spread.p90, 10)}};
}

Row to_json(const Noise& noise) {
  const auto& speed = noise.calibration;
  return {{"windows", noise.windows},
          {"accepted", rounded(noise.share(), 1e6)},
          {"quiet", noise.quiet},
          {"taken", noise.quiet ? "quiet windows" : "quietest third"},
          {"calibration",
           {{"median", rounded(speed.median, 100)},
            {"p10", rounded(speed.p10, 100)},
            {"p90", rounded(speed.p90, 100)}}},
          {"core_cycles_per_tsc_cycle", rounded(noise.core, 100)}};
}

void add_record(Row& row, const Noise& noise) {
  utsname kernel{};
  (void)uname(&kernel);
  row["machine"] = machine();
  row["cores"] = ::sysconf(_SC_NPROCESSORS_ONLN);
  row["kernel"] = kernel.release;
  row["dpdk"] = rte_version();
  row["commit"] = kCommit;
  row["build"] = build_type();
  row["date"] = date();
  row["noise"] = to_json(noise);
}

const char* build_type() {
#if defined(NDEBUG) && defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
  return "release";
#else
  return "debug";
#endif
}

void warn_of_build(const char* program) {
  if (std::string_view(build_type()) == "release") return;
  std::cerr << program << ": a debug build, its figures say nothing: scripts/build release\n";
}

void show(const Row& row, bool as_json, const std::string& line) {
  if (as_json) {
    std::cout << row.dump() << std::endl;
  } else {
    std::cout << line << std::endl;
  }
}

void stop(const char* program, const std::string& sentence, int status) {
  std::cerr << program << ": " << sentence << "\n";
  std::exit(status);
}

}  // namespace podwire::bench
