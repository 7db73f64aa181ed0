// The flow table beside DPDK's rte_hash (lock-free readers) in one process, window by window in
// turn, so that a busy machine harms both alike. TSC cycles for each operation.
//
// A connection is two keys in either table. rte_hash gets what it needs to do the same work: a
// record of 64 bytes for each key, an entry for each direction.

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <unistd.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "dataplane/check.h"
#include "dataplane/flow/flow_map.h"

namespace podwire::flow {
namespace {

using Key = V4::Key;
constexpr unsigned kBurst = 64;
constexpr unsigned kWindow = 2048;  // look-ups
constexpr unsigned kChurn = 512;    // connections made and ended in one window
constexpr unsigned kSlack = 16384;  // places beyond the flows, for churn and slots at rest

struct Options {
  std::uint32_t flows = 100'000;
  std::string distribution = "uniform";
  double skew = 1.1;
  unsigned windows = 101;
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
      Flow<V4>* flow = map_.find(keys[i], hashes[i], hints[i]);
      if (flow == nullptr) continue;
      found += flow->rewrite.source_port.raw() != 0 ? 1 : 0;
      if constexpr (Counted) map_.passed(*flow, 64, net::protocol::udp, 0, 1);
    }
    return found;
  }
  void insert(const Key& key) {
    check(map_.insert(flow_of(key), 1).outcome == Outcome::inserted, "the bench's table is full");
  }
  void erase(const Key& key) { map_.erase(*map_.find(key)); }
  void rest() {
    for (int i = 0; i < 3; ++i) {
      quiescence_.report(0);
      map_.sweep(0, 1, map_.groups(), 1);
    }
  }
  double sweep_per_group() {
    const std::uint64_t start = rte_rdtsc_precise();
    map_.sweep(0, 1, map_.groups(), 1);
    return static_cast<double>(rte_rdtsc_precise() - start) / map_.groups();
  }
  [[nodiscard]] double bytes_per_connection() const {
    return map_.groups() * (64.0 + kLanes * (sizeof(Flow<V4>) + 12.0)) / map_.limit();
  }

 private:
  tables::Quiescence quiescence_;
  FlowMap<V4> map_;
};

class RteHash {
 public:
  explicit RteHash(std::uint32_t flows) : records_((std::size_t{flows} + kSlack) * 2) {
    rte_hash_parameters parameters{};
    parameters.name = "bench";
    parameters.entries = static_cast<std::uint32_t>(records_.size());
    parameters.key_len = sizeof(Key);
    parameters.hash_func = rte_hash_crc;
    parameters.socket_id = SOCKET_ID_ANY;
    parameters.extra_flag = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF;
    table_ = rte_hash_create(&parameters);
    check(table_ != nullptr, "rte_hash_create failed: too little memory");
    for (auto& record : records_) free_.push_back(&record);
  }
  ~RteHash() { rte_hash_free(table_); }
  RteHash(const RteHash&) = delete;
  RteHash& operator=(const RteHash&) = delete;

  template <bool Counted>
  std::uint64_t look_up(const Key* keys) {
    const void* pointers[kBurst];
    void* data[kBurst];
    std::uint64_t hits = 0, found = 0;
    for (unsigned i = 0; i < kBurst; ++i) pointers[i] = &keys[i];
    rte_hash_lookup_bulk_data(table_, pointers, kBurst, &hits, data);
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
    check(rte_hash_add_key_data(table_, &key, record) == 0, "rte_hash is full");
  }
  void remove(const Key& key) {
    void* data = nullptr;
    check(rte_hash_lookup_data(table_, &key, &data) >= 0, "rte_hash lost a key");
    const std::int32_t position = rte_hash_del_key(table_, &key);
    rte_hash_free_key_with_position(table_, position);
    free_.push_back(static_cast<Record*>(data));
  }
  rte_hash* table_;
  std::vector<Record> records_;
  std::vector<Record*> free_;
};

// Keys in the order in which packets come: either direction of a flow drawn from the distribution.
std::vector<Key> packets_of(const Options& options, std::uint32_t first) {
  std::mt19937_64 random(42);
  std::vector<double> sum;
  if (options.distribution == "zipf") {
    double total = 0;
    for (std::uint32_t n = 0; n < options.flows; ++n) {
      sum.push_back(total += 1 / std::pow(n + 1.0, options.skew));
    }
  }
  const auto draw = [&]() -> std::uint32_t {
    if (sum.empty()) return static_cast<std::uint32_t>(random() % options.flows);
    const double at = std::uniform_real_distribution<>(0, sum.back())(random);
    const auto rank = std::lower_bound(sum.begin(), sum.end(), at) - sum.begin();
    // Popular flows stand anywhere in the table.
    return static_cast<std::uint32_t>((static_cast<std::uint64_t>(rank) * 2654435761U) %
                                      options.flows);
  };
  std::vector<Key> keys(1U << 20);
  for (auto& key : keys) {
    key = key_of(first + draw());
    if (random() % 2 == 0) key = reply_of(key);
  }
  return keys;
}

struct Series {
  std::string table, operation, unit;
  std::vector<double> windows;

  [[nodiscard]] double at(double share) const {
    std::vector<double> sorted = windows;
    std::sort(sorted.begin(), sorted.end());
    return sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1))];
  }
};

class Bench {
 public:
  explicit Bench(const Options& options)
      : options_(options),
        podwire_(options.flows),
        rte_(options.flows),
        hits_(packets_of(options, 0)),
        misses_(packets_of(options, options.flows + 2 * kSlack)) {
    for (std::uint32_t n = 0; n < options.flows; ++n) {
      podwire_.insert(key_of(n));
      rte_.insert(key_of(n));
    }
  }

  std::vector<Series> run() {
    std::vector<Series> all;
    pair(all, "hit", [this](auto& table, unsigned n) { return look_up<false>(table, hits_, n); });
    pair(all, "hit_counted",
         [this](auto& table, unsigned n) { return look_up<true>(table, hits_, n); });
    pair(all, "miss",
         [this](auto& table, unsigned n) { return look_up<false>(table, misses_, n); });
    churn(all);
    Series sweep{"podwire", "sweep", "cycles/15 slots", {}};
    for (unsigned n = 0; n < options_.windows; ++n) {
      sweep.windows.push_back(podwire_.sweep_per_group());
    }
    all.push_back(std::move(sweep));
    return all;
  }
  [[nodiscard]] double bytes_per_connection() const { return podwire_.bytes_per_connection(); }

 private:
  template <bool Counted, typename Table>
  double look_up(Table& table, const std::vector<Key>& keys, unsigned window) {
    const Key* at = &keys[(std::size_t{window} * kWindow) % (keys.size() - kWindow)];
    const std::uint64_t start = rte_rdtsc_precise();
    for (unsigned n = 0; n < kWindow; n += kBurst)
      found_ += table.template look_up<Counted>(at + n);
    return static_cast<double>(rte_rdtsc_precise() - start) / kWindow;
  }

  template <typename Measure>
  void pair(std::vector<Series>& all, const char* operation, Measure&& measure) {
    Series ours{"podwire", operation, "cycles", {}}, theirs{"rte_hash", operation, "cycles", {}};
    const std::uint64_t before = found_;
    for (unsigned n = 0; n < options_.windows; ++n) {
      ours.windows.push_back(measure(podwire_, 2 * n));
      theirs.windows.push_back(measure(rte_, 2 * n + 1));
    }
    const std::uint64_t asked = std::uint64_t{2} * options_.windows * kWindow;
    const bool miss = std::string_view(operation) == "miss";
    check(found_ - before == (miss ? 0 : asked), "a look-up gave a wrong answer");
    all.push_back(std::move(ours));
    all.push_back(std::move(theirs));
  }

  template <typename Table>
  void churn_one(Table& table, unsigned window, Series& insert, Series& erase) {
    const std::uint32_t first = options_.flows + window * kChurn % (kSlack / 2);
    std::uint64_t start = rte_rdtsc_precise();
    for (unsigned n = 0; n < kChurn; ++n) table.insert(key_of(first + n));
    insert.windows.push_back(static_cast<double>(rte_rdtsc_precise() - start) / kChurn);
    start = rte_rdtsc_precise();
    for (unsigned n = 0; n < kChurn; ++n) table.erase(key_of(first + n));
    erase.windows.push_back(static_cast<double>(rte_rdtsc_precise() - start) / kChurn);
    table.rest();
  }
  void churn(std::vector<Series>& all) {
    const char* unit = "cycles/connection";
    Series in{"podwire", "insert", unit, {}}, out{"podwire", "erase", unit, {}};
    Series rte_in{"rte_hash", "insert", unit, {}}, rte_out{"rte_hash", "erase", unit, {}};
    for (unsigned n = 0; n < options_.windows; ++n) {
      churn_one(podwire_, n, in, out);
      churn_one(rte_, n, rte_in, rte_out);
    }
    for (auto* series : {&in, &rte_in, &out, &rte_out}) all.push_back(std::move(*series));
  }

  const Options options_;
  Podwire podwire_;
  RteHash rte_;
  const std::vector<Key> hits_, misses_;
  std::uint64_t found_ = 0;
};

void start_eal(std::uint32_t flows) {
  const std::string memory =
      std::to_string(96 + (std::uint64_t{flows} + kSlack) * 2 * 192 / 1000000);
  const std::string prefix = "podwire-bench-" + std::to_string(::getpid());
  std::vector<std::string> words{"flow_table",     "--no-huge",   "--no-pci", "--no-shconf",
                                 "--no-telemetry", "-m",          memory,     "--file-prefix",
                                 prefix,           "--log-level", "error"};
  std::vector<char*> arguments;
  for (auto& word : words) arguments.push_back(word.data());
  check(rte_eal_init(static_cast<int>(arguments.size()), arguments.data()) >= 0,
        "DPDK did not start; its messages above say why");
}

void print(const Options& options, const Bench& bench, const std::vector<Series>& all) {
  nlohmann::ordered_json out;
  out["flows"] = options.flows;
  out["distribution"] = options.distribution;
  out["tsc_hz"] = rte_get_tsc_hz();
  out["bytes_per_connection"] = std::lround(bench.bytes_per_connection());
  for (const auto& series : all) {
    if (options.json) {
      out["results"].push_back({{"table", series.table},
                                {"operation", series.operation},
                                {"unit", series.unit},
                                {"median", series.at(0.5)},
                                {"p10", series.at(0.1)},
                                {"p90", series.at(0.9)}});
    } else {
      std::printf("%-9s %-12s %8.1f  (%.1f to %.1f) %s\n", series.table.c_str(),
                  series.operation.c_str(), series.at(0.5), series.at(0.1), series.at(0.9),
                  series.unit.c_str());
    }
  }
  if (options.json) std::cout << out.dump(2) << "\n";
}

}  // namespace
}  // namespace podwire::flow

int main(int count, char** words) {
  using namespace podwire::flow;
  namespace po = boost::program_options;
  Options options;
  po::options_description known("Flow table beside rte_hash; TSC cycles, median (p10 to p90)");
  known.add_options()("help", "this text")(
      "flows", po::value(&options.flows)->default_value(options.flows), "connections in the table")(
      "distribution", po::value(&options.distribution)->default_value(options.distribution),
      "of packets over flows: uniform or zipf")(
      "skew", po::value(&options.skew)->default_value(options.skew), "zipf's exponent")(
      "windows", po::value(&options.windows)->default_value(options.windows),
      "of 2,048 look-ups or 512 connections, for each figure")(
      "json", po::bool_switch(&options.json), "JSON on standard output");
  try {
    po::variables_map given;
    po::store(po::parse_command_line(count, words, known), given);
    po::notify(given);
    if (given.contains("help")) {
      std::cout << known;
      return 0;
    }
  } catch (const po::error& error) {
    std::cerr << "flow_table: " << error.what() << "\n";
    return 2;
  }
  if (options.flows == 0 || options.windows == 0 ||
      (options.distribution != "uniform" && options.distribution != "zipf")) {
    std::cerr << "flow_table: --flows and --windows are at least 1; --distribution is uniform or "
                 "zipf\n";
    return 2;
  }
  start_eal(options.flows);
  {
    Bench bench(options);
    print(options, bench, bench.run());
  }
  rte_eal_cleanup();
  return 0;
}
