// The trie of the route table beside DPDK's rte_fib (DIR-24-8) with the same prefixes.
#include <rte_fib.h>
#include <rte_rib.h>

#include <chrono>
#include <cstdio>

#include "bench/lib/alternate.h"
#include "bench/lib/memory.h"
#include "bench/routes/measures.h"
#include "bench/routes/prefixes.h"
#include "dataplane/tables/lpm.h"

namespace podwire::bench {
namespace {

constexpr unsigned kWindow = 512;  // look-ups
constexpr unsigned kUpdates = 20'000;
constexpr std::uint64_t kNone = 0;

class Fib {
 public:
  Fib(const std::vector<net::Prefix>& prefixes, const std::vector<std::uint32_t>& values)
      : heap_("fib", std::size_t{2} << 30U) {
    rte_fib_conf conf{};
    conf.type = RTE_FIB_DIR24_8;
    conf.default_nh = kNone;
    // A prefix longer than /24 makes nodes of its own on its way.
    conf.max_routes = static_cast<int>(prefixes.size() * 2);
    conf.dir24_8.nh_sz = RTE_FIB_DIR24_8_4B;
    conf.dir24_8.num_tbl8 = 1U << 17U;
    fib_ = rte_fib_create("fib", heap_.socket(), &conf);
    if (fib_ == nullptr) stop("routes", "rte_fib has no memory");
    for (std::size_t n = 0; n < prefixes.size(); ++n) add(prefixes[n], values[n]);
  }
  ~Fib() { rte_fib_free(fib_); }
  Fib(const Fib&) = delete;
  Fib& operator=(const Fib&) = delete;

  void add(const net::Prefix& prefix, std::uint32_t value) {
    if (rte_fib_add(fib_, prefix.address.v4().host(), prefix.length, value) != 0) {
      stop("routes", "rte_fib does not take " + prefix.to_string());
    }
  }
  void find(std::uint32_t* addresses, std::uint64_t* values, unsigned count) {
    rte_fib_lookup_bulk(fib_, addresses, values, static_cast<int>(count));
  }

 private:
  Heap heap_;
  rte_fib* fib_;
};

struct Draws {
  std::vector<net::Address> addresses = std::vector<net::Address>(kWindow);
  std::vector<std::uint32_t> raw = std::vector<std::uint32_t>(kWindow);
  std::vector<std::uint64_t> values = std::vector<std::uint64_t>(kWindow);

  void draw(const std::vector<net::Prefix>& prefixes, std::mt19937& random) {
    for (unsigned n = 0; n < kWindow; ++n) {
      addresses[n] = random_address(prefixes, random);
      raw[n] = addresses[n].v4().host();
    }
  }
};

void compare(const tables::Lpm<std::uint32_t>& lpm, Fib& fib,
             const std::vector<net::Prefix>& prefixes) {
  std::mt19937 random(3);
  Draws draws;
  for (unsigned round = 0; round < 200; ++round) {
    draws.draw(prefixes, random);
    fib.find(draws.raw.data(), draws.values.data(), kWindow);
    for (unsigned n = 0; n < kWindow; ++n) {
      const std::uint32_t* found = lpm.find(draws.addresses[n]);
      if (found == nullptr || *found != draws.values[n]) {
        stop("routes", "another answer than rte_fib's for " + draws.addresses[n].to_string());
      }
    }
  }
}

void lookups(const Options& options, const tables::Lpm<std::uint32_t>& lpm, Fib& fib,
             const std::vector<net::Prefix>& prefixes) {
  std::mt19937 random(5);
  Draws draws;
  std::uint64_t sum = 0;
  const auto prepare = [&] { draws.draw(prefixes, random); };
  const Subject subjects[] = {{prepare,
                               [&] {
                                 for (const net::Address& a : draws.addresses) sum += *lpm.find(a);
                                 return std::uint64_t{kWindow};
                               }},
                              {prepare, [&] {
                                 fib.find(draws.raw.data(), draws.values.data(), kWindow);
                                 sum += draws.values[0];
                                 return std::uint64_t{kWindow};
                               }}};
  const auto results = alternate(subjects, options.windows);
  char text[200];
  (void)std::snprintf(text, sizeof text,
                      "lookup    %.0f cycles (p10 %.0f, p90 %.0f); rte_fib %.0f in a bulk; sum %u",
                      results[0].cycles.median, results[0].cycles.p10, results[0].cycles.p90,
                      results[1].cycles.median, static_cast<unsigned>(sum & 0xffU));
  Row row{{"case", "lookup"},
          {"prefixes", prefixes.size()},
          {"cycles", to_json(results[0].cycles)},
          {"rte_fib_cycles", to_json(results[1].cycles)}};
  add_record(row, together(results));
  show(row, options.json, text);
}

}  // namespace

void measure_table(const Options& options) {
  const auto prefixes = random_prefixes(options.prefixes, 1);
  std::mt19937 random(2);
  std::vector<std::uint32_t> values(prefixes.size());
  for (auto& value : values) value = 1 + static_cast<std::uint32_t>(random() % 100);
  const double before = resident_megabytes();
  auto start = std::chrono::steady_clock::now();
  tables::Lpm<std::uint32_t> lpm;
  for (std::size_t n = 0; n < prefixes.size(); ++n) lpm.set(prefixes[n], values[n]);
  const double load = seconds_since(start), resident = resident_megabytes() - before;
  start = std::chrono::steady_clock::now();
  Fib fib(prefixes, values);
  const double fib_load = seconds_since(start);
  compare(lpm, fib, prefixes);

  // As the builder makes them: each a version of its own, the one before held by a snapshot.
  start = std::chrono::steady_clock::now();
  tables::Lpm<std::uint32_t> held = lpm;
  for (unsigned n = 0; n < kUpdates; ++n) {
    const auto& prefix = prefixes[random() % prefixes.size()];
    lpm.set(prefix, 1 + n % 100);
    held = lpm;
  }
  const double update = seconds_since(start) / kUpdates;
  start = std::chrono::steady_clock::now();
  for (unsigned n = 0; n < kUpdates; ++n) {
    fib.add(prefixes[random() % prefixes.size()], 1 + n % 100);
  }
  const double fib_update = seconds_since(start) / kUpdates;
  char text[240];
  (void)std::snprintf(
      text, sizeof text,
      "table     %zu prefixes in %.2f s, %.0f MB (%.0f counted); a version with one "
      "change %.2f us; rte_fib %.2f s, a change %.2f us",
      prefixes.size(), load, resident, static_cast<double>(lpm.bytes()) / 1e6, update * 1e6,
      fib_load, fib_update * 1e6);
  Row row{{"case", "table"},
          {"prefixes", prefixes.size()},
          {"load_s", load},
          {"megabytes", resident},
          {"counted_megabytes", static_cast<double>(lpm.bytes()) / 1e6},
          {"update_us", update * 1e6},
          {"rte_fib_load_s", fib_load},
          {"rte_fib_update_us", fib_update * 1e6}};
  add_record(row, {});
  show(row, options.json, text);

  lookups(options, lpm, fib, prefixes);
}

}  // namespace podwire::bench
