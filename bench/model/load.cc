#include "bench/model/load.h"

#include <rte_thash.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace podwire::bench {
namespace {

// Microsoft's key, which drivers use unless they are told another.
constexpr std::uint8_t kKey[40] = {0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67,
                                   0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb,
                                   0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
                                   0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};

// Clients anywhere in the cluster to Services of port 53: addresses and ports as they come.
std::uint32_t hash_of_flow(std::mt19937& random) {
  rte_ipv4_tuple tuple{};
  tuple.src_addr = 0x0af40000U | (random() & 0xffffU);
  tuple.dst_addr = 0x0a600000U | random() % 200;
  tuple.sport = static_cast<std::uint16_t>(32'768 + random() % 28'232);
  tuple.dport = 53;
  return rte_softrss(reinterpret_cast<std::uint32_t*>(&tuple), RTE_THASH_V4_L4_LEN, kKey);
}

double weight(const LoadShape& shape, std::uint32_t flow) {
  if (shape.distribution == "zipf") return std::pow(flow + 1.0, -1.1);
  if (shape.distribution != "elephant") return 1;
  if (flow != 0) return 1;
  return shape.elephant_share / (1 - shape.elephant_share) * std::max(shape.flows - 1.0, 1.0);
}

}  // namespace

std::vector<double> table_shares(const LoadShape& shape) {
  std::mt19937 random(1);
  std::vector<double> shares(shape.table_size);
  double total = 0;
  for (std::uint32_t flow = 0; flow < shape.flows; ++flow) {
    const double share = weight(shape, flow);
    shares[hash_of_flow(random) % shape.table_size] += share;
    total += share;
  }
  for (auto& share : shares) share /= total;
  return shares;
}

std::vector<unsigned> assign_plainly(std::size_t entries, unsigned workers) {
  std::vector<unsigned> out(entries);
  for (std::size_t i = 0; i < entries; ++i) out[i] = static_cast<unsigned>(i % workers);
  return out;
}

std::vector<unsigned> assign_by_load(const std::vector<double>& shares, unsigned workers) {
  std::vector<std::size_t> order(shares.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(),
                   [&](auto a, auto b) { return shares[a] > shares[b]; });
  std::vector<double> load(workers);
  std::vector<unsigned> out(shares.size());
  for (const auto entry : order) {
    const auto least = std::min_element(load.begin(), load.end());
    *least += shares[entry];
    out[entry] = static_cast<unsigned>(least - load.begin());
  }
  return out;
}

std::vector<double> worker_shares(const std::vector<double>& shares,
                                  const std::vector<unsigned>& assignment, unsigned workers) {
  std::vector<double> out(workers);
  for (std::size_t i = 0; i < shares.size(); ++i) out[assignment[i]] += shares[i];
  return out;
}

}  // namespace podwire::bench
