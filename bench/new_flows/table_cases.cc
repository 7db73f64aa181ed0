// The flow table alone: how long single inserts take, a pass of the sweep, memory.
#include <rte_cycles.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <memory>
#include <utility>

#include "bench/lib/calibration.h"
#include "bench/lib/record.h"
#include "bench/lib/thread_time.h"
#include "bench/new_flows/cases.h"
#include "dataplane/flow/flow_map.h"

namespace podwire::bench {
namespace {

using Map = flow::FlowMap<flow::V4>;
constexpr double kMostMicroseconds = 20;

flow::NewFlow<flow::V4> connection(std::uint32_t n) {
  flow::NewFlow<flow::V4> flow;
  flow.forward = flow::make_key(
      net::protocol::udp, net::be16{}, net::be32(0x0a000000 + n / 50'000), net::be32(0x0a600001),
      net::be16(static_cast<std::uint16_t>(1024 + n % 50'000)), net::be16(53));
  flow.rewrite = {flow.forward.source, net::be32(0x0af40103), flow.forward.source_port,
                  net::be16(5353)};
  return flow;
}

// A table of this many connections, and the one thread that uses it.
struct Table {
  explicit Table(std::uint32_t limit) : quiescence(1), map(limit, FlowTimeouts{}, quiescence) {
    quiescence.online(0);
  }
  ~Table() { quiescence.offline(0); }
  void fill() {
    for (std::uint32_t n = 0; n < map.limit(); ++n) {
      if (map.insert(connection(n), 1).outcome != flow::Outcome::inserted) {
        stop("new_flows", "the table refuses connection " + std::to_string(n) + " of its limit");
      }
    }
    for (std::uint32_t n = 0; n < map.limit(); n += 97) {
      const auto flow = connection(n);
      const auto* found = map.find(flow.forward);
      if (found == nullptr || map.find(map.at(found->peer).key) != &map.at(found->peer)) {
        stop("new_flows", "the table has lost connection " + std::to_string(n));
      }
    }
  }

  tables::Quiescence quiescence;
  Map map;
};

std::uint64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t size = 0, resident = 0;
  statm >> size >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

double cycles_per_us() {
  return static_cast<double>(rte_get_tsc_hz()) / 1e6;
}

// What takes longer than an insert may, and how long the longest took.
struct Longest {
  std::uint64_t over = 0, cycles = 0;
  void see(std::uint64_t spent) {
    cycles = std::max(cycles, spent);
    if (static_cast<double>(spent) > kMostMicroseconds * cycles_per_us()) ++over;
  }
};

// For how long the thread was without a core since the last call.
class Away {
 public:
  std::uint64_t cycles() {
    const std::uint64_t cycles = now_cycles(), had = thread_nanoseconds();
    const double elapsed = static_cast<double>(cycles - std::exchange(cycles_, cycles));
    const double kept = static_cast<double>(had - std::exchange(had_, had)) * cycles_per_us() / 1e3;
    return static_cast<std::uint64_t>(std::max(elapsed - kept, 0.0));
  }

 private:
  std::uint64_t cycles_ = now_cycles(), had_ = thread_nanoseconds();
};

// A thread that only looks at the clock for this long: how often the machine took its core away in
// ways that no account tells, such as interrupts and faults that the host handles.
Longest gaps_of_an_idle_thread(std::uint64_t cycles) {
  constexpr unsigned kLooks = 4096;
  Longest gaps;
  Away away;
  for (const std::uint64_t end = now_cycles() + cycles; now_cycles() < end;) {
    std::uint64_t longest = 0;
    (void)away.cycles();
    for (std::uint64_t n = 0, last = now_cycles(); n < kLooks; ++n) {
      const std::uint64_t now = now_cycles();
      longest = std::max(longest, now - std::exchange(last, now));
    }
    gaps.see(longest - std::min(longest, away.cycles()));
  }
  return gaps;
}

struct Inserts {
  std::vector<std::uint32_t> cycles;
  Longest longest, longest_at_work;  // the second less what the thread was away
  std::uint64_t refused = 0;
};

// Each insert timed; between bursts what a worker does between bursts.
Inserts insert_all(Table& table, std::uint32_t first, std::uint32_t count) {
  constexpr unsigned kBurst = 64;
  Inserts out;
  out.cycles.reserve(count);
  Away away;
  for (std::uint32_t n = 0; n < count;) {
    std::uint64_t longest = 0;
    (void)away.cycles();
    for (unsigned i = 0; i < kBurst && n < count; ++i, ++n) {
      const auto flow = connection(first + n);
      const std::uint64_t start = now_cycles();
      const auto inserted = table.map.insert(flow, 1);
      const std::uint64_t spent = now_cycles() - start;
      out.cycles.push_back(static_cast<std::uint32_t>(std::min<std::uint64_t>(spent, ~0U)));
      out.longest.see(spent);
      longest = std::max(longest, spent);
      if (inserted.outcome == flow::Outcome::full) ++out.refused;
    }
    out.longest_at_work.see(longest - std::min(longest, away.cycles()));
    table.quiescence.report(0);
    table.map.sweep(0, 1, 128, 1);
  }
  std::sort(out.cycles.begin(), out.cycles.end());
  return out;
}

void report_inserts(const Options& options, const char* phase, const Inserts& inserts) {
  const auto us = [](double cycles) { return std::round(cycles / cycles_per_us() * 1000) / 1000; };
  const auto at = [&](double share) {
    const auto last = static_cast<double>(inserts.cycles.size() - 1);
    return us(inserts.cycles[static_cast<std::size_t>(share * last)]);
  };
  // As long as the inserts together: what happens to a thread that does nothing.
  std::uint64_t total = 0;
  for (const std::uint32_t cycles : inserts.cycles) total += cycles;
  const Longest idle = gaps_of_an_idle_thread(total);
  const auto longest = [&](const Longest& seen) {
    return Row{{"max", us(static_cast<double>(seen.cycles))}, {"over_20", seen.over}};
  };
  Row row{{"case", "inserts"},
          {"phase", phase},
          {"flows", options.flows},
          {"inserts", inserts.cycles.size()},
          {"refused", inserts.refused},
          {"microseconds", {{"p50", at(0.5)}, {"p99", at(0.99)}, {"p9999", at(0.9999)}}},
          {"longest_microseconds", longest(inserts.longest)},
          {"at_work_microseconds", longest(inserts.longest_at_work)},
          {"idle_at_work_microseconds", longest(idle)}};
  add_record(row, {});
  char line[300];
  std::snprintf(
      line, sizeof line,
      "inserts    %9u flows  %-12s p50 %.2f  p99 %.2f  p99.99 %.2f  max %.1f us; over 20 us: %lu; "
      "without preemption max %.1f us, %lu; an idle thread as long: max %.1f us, %lu",
      options.flows, phase, at(0.5), at(0.99), at(0.9999),
      us(static_cast<double>(inserts.longest.cycles)),
      static_cast<unsigned long>(inserts.longest.over),
      us(static_cast<double>(inserts.longest_at_work.cycles)),
      static_cast<unsigned long>(inserts.longest_at_work.over),
      us(static_cast<double>(idle.cycles)), static_cast<unsigned long>(idle.over));
  show(row, options.json, line);
}

}  // namespace

void measure_inserts(const Options& options) {
  Table table(options.flows);
  report_inserts(options, "to the limit", insert_all(table, 0, options.flows));
  if (table.map.size() != options.flows) stop("new_flows", "the table is not full");
  report_inserts(options, "at the limit", insert_all(table, options.flows, options.flows));
  if (table.map.size() > options.flows) stop("new_flows", "the table is beyond its limit");
}

void measure_ageing(const Options& options) {
  Table table(options.flows);
  table.fill();
  const Subject subject{[] {},
                        [&] {
                          if (table.map.sweep(0, 1, table.map.groups(), 2) != 0) {
                            stop("new_flows", "a connection expired before its time");
                          }
                          return std::uint64_t{1};
                        }};
  const auto measured =
      alternate({&subject, 1}, {.wanted = 101, .seconds_max = options.seconds})[0];
  if (table.map.sweep(0, 1, table.map.groups(), 60) != options.flows) {
    stop("new_flows", "the sweep does not find what is due");
  }
  const double pass = measured.cycles.median / cycles_per_us() / 1000;
  const double entries = 2.0 * options.flows;
  Row row{{"case", "ageing"},
          {"flows", options.flows},
          {"entries", 2 * std::uint64_t{options.flows}},
          {"milliseconds_per_pass", std::round(pass * 1000) / 1000},
          {"milliseconds_per_10m_entries", std::round(pass * 1e7 / entries * 1000) / 1000},
          {"cycles", to_json(measured.cycles)}};
  add_record(row, measured.noise);
  char line[200];
  std::snprintf(line, sizeof line,
                "ageing     %9u flows  %.2f ms a pass over %.0f entries, %.2f ms for 10 million%s",
                options.flows, pass, entries, pass * 1e7 / entries,
                measured.noise.quiet ? "" : "  (noisy)");
  show(row, options.json, line);
}

void measure_memory(const Options& options) {
  const std::uint64_t before = resident_bytes();
  Table table(options.flows);
  table.fill();
  const std::uint64_t resident = resident_bytes() - before;
  const double counted = static_cast<double>(table.map.bytes());
  const double flows = options.flows;
  Row row{{"case", "memory"},
          {"flows", options.flows},
          {"bytes_per_connection", std::round(counted / flows * 10) / 10},
          {"resident_bytes", resident}};
  add_record(row, {});
  char line[200];
  std::snprintf(line, sizeof line,
                "memory     %9u flows  %.1f bytes a connection counted, %.1f resident: %.2f GiB",
                options.flows, counted / flows, static_cast<double>(resident) / flows,
                static_cast<double>(resident) / (1U << 30U));
  show(row, options.json, line);
}

}  // namespace podwire::bench
