// Linux's routes as the mirror keeps them, and what the builder makes of them.
#include <cstdio>

#include "bench/routes/measures.h"
#include "bench/routes/node.h"
#include "bench/routes/prefixes.h"

namespace podwire::bench {
namespace {

using control::LinuxPath;
using control::LinuxPaths;
using control::LinuxRoutes;

constexpr unsigned kGateways = 64, kGroups = 64;
constexpr std::uint8_t kBird = 12;

LinuxPath path_by(unsigned gateway) {
  LinuxPath path;
  path.gateway = net::Address::from_v4(net::be32(0xc0000202U + gateway));
  path.has_gateway = path.through_host_tap = true;
  path.device = 3;
  return path;
}

// Of 64 gateways or 64 groups of four.
LinuxPaths saying(unsigned n) {
  LinuxPaths says;
  if (n % 2 == 0) {
    says.paths = {path_by(n / 2 % kGateways)};
    return says;
  }
  for (unsigned member = 0; member < 4; ++member) {
    says.paths.push_back(path_by((n / 2 % kGroups + member * 7) % kGateways));
  }
  std::sort(says.paths.begin(), says.paths.end());
  return says;
}

}  // namespace

void measure_builder(const Options& options) {
  const auto prefixes = random_prefixes(options.prefixes, 1);
  const double before = resident_megabytes();
  auto start = std::chrono::steady_clock::now();
  control::LinuxState linux_state;
  linux_state.routes = std::make_shared<LinuxRoutes>(options.prefixes + 1);
  LinuxRoutes& routes = *linux_state.routes;
  routes.begin_reading();
  for (unsigned n = 0; n < prefixes.size(); ++n) {
    routes.read(prefixes[n], saying(n), 32, kBird);
  }
  routes.end_reading();
  const double read = seconds_since(start), mirror_mb = resident_megabytes() - before;
  RouteNode node;
  start = std::chrono::steady_clock::now();
  node.build(linux_state, true);
  const double build = seconds_since(start), all_mb = resident_megabytes() - before;
  if (node.table().prefixes.size() < prefixes.size()) stop("routes", "prefixes are missing");

  std::mt19937 random(4);
  const auto changes = [&](unsigned each, unsigned rounds) {
    std::vector<double> us;
    for (unsigned round = 0; round < rounds; ++round) {
      start = std::chrono::steady_clock::now();
      for (unsigned n = 0; n < each; ++n) {
        routes.add(prefixes[random() % prefixes.size()], saying(static_cast<unsigned>(random())),
                   32, kBird, LinuxRoutes::Add::replace);
      }
      node.build(linux_state, false);
      us.push_back(seconds_since(start) * 1e6);
    }
    return spread_of(std::move(us));
  };
  const Spread one = changes(1, 500), thousand = changes(1000, 50);
  start = std::chrono::steady_clock::now();
  node.build(linux_state, true);
  const double others = seconds_since(start);
  char text[240];
  (void)std::snprintf(
      text, sizeof text,
      "builder   read %.2f s, %.0f MB; built %.2f s, %.0f MB in all; one change p50 %.0f p90 %.0f "
      "us, 1,000 together %.0f us; a neighbour's change %.1f ms",
      read, mirror_mb, build, all_mb, one.median, one.p90, thousand.median, others * 1e3);
  Row row{{"case", "builder"},
          {"prefixes", prefixes.size()},
          {"read_s", read},
          {"mirror_megabytes", mirror_mb},
          {"build_s", build},
          {"megabytes", all_mb},
          {"change_us", to_json(one)},
          {"thousand_us", to_json(thousand)},
          {"others_ms", others * 1e3}};
  add_record(row, {});
  show(row, options.json, text);
}

}  // namespace podwire::bench
