// changes: what a change of configuration adds to the bursts of established flows. One thread
// carries bursts at a fixed rate; meanwhile another replaces every Service and every policy, again
// and again, in every second phase.
#include <atomic>
#include <boost/program_options.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <random>
#include <thread>

#include "bench/changes/cluster.h"
#include "bench/lib/calibration.h"
#include "bench/lib/options.h"
#include "bench/lib/record.h"
#include "bench/lib/thread_time.h"
#include "bench/path/node.h"
#include "dataplane/flow/flows.h"

namespace podwire::bench {
namespace {

using namespace std::chrono_literals;

struct Options {
  std::uint32_t flows = 100'000;
  double rate = 1e6;  // packets a second
  double seconds = 10;
  bool json = false;
};

constexpr auto kBetweenChanges = 100ms;
constexpr double kPhaseSeconds = 1;
constexpr double kAllowed = 50;   // us
constexpr unsigned kWindow = 16;  // bursts whose buffers are made at once

// Microseconds of the bursts of one kind of phase.
struct Bursts {
  std::vector<float> elapsed, at_work;
  std::uint64_t rejudged = 0;

  [[nodiscard]] static double at(std::vector<float> sorted, double share) {
    if (sorted.empty()) return 0;
    std::sort(sorted.begin(), sorted.end());
    const double last = static_cast<double>(sorted.size() - 1);
    return std::round(sorted[static_cast<std::size_t>(share * last)] * 100) / 100;
  }
  [[nodiscard]] Row row(const std::vector<float>& times, double allowed) const {
    const auto over = std::count_if(times.begin(), times.end(),
                                    [&](float t) { return static_cast<double>(t) > allowed; });
    return {{"p50", at(times, 0.5)},
            {"p99", at(times, 0.99)},
            {"p999", at(times, 0.999)},
            {"worst", at(times, 1)},
            {"over", over}};
  }
};

// The control thread: builds, publishes, waits until no worker holds the old version, and ends it.
class Changes {
 public:
  explicit Changes(Client& client) : client_(client), cluster_(client) {
    current_ = cluster_.next_version();
    client_.world().shared().snapshot.store(current_.get(), std::memory_order_release);
  }
  ~Changes() { stop(); }
  Changes(const Changes&) = delete;
  Changes& operator=(const Changes&) = delete;

  void start() {
    stopping_ = false;
    running_ = true;
    thread_ = std::thread([this] {
      while (!stopping_.load()) {
        change();
        std::this_thread::sleep_for(kBetweenChanges);
      }
      running_ = false;
    });
  }
  // From the thread that reports quiescence, which goes on reporting until stopped().
  void ask_to_stop() { stopping_ = true; }
  [[nodiscard]] bool stopped() const { return !running_.load(); }
  void stop() {
    if (thread_.joinable()) thread_.join();
  }
  [[nodiscard]] std::uint64_t count() const { return count_; }

 private:
  void change() {
    auto next = cluster_.next_version();
    auto& shared = client_.world().shared();
    shared.snapshot.store(next.get(), std::memory_order_release);
    const auto old = std::exchange(current_, std::move(next));
    const std::uint64_t token = shared.quiescence.begin();
    while (!shared.quiescence.passed(token)) std::this_thread::sleep_for(100us);
    ++count_;
  }

  Client& client_;
  Cluster cluster_;
  std::unique_ptr<const tables::Snapshot> current_;
  std::thread thread_;
  std::atomic<bool> stopping_{false}, running_{false};
  std::atomic<std::uint64_t> count_{0};
};

// The worker's thread.
class Load {
 public:
  Load(Client& client, const Options& options)
      : client_(client),
        flows_(options.flows),
        cycles_a_us_(static_cast<double>(client.cycles_per_second()) / 1e6),
        between_(kBatchSize / options.rate * 1e6 * cycles_a_us_),
        random_(1) {}

  // Carries bursts until `stopped()`, each when it is due.
  template <typename Stopped>
  void carry(Bursts& out, Stopped&& stopped) {
    Worker& w = client_.world().worker();
    const std::uint64_t judged = w.counters.policy_rejudged.read();
    auto due = static_cast<double>(now_cycles());
    while (!stopped()) {
      make_bursts();
      for (Burst& burst : bursts_) {
        while (static_cast<double>(now_cycles()) < due) _mm_pause();
        due += between_;
        time(burst, out);
      }
      if (client_.discard_sent() != std::size_t{kWindow} * kBatchSize) {
        stop("changes", "packets of established flows were lost");
      }
      due = std::max(due, static_cast<double>(now_cycles()));
    }
    out.rejudged += w.counters.policy_rejudged.read() - judged;
  }

 private:
  void make_bursts() {
    for (Burst& burst : bursts_) {
      while (!burst.full()) {
        client_.append(burst, static_cast<std::uint32_t>(random_() % flows_), Client::Kind::udp);
      }
    }
  }
  void time(Burst& burst, Bursts& out) {
    Worker& w = client_.world().worker();
    const std::uint64_t had = thread_nanoseconds(), start = now_cycles();
    w.process(burst);
    client_.world().shared().flows->sweep(0, 1, w.now_seconds);
    client_.world().shared().quiescence.report(0);
    const std::uint64_t end = now_cycles(), has = thread_nanoseconds();
    out.elapsed.push_back(static_cast<float>(static_cast<double>(end - start) / cycles_a_us_));
    out.at_work.push_back(std::min(out.elapsed.back(), static_cast<float>(has - had) / 1000));
  }

  Client& client_;
  const std::uint32_t flows_;
  const double cycles_a_us_, between_;
  std::mt19937 random_;
  std::array<Burst, kWindow> bursts_;
};

std::uint64_t drops_of(const Worker& w) {
  std::uint64_t drops = 0;
  for (const auto& counter : w.counters.drops) drops += counter.read();
  return drops;
}

void report(const Options& options, const Bursts& quiet, const Bursts& changing,
            std::uint64_t changes) {
  const double allowed = Bursts::at(quiet.at_work, 0.5) + kAllowed;
  const auto phase = [&](const Bursts& bursts) {
    return Row{{"bursts", bursts.elapsed.size()},
               {"rejudged", bursts.rejudged},
               {"at_work", bursts.row(bursts.at_work, allowed)},
               {"elapsed", bursts.row(bursts.elapsed, allowed)}};
  };
  Row row{{"case", "changes"},
          {"flows", options.flows},
          {"rate", options.rate},
          {"changes", changes},
          {"lost", 0},
          {"quiet", phase(quiet)},
          {"changing", phase(changing)}};
  add_record(row, {});
  char text[600];
  const auto line = [&](const char* name, const Bursts& b, std::size_t at) {
    return std::snprintf(
        text + at, sizeof text - at,
        "%s%-9s %7zu bursts  at work p50 %.1f  p99 %.1f  p99.9 %.1f  worst %.1f us, %ld over "
        "+%.0f us; elapsed worst %.1f us",
        at == 0 ? "" : "\n", name, b.elapsed.size(), b.at(b.at_work, 0.5), b.at(b.at_work, 0.99),
        b.at(b.at_work, 0.999), b.at(b.at_work, 1), b.row(b.at_work, allowed)["over"].get<long>(),
        kAllowed, b.at(b.elapsed, 1));
  };
  int length = line("quiet", quiet, 0);
  length += line("changing", changing, static_cast<std::size_t>(length));
  (void)std::snprintf(text + length, sizeof text - static_cast<std::size_t>(length),
                      "\n%lu changes, %lu flows judged again, no packet lost",
                      static_cast<unsigned long>(changes),
                      static_cast<unsigned long>(changing.rejudged));
  show(row, options.json, text);
}

void run(const Options& options) {
  Client client({.limit = options.flows + 4096});
  client.open(0, options.flows);
  Changes changes(client);
  Load load(client, options);
  Bursts first, quiet, changing;
  const auto phase = [&](Bursts& out) {
    const auto end =
        std::chrono::steady_clock::now() + std::chrono::duration<double>(kPhaseSeconds);
    load.carry(out, [&] { return std::chrono::steady_clock::now() >= end; });
  };
  phase(first);  // the first version's flows are judged
  const std::uint64_t drops = drops_of(client.world().worker());
  for (double at = 0; at < options.seconds; at += 2 * kPhaseSeconds) {
    phase(quiet);
    changes.start();
    phase(changing);
    changes.ask_to_stop();
    load.carry(changing, [&] { return changes.stopped(); });
    changes.stop();
    Bursts rest;  // what the last change left to be judged
    phase(rest);
  }
  if (drops_of(client.world().worker()) != drops) stop("changes", "packets were dropped");
  report(options, quiet, changing, changes.count());
}

}  // namespace
}  // namespace podwire::bench

int main(int argc, char** argv) {
  using namespace podwire::bench;
  namespace po = boost::program_options;
  Options given;
  po::options_description known("changes: bursts while 10,000 Services and policies are replaced");
  known.add_options()("help", "this text")(
      "flows", po::value(&given.flows)->default_value(given.flows), "established flows")(
      "rate", po::value(&given.rate)->default_value(given.rate), "packets a second")(
      "seconds", po::value(&given.seconds)->default_value(given.seconds),
      "without and with changes")("json", po::bool_switch(&given.json), "one JSON object a line");
  if (!read_words("changes", known, argc, argv)) return 0;
  if (given.flows < 1000 || given.flows > 10'000'000) {
    stop("changes", "--flows is 1000 to 10000000", 2);
  }
  if (!(given.rate >= 1000 && given.rate <= 1e8)) stop("changes", "--rate is 1000 to 100000000", 2);
  if (!(given.seconds > 0)) stop("changes", "--seconds is more than 0", 2);
  warn_of_build("changes");
  podwire::test::start_eal();
  make_packet_pool();
  run(given);
  return 0;
}
