// The mirror over a kernel that holds the routes, in a network namespace of its own.
#include <sched.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>

#include "bench/routes/measures.h"
#include "bench/routes/node.h"
#include "bench/routes/prefixes.h"
#include "control/routes/mirror.h"

namespace podwire::bench {
namespace {

namespace routes = control::routes;
using Clock = std::chrono::steady_clock;

constexpr unsigned kGateways = 64;
constexpr unsigned kChanges = 300;
constexpr unsigned kStorm = 100'000;

void shell(const std::string& command) {
  if (std::system(command.c_str()) != 0) stop("routes", command + " fails");
}

net::Address gateway_of(unsigned n) {
  return net::Address::from_v4(net::be32(0xc0000202U + n % kGateways));
}

// Puts routes into this thread's namespace as bird does: one by one, each answered.
class Kernel {
 public:
  explicit Kernel(int device) : device_(device) {
    auto opened = routes::Netlink::open();
    if (!opened) stop("routes", opened.error().message);
    netlink_ = std::move(*opened);
  }
  void put(const net::Prefix& to, unsigned gateway) {
    routes::Message message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
    routes::KernelRoute route;
    route.destination = to;
    route.protocol = RTPROT_BIRD;
    route.metric = 32;
    route.type = RTN_UNICAST;
    control::LinuxPath path;
    path.has_gateway = true;
    path.gateway = gateway_of(gateway);
    route.says.paths = {path};
    routes::put_route(message, route, device_);
    if (const auto done = netlink_->request(message); !done) {
      stop("routes", to.to_string() + ": " + done.error().message);
    }
  }

 private:
  const int device_;
  std::optional<routes::Netlink> netlink_;
};

struct Followed {
  boost::asio::io_context io;
  bool told = false;
  routes::Mirror mirror;
  RouteNode node;

  explicit Followed(std::size_t limit)
      : mirror(io, {.name = "podwire0"}, limit, [this] { told = true; }) {}
  void build(bool others) { node.build(mirror.state(), others); }
  // Lets events in, and builds whenever there is something to build, until the condition holds.
  template <typename Condition>
  void until(Condition condition) {
    while (!condition()) {
      io.restart();
      io.run_one_for(std::chrono::milliseconds(20));
      if (std::exchange(told, false)) build(false);
    }
  }
  [[nodiscard]] net::Address gateway_to(const net::Prefix& prefix) const {
    const tables::NextHopId* id = node.table().prefixes.exact(prefix);
    return id == nullptr ? net::Address{} : node.table().at(*id).gateway;
  }
};

// Puts `count` routes in from another thread while the mirror follows and builds; each n-th prefix
// by the gateway n + shift. Seconds until the last one is in the table.
double storm(Followed& followed, const std::vector<net::Prefix>& prefixes, std::size_t count,
             unsigned shift) {
  const int device = followed.mirror.host_tap_index();
  const auto start = Clock::now();
  std::thread bird([&] {
    Kernel kernel(device);
    for (unsigned n = 0; n < count; ++n) kernel.put(prefixes[n], n + shift);
  });
  const auto last = static_cast<unsigned>(count - 1);
  followed.until([&] { return followed.gateway_to(prefixes[last]) == gateway_of(last + shift); });
  const double took = seconds_since(start);
  bird.join();
  return took;
}

// Milliseconds from the kernel's answer to the table that has the change, one after another.
std::vector<double> single_changes(Followed& followed, const std::vector<net::Prefix>& prefixes) {
  Kernel kernel(followed.mirror.host_tap_index());
  std::mt19937 random(6);
  std::vector<double> all;
  for (unsigned n = 0; n < kChanges; ++n) {
    const net::Prefix& prefix = prefixes[random() % prefixes.size()];
    const auto gateway = static_cast<unsigned>(random());
    kernel.put(prefix, gateway);
    const auto start = Clock::now();
    followed.until([&] { return followed.gateway_to(prefix) == gateway_of(gateway); });
    all.push_back(seconds_since(start) * 1e3);
  }
  return all;
}

void measure(const Options& options) {
  shell(
      "ip link set lo up; ip link add podwire0 type veth peer name wire && ip link set wire up && "
      "ip link set podwire0 up && ip address add 192.0.2.1/24 dev podwire0");
  const auto prefixes = random_prefixes(options.prefixes, 1);
  Followed followed(options.prefixes + 1000);
  if (auto started = followed.mirror.start(); !started) stop("routes", started.error().message);
  followed.build(true);
  const double filled_s = storm(followed, prefixes, prefixes.size(), 0);

  const double before = resident_megabytes();
  auto start = Clock::now();
  auto fresh = std::make_unique<Followed>(options.prefixes + 1000);
  if (auto read = fresh->mirror.start(); !read) stop("routes", read.error().message);
  const double read_s = seconds_since(start);
  start = Clock::now();
  fresh->build(true);
  const double build_s = seconds_since(start), megabytes = resident_megabytes() - before;
  fresh.reset();

  const std::vector<double> in_force = single_changes(followed, prefixes);
  const double worst = *std::max_element(in_force.begin(), in_force.end());
  const Spread ms = spread_of(in_force);
  const std::size_t many = std::min<std::size_t>(kStorm, prefixes.size());
  const double per_s = static_cast<double>(many) / storm(followed, prefixes, many, 1);

  char text[300];
  (void)std::snprintf(
      text, sizeof text,
      "kernel    %zu routes put and followed in %.1f s; read anew %.2f s, built %.2f s, %.0f MB; a "
      "change in force after p50 %.2f p90 %.2f max %.2f ms; a storm of changes %.0f/s",
      prefixes.size(), filled_s, read_s, build_s, megabytes, ms.median, ms.p90, worst, per_s);
  Row row{{"case", "kernel"},           {"prefixes", prefixes.size()}, {"filled_s", filled_s},
          {"read_s", read_s},           {"build_s", build_s},          {"megabytes", megabytes},
          {"in_force_ms", to_json(ms)}, {"in_force_max_ms", worst},    {"storm_per_s", per_s}};
  add_record(row, {});
  show(row, options.json, text);
}

}  // namespace

void measure_kernel(const Options& options) {
  if (geteuid() != 0) {
    (void)std::fprintf(stderr, "routes: the kernel's part needs root: left out\n");
    return;
  }
  std::thread([&] {
    if (unshare(CLONE_NEWNET) != 0) stop("routes", "no network namespace of its own");
    measure(options);
  }).join();
}

}  // namespace podwire::bench
