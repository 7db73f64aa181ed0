#include "bench/lib/draw.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace podwire::bench {
namespace {

std::vector<std::uint32_t> draw_zipf(std::uint32_t flows, std::size_t count, double exponent) {
  std::mt19937 random(1);
  std::vector<double> sum(flows);
  double total = 0;
  for (std::uint32_t rank = 0; rank < flows; ++rank) {
    sum[rank] = total += std::pow(rank + 1.0, -exponent);
  }
  std::vector<std::uint32_t> place(flows);
  std::iota(place.begin(), place.end(), 0U);
  std::shuffle(place.begin(), place.end(), random);
  std::uniform_real_distribution<double> unit(0, total);
  std::vector<std::uint32_t> out(count);
  for (auto& flow : out) {
    const auto rank = std::lower_bound(sum.begin(), sum.end(), unit(random)) - sum.begin();
    flow = place[std::min<std::size_t>(static_cast<std::size_t>(rank), flows - 1)];
  }
  return out;
}

}  // namespace

bool is_distribution(const std::string& name) {
  return name == "uniform" || name == "zipf" || name == "sequential";
}

std::vector<std::uint32_t> draw(const std::string& distribution, std::uint32_t flows,
                                std::size_t count, double exponent) {
  if (distribution == "zipf") return draw_zipf(flows, count, exponent);
  std::vector<std::uint32_t> out(count);
  if (distribution == "sequential") {
    for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<std::uint32_t>(i % flows);
    return out;
  }
  std::mt19937 random(1);
  std::uniform_int_distribution<std::uint32_t> any(0, flows - 1);
  for (auto& flow : out) flow = any(random);
  return out;
}

}  // namespace podwire::bench
