// The flow table beside DPDK's rte_hash (lock-free readers) in one process, window by window in
// turn. TSC cycles for each operation.
//
// A connection is two keys in either table. rte_hash gets what it needs to do the same work: a
// record of 64 bytes for each key, an entry for each direction.
#include <unistd.h>

#include <boost/program_options.hpp>
#include <cmath>
#include <cstdio>
#include <random>

#include "bench/lib/draw.h"
#include "bench/lib/eal.h"
#include "bench/lib/options.h"
#include "bench/lib/record.h"
#include "bench/lib/rte_hash_table.h"
#include "dataplane/check.h"
#include "dataplane/flow/flow_map.h"

namespace podwire::bench {
namespace {

using flow::FlowMap;
using flow::NewFlow;
using flow::SlotId;
using flow::V4;
using Key = V4::Key;
constexpr unsigned kBurst = 64;
constexpr unsigned kWindow = 512;   // look-ups
constexpr unsigned kChurn = 256;    // connections made or ended in one window
constexpr unsigned kSlack = 16384;  // places beyond the flows, for churn and slots at rest

struct Options {
  std::vector<std::uint32_t> flows;
  std::string distribution = "uniform";
  Windows windows;
  bool json = false;
};

Key key_of(std::uint32_t n) {
  Key key;
  key.protocol = net::protocol::udp;
  key.source = net::be32(0x0a000000 + n / 1000);
  key.destination = net::be32(0x0b000000 + n % 251);
  key.source_port = net::be16(static_cast<std::uint16_t>(1024 + n % 1000));
  key.destination_port = net::be16(80);
  return key;
}

NewFlow<V4> flow_of(const Key& key) {
  NewFlow<V4> flow;
  flow.forward = key;
  // Translated: the destination is another.
  flow.rewrite = {key.source, net::be32(key.destination.host() + 0x01000000), key.source_port,
                  net::be16(8080)};
  return flow;
}

Key reply_of(const Key& key) {
  const auto flow = flow_of(key);
  Key reply = key;
  reply.source = flow.rewrite.destination;
  reply.destination = flow.rewrite.source;
  reply.source_port = flow.rewrite.destination_port;
  reply.destination_port = flow.rewrite.source_port;
  return reply;
}

class Podwire {
 public:
  explicit Podwire(std::uint32_t flows)
      : quiescence_(1), map_(flows + kSlack, FlowTimeouts{}, quiescence_) {
    quiescence_.online(0);
  }

  template <bool Counted>
  std::uint64_t look_up(const Key* keys) {
    std::uint32_t hashes[kBurst];
    SlotId hints[kBurst];
    std::uint64_t found = 0;
    for (unsigned i = 0; i < kBurst; ++i) {
      hashes[i] = map_.hash(keys[i]);
      map_.prefetch(hashes[i]);
    }
    for (unsigned i = 0; i < kBurst; ++i) hints[i] = map_.hint(hashes[i]);
    for (unsigned i = 0; i < kBurst; ++i) {
      flow::Flow<V4>* flow = map_.find(keys[i], hashes[i], hints[i]);
      if (flow == nullptr) continue;
      found += flow->rewrite.source_port.raw() != 0 ? 1 : 0;
      if constexpr (Counted) map_.passed(*flow, 64, net::protocol::udp, 0, 1);
    }
    return found;
  }
  void insert(const Key& key) {
    check(map_.insert(flow_of(key), 1).outcome == flow::Outcome::inserted,
          "the bench's table is full");
  }
  void erase(const Key& key) { map_.erase(*map_.find(key)); }
  // Lets the grace period of what was erased pass, and leaves the caches as they are.
  void rest() {
    for (int i = 0; i < 3; ++i) {
      quiescence_.report(0);
      map_.sweep(0, 1, 1, 1);
    }
  }
  std::uint64_t sweep_some() {
    constexpr unsigned kGroups = 512;
    map_.sweep(0, 1, kGroups, 1);
    return kGroups;
  }
  [[nodiscard]] double bytes_per_connection() const {
    return map_.groups() * (64.0 + flow::kLanes * (sizeof(flow::Flow<V4>) + 12.0)) / map_.limit();
  }

 private:
  tables::Quiescence quiescence_;
  FlowMap<V4> map_;
};

class RteHash {
 public:
  explicit RteHash(std::uint32_t flows)
      : records_((std::size_t{flows} + kSlack) * 2),
        table_(static_cast<std::uint32_t>(records_.size())) {
    for (auto& record : records_) free_.push_back(&record);
  }

  template <bool Counted>
  std::uint64_t look_up(const Key* keys) {
    void* data[kBurst];
    std::uint64_t found = 0;
    const std::uint64_t hits = table_.look_up(keys, kBurst, data);
    if constexpr (Counted) {
      for (std::uint64_t m = hits; m != 0; m &= m - 1)
        __builtin_prefetch(data[std::countr_zero(m)], 1);
    }
    for (std::uint64_t m = hits; m != 0; m &= m - 1) {
      auto* record = static_cast<Record*>(data[std::countr_zero(m)]);
      ++found;
      if constexpr (Counted) {
        ++record->packets;
        record->bytes += 64;
      }
    }
    return found;
  }
  void insert(const Key& key) {
    add(key);
    add(reply_of(key));
  }
  void erase(const Key& key) {
    remove(key);
    remove(reply_of(key));
  }
  void rest() {}

 private:
  struct alignas(64) Record {
    std::uint64_t packets, bytes;
  };
  void add(const Key& key) {
    Record* record = free_.back();
    free_.pop_back();
    check(table_.insert(&key, record), "rte_hash is full");
  }
  void remove(const Key& key) {
    void* record = table_.erase(&key);
    check(record != nullptr, "rte_hash lost a key");
    free_.push_back(static_cast<Record*>(record));
  }
  std::vector<Record> records_;
  RteHashTable table_;
  std::vector<Record*> free_;
};

// Keys in the order in which packets come: either direction of the flows drawn.
std::vector<Key> packets_of(const std::vector<std::uint32_t>& draws, std::uint32_t first) {
  std::mt19937_64 random(42);
  std::vector<Key> keys;
  keys.reserve(draws.size());
  for (const auto flow : draws) {
    const Key key = key_of(first + flow);
    keys.push_back(random() % 2 == 0 ? reply_of(key) : key);
  }
  return keys;
}

// Windows of one operation on one table.
template <typename Table>
class Work {
 public:
  Work(Table& table, std::uint32_t flows) : table_(table), flows_(flows) {}

  // Look-ups of `keys`, all of which are there (`hit`) or none.
  template <bool Counted>
  Subject look_up(const std::vector<Key>& keys, bool hit) {
    return {[this, &keys] { next_ = next_ + kWindow > keys.size() ? 0 : next_; },
            [this, &keys, hit] {
              std::uint64_t found = 0;
              for (unsigned n = 0; n < kWindow; n += kBurst) {
                found += table_.template look_up<Counted>(&keys[next_ + n]);
              }
              check(found == (hit ? kWindow : 0), "a look-up gave a wrong answer");
              next_ += kWindow;
              return std::uint64_t{kWindow};
            }};
  }
  Subject insert() {
    return {[this] { end_inserted(); },
            [this] {
              insert_some();
              return std::uint64_t{kChurn};
            }};
  }
  Subject erase() {
    return {[this] {
              end_inserted();
              insert_some();
            },
            [this] {
              erase_some();
              return std::uint64_t{kChurn};
            }};
  }
  void end_inserted() {
    if (inserted_) erase_some();
    table_.rest();
  }

 private:
  // Every window has connections of its own: the same ones would find their places warm.
  void insert_some() {
    first_ = flows_ + (first_ - flows_ + kChurn) % kSlack;
    for (unsigned n = 0; n < kChurn; ++n) table_.insert(key_of(first_ + n));
    inserted_ = true;
  }
  void erase_some() {
    for (unsigned n = 0; n < kChurn; ++n) table_.erase(key_of(first_ + n));
    inserted_ = false;
  }
  Table& table_;
  const std::uint32_t flows_;
  std::size_t next_ = 0;
  std::uint32_t first_ = flows_;
  bool inserted_ = false;
};

class Bench {
 public:
  Bench(const Options& options, std::uint32_t flows)
      : options_(options),
        flows_(flows),
        podwire_(flows),
        rte_(flows),
        draws_(draw(options.distribution, flows, std::clamp(flows, 1U << 20U, 1U << 22U))),
        hits_(packets_of(draws_, 0)),
        misses_(packets_of(draws_, flows + 2 * kSlack)) {
    for (std::uint32_t n = 0; n < flows; ++n) {
      podwire_.insert(key_of(n));
      rte_.insert(key_of(n));
    }
  }

  void run() {
    compare("hit", [&](auto& work) { return work.template look_up<false>(hits_, true); });
    compare("hit_counted", [&](auto& work) { return work.template look_up<true>(hits_, true); });
    compare("miss", [&](auto& work) { return work.template look_up<false>(misses_, false); });
    compare("insert", [&](auto& work) { return work.insert(); });
    compare("erase", [&](auto& work) { return work.erase(); });
    sweep();
  }

 private:
  [[nodiscard]] Row row_of(const char* name, const Spread& cycles) const {
    return {{"bench", "flow_table"},
            {"case", name},
            {"flows", flows_},
            {"distribution", options_.distribution},
            {"bytes_per_connection", std::lround(podwire_.bytes_per_connection())},
            {"cycles_per_operation", to_json(cycles)}};
  }
  void finish(Row& row, std::span<const Measured> measured) const {
    add_record(row, together(measured));
    const auto& cycles = row["cycles_per_operation"];
    char line[200];
    std::snprintf(line, sizeof(line), "%-12s %8u flows %-10s %7.1f cycles (%.1f to %.1f)",
                  row["case"].get<std::string>().c_str(), flows_, options_.distribution.c_str(),
                  cycles["median"].get<double>(), cycles["p10"].get<double>(),
                  cycles["p90"].get<double>());
    std::string text = line;
    if (row.contains("ratio")) {
      text += ", rte_hash " + row["rte_hash_cycles"].dump() + ", ratio " + row["ratio"].dump();
    }
    if (!row["noise"]["quiet"].get<bool>()) text += "  (never quiet: quietest third)";
    show(row, options_.json, text);
  }

  template <typename Make>
  void compare(const char* name, Make&& make) {
    Work<Podwire> ours(podwire_, flows_);
    Work<RteHash> theirs(rte_, flows_);
    const Subject subjects[] = {make(ours), make(theirs)};
    const auto measured = alternate(subjects, options_.windows);
    ours.end_inserted();
    theirs.end_inserted();
    Row row = row_of(name, measured[0].cycles);
    const Spread& rte_hash = measured[1].cycles;
    row["rte_hash_cycles"] = std::round(rte_hash.median * 10) / 10;
    row["rte_hash_spread"] = to_json(rte_hash);
    row["ratio"] = std::round(measured[0].cycles.median / rte_hash.median * 100) / 100;
    finish(row, measured);
  }
  // Of one group of 15 slots.
  void sweep() {
    const Subject subject{[] {}, [this] { return podwire_.sweep_some(); }};
    const auto measured = alternate({&subject, 1}, options_.windows);
    Row row = row_of("sweep_group", measured[0].cycles);
    finish(row, measured);
  }

  const Options& options_;
  const std::uint32_t flows_;
  Podwire podwire_;
  RteHash rte_;
  const std::vector<std::uint32_t> draws_;
  const std::vector<Key> hits_, misses_;
};

Options read_options(int argc, char** argv) {
  namespace po = boost::program_options;
  Options given;
  po::options_description known("Flow table beside rte_hash; TSC cycles, median (p10 to p90)");
  known.add_options()("help", "this text")(
      "flows", po::value(&given.flows)->multitoken()->default_value({100'000}, "100000"),
      "connections in the table")(
      "distribution", po::value(&given.distribution)->default_value(given.distribution),
      "of packets over flows: uniform, zipf (exponent 1.1) or sequential")(
      "windows", po::value(&given.windows.wanted)->default_value(given.windows.wanted),
      "quiet windows of 512 look-ups or 256 connections that are wanted for each figure")(
      "seconds", po::value(&given.windows.seconds_max)->default_value(given.windows.seconds_max),
      "at most, for each figure")("json", po::bool_switch(&given.json), "one JSON object a line");
  if (!read_words("flow_table", known, argc, argv)) std::exit(0);
  for (const auto flows : given.flows) {
    if (flows == 0 || flows > 10'000'000) stop("flow_table", "--flows is 1 to 10000000", 2);
  }
  if (given.windows.wanted == 0 || !(given.windows.seconds_max > 0)) {
    stop("flow_table", "--windows and --seconds are more than 0", 2);
  }
  if (!is_distribution(given.distribution)) {
    stop("flow_table",
         std::string("--distribution is ") + kDistributions + ", not " + given.distribution, 2);
  }
  return given;
}

}  // namespace
}  // namespace podwire::bench

int main(int argc, char** argv) {
  using namespace podwire::bench;
  const Options given = read_options(argc, argv);
  warn_of_build("flow_table");
  start_eal("flow_table");
  for (const auto flows : given.flows) Bench(given, flows).run();
  return 0;
}
