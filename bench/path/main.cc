// path: cycles per packet of the whole pipeline for established flows, beside those of a look-up in
// DPDK's rte_hash with as many keys on the same machine in the same minute. Every packet is checked
// before anything is measured.
#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <rte_version.h>
#include <sys/utsname.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "bench/lib/commit.h"
#include "dataplane/flow/flow_key.h"
#include "tests/packet/flow_cases.h"

namespace podwire::bench {
namespace {

using test::Bytes;
using test::FlowCase;
using test::World;

constexpr unsigned kBurst = 32;
constexpr std::size_t kSequence = 1U << 20U;  // draws of flows, repeated

struct Spread {
  double median = 0, p10 = 0, p90 = 0;
};
Spread spread_of(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  const auto at = [&](double part) {
    return samples[static_cast<std::size_t>(part * static_cast<double>(samples.size() - 1))];
  };
  return {at(0.5), at(0.1), at(0.9)};
}

// Which flow each packet is of.
std::vector<std::uint32_t> draw(const std::string& distribution, std::uint32_t flows) {
  std::mt19937 random(1);
  std::vector<std::uint32_t> out(kSequence);
  if (distribution == "uniform") {
    for (auto& flow : out) flow = random() % flows;
  } else if (distribution == "sequential") {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::uint32_t>(i % flows);
  } else {  // zipf, exponent 1.1: rank r has weight r^-1.1; ranks are spread over the flows
    std::vector<double> sum(flows);
    double total = 0;
    for (std::uint32_t rank = 0; rank < flows; ++rank) {
      sum[rank] = total += std::pow(rank + 1, -1.1);
    }
    std::vector<std::uint32_t> place(flows);
    std::iota(place.begin(), place.end(), 0U);
    std::shuffle(place.begin(), place.end(), random);
    std::uniform_real_distribution<double> unit(0, total);
    for (auto& flow : out) {
      const auto rank = std::lower_bound(sum.begin(), sum.end(), unit(random)) - sum.begin();
      flow = place[std::min<std::size_t>(static_cast<std::size_t>(rank), flows - 1)];
    }
  }
  return out;
}

[[noreturn]] void stop(const std::string& sentence) {
  std::cerr << "path: " << sentence << "\n";
  std::exit(1);
}

// The frames of all flows of a case, as they come in.
class Frames {
 public:
  Frames(World& world, const FlowCase& c, std::uint32_t flows)
      : port_(world.port_id(c.packet(0).port)) {
    for (std::uint32_t i = 0; i < flows; ++i) {
      const auto in = c.packet(i);
      const Bytes bytes = frame_bytes(world.addressed_in(in.port, in.frame));
      size_ = bytes.size();
      bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    }
  }
  void fill(Batch& batch, rte_mempool* pool, const std::uint32_t* flows, unsigned count) const {
    rte_mbuf* mbufs[kBurst];
    if (rte_pktmbuf_alloc_bulk(pool, mbufs, count) != 0) stop("no packet buffers left");
    for (unsigned i = 0; i < count; ++i) {
      const auto* from = bytes_.data() + flows[i] * size_;
      std::memcpy(rte_pktmbuf_append(mbufs[i], static_cast<std::uint16_t>(size_)), from, size_);
      batch.append(mbufs[i], port_);
    }
  }

 private:
  PortId port_;
  std::size_t size_ = 0;
  Bytes bytes_;
};

void discard(std::deque<rte_mbuf*>& sent) {
  for (rte_mbuf* mbuf : sent) rte_pktmbuf_free(mbuf);
  sent.clear();
}

void open_flows(World& world, const FlowCase& c, std::uint32_t flows) {
  Worker& w = world.worker();
  const auto created = w.counters.flows_created.read();
  for (std::uint32_t i = 0; i < flows;) {
    Batch batch;
    for (; i < flows && batch.size() < kBurst; ++i) {
      const auto in = c.opens(i);
      batch.append(world.make_buffer(in), world.port_id(in.port));
    }
    w.process(batch);
    world.shared().quiescence.report(0);
    for (const char* port : {"a", "b", "c", "host", "uplink"}) discard(world.port(port).sent);
  }
  if (w.counters.flows_created.read() - created != flows) {
    stop(std::string(c.name) + ": " + std::to_string(flows) + " flows were begun, " +
         std::to_string(w.counters.flows_created.read() - created) + " exist");
  }
}

// Each flow's packet once, every byte of what leaves.
void check_packets(World& world, const FlowCase& c, const Frames& frames, std::uint32_t flows) {
  auto& sent = world.port(c.leaves(0).port).sent;
  for (std::uint32_t i = 0; i < flows; ++i) {
    Batch batch;
    frames.fill(batch, world.shared().packet_pool, &i, 1);
    world.worker().process(batch);
    const auto out = c.leaves(i);
    auto frame = world.addressed_out(out.port, out.frame);
    if (sent.size() != 1) stop(std::string(c.name) + ": flow " + std::to_string(i) + " is lost");
    const Bytes actual = test::bytes_of(*sent.front());
    if (frame.tunnel) frame.tunnel->id = static_cast<std::uint16_t>(actual[18] << 8U | actual[19]);
    if (actual != frame_bytes(frame)) {
      stop(std::string(c.name) + ": flow " + std::to_string(i) + " leaves wrongly:\n" +
           test::hex(actual) + "\nexpected\n" + test::hex(frame_bytes(frame)));
    }
    discard(sent);
  }
}

Spread measure_path(World& world, const FlowCase& c, const Frames& frames,
                    const std::vector<std::uint32_t>& sequence, unsigned batches) {
  Worker& w = world.worker();
  auto& sent = world.port(c.leaves(0).port).sent;
  std::vector<double> samples;
  samples.reserve(batches);
  for (unsigned n = 0; n < batches; ++n) {
    Batch batch;
    frames.fill(batch, world.shared().packet_pool, &sequence[n * kBurst % kSequence], kBurst);
    const std::uint64_t start = rte_rdtsc_precise();
    w.process(batch);
    const std::uint64_t end = rte_rdtsc_precise();
    samples.push_back(static_cast<double>(end - start) / kBurst);
    if (sent.size() != kBurst) stop(std::string(c.name) + ": packets were lost while measuring");
    discard(sent);
    world.shared().quiescence.report(0);
  }
  return spread_of(std::move(samples));
}

// DPDK's own table with as many 16-byte keys, in bursts, values read.
double measure_rte_hash(std::uint32_t flows, const std::vector<std::uint32_t>& sequence,
                        unsigned batches) {
  rte_hash_parameters parameters{};
  parameters.name = "path";
  parameters.entries = std::max(flows + flows / 2, 64U);
  parameters.key_len = sizeof(flow::V4::Key);
  parameters.hash_func = rte_hash_crc;
  parameters.socket_id = SOCKET_ID_ANY;
  rte_hash* table = rte_hash_create(&parameters);
  if (table == nullptr) stop(std::string("rte_hash: ") + rte_strerror(rte_errno));
  std::vector<flow::V4::Key> keys(flows);
  for (std::uint32_t i = 0; i < flows; ++i) {
    keys[i].protocol = 17;
    keys[i].source = net::be32(0x0af40102);
    keys[i].destination = net::be32(0x0a600101 + i / 50000);
    keys[i].source_port = net::be16(static_cast<std::uint16_t>(10000 + i % 50000));
    keys[i].destination_port = net::be16(53);
    if (rte_hash_add_key_data(table, &keys[i], &keys[i]) != 0) stop("rte_hash is full");
  }
  std::vector<double> samples;
  for (unsigned n = 0; n < batches; ++n) {
    const void* wanted[kBurst];
    flow::V4::Key copies[kBurst];
    for (unsigned i = 0; i < kBurst; ++i) {
      copies[i] = keys[sequence[(n * kBurst + i) % kSequence]];
      wanted[i] = &copies[i];
    }
    void* data[kBurst];
    std::uint64_t found = 0;
    const std::uint64_t start = rte_rdtsc_precise();
    const int hits = rte_hash_lookup_bulk_data(table, wanted, kBurst, &found, data);
    const std::uint64_t end = rte_rdtsc_precise();
    if (hits != static_cast<int>(kBurst)) stop("rte_hash does not find its keys");
    samples.push_back(static_cast<double>(end - start) / kBurst);
  }
  rte_hash_free(table);
  return spread_of(std::move(samples)).median;
}

std::string machine() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

nlohmann::ordered_json measure(const FlowCase& c, std::uint32_t flows,
                               const std::string& distribution, unsigned batches) {
  World world(1, [&](DataplaneConfig& config) {
    config.flows_v4 = config.flows_v6 = std::max(4096U, flows + flows / 4);
  });
  c.set_up(world);
  const Frames frames(world, c, flows);
  open_flows(world, c, flows);
  check_packets(world, c, frames, flows);
  const auto sequence = draw(distribution, flows);
  measure_path(world, c, frames, sequence, batches / 10 + 1);  // warms up
  const Spread path = measure_path(world, c, frames, sequence, batches);
  const double rte_hash = measure_rte_hash(flows, sequence, batches);
  const auto rounded = [](double value) { return std::round(value * 10) / 10; };
  utsname kernel{};
  uname(&kernel);
  return {
      {"case", c.name},
      {"flows", flows},
      {"distribution", distribution},
      {"cycles_per_packet",
       {{"median", rounded(path.median)}, {"p10", rounded(path.p10)}, {"p90", rounded(path.p90)}}},
      {"rte_hash_cycles", rounded(rte_hash)},
      {"ratio", std::round(path.median / rte_hash * 100) / 100},
      {"machine", machine()},
      {"kernel", kernel.release},
      {"dpdk", rte_version()},
      {"commit", kCommit}};
}

}  // namespace
}  // namespace podwire::bench

// As it is measured: a JSON object a line, or a line to read.
static void show(const nlohmann::ordered_json& row, const char* name, std::uint32_t flows,
                 const std::string& distribution, bool as_json) {
  if (as_json) {
    std::cout << row.dump() << std::endl;
    return;
  }
  const auto& cycles = row["cycles_per_packet"];
  std::printf("%-20s %8u flows %-10s %7.1f cycles (%.1f to %.1f), rte_hash %.1f, ratio %.2f\n",
              name, flows, distribution.c_str(), cycles["median"].get<double>(),
              cycles["p10"].get<double>(), cycles["p90"].get<double>(),
              row["rte_hash_cycles"].get<double>(), row["ratio"].get<double>());
  std::fflush(stdout);
}

int main(int argc, char** argv) {
  using namespace podwire;
  namespace options = boost::program_options;
  std::vector<std::uint32_t> flows;
  std::vector<std::string> names;
  std::string distribution;
  unsigned batches;
  options::options_description description("path: cycles per packet through the whole pipeline");
  description.add_options()("help", "this text")("case", options::value(&names)->composing(),
                                                 "only this case (repeat for more)")(
      "flows", options::value(&flows)->multitoken(), "established flows; default 1000 100000")(
      "distribution", options::value(&distribution)->default_value("uniform"),
      "of packets over flows: uniform, zipf or sequential")(
      "batches", options::value(&batches)->default_value(20000), "bursts of 32 that are measured")(
      "json", "one JSON object a line");
  options::variables_map given;
  try {
    options::store(options::parse_command_line(argc, argv, description), given);
    options::notify(given);
  } catch (const options::error& error) {
    bench::stop(error.what());
  }
  if (given.contains("help")) {
    std::cout << description;
    for (const auto& c : test::flow_cases()) std::printf("  %-20s %s\n", c.name, c.about);
    return 0;
  }
  if (flows.empty()) flows = {1000, 100000};
  if (distribution != "uniform" && distribution != "zipf" && distribution != "sequential") {
    bench::stop("--distribution is uniform, zipf or sequential, not " + distribution);
  }
  for (const auto& name : names) {
    const auto& all = test::flow_cases();
    if (std::none_of(all.begin(), all.end(), [&](const auto& c) { return name == c.name; })) {
      bench::stop("no case " + name + "; --help lists them");
    }
  }
  const auto most = *std::max_element(flows.begin(), flows.end());
  if (most > test::kMostFlows || *std::min_element(flows.begin(), flows.end()) == 0) {
    bench::stop("--flows is 1 to " + std::to_string(test::kMostFlows));
  }
  test::start_eal(128 + most / 1000000 * 256 + (most > 100000 ? 256 : 0));
  for (const auto& c : test::flow_cases()) {
    if (!names.empty() && std::find(names.begin(), names.end(), c.name) == names.end()) continue;
    for (const auto count : flows) {
      const auto row = bench::measure(c, count, distribution, std::max(batches, 1U));
      show(row, c.name, count, distribution, given.contains("json"));
    }
  }
  return 0;
}
