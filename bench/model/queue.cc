#include "bench/model/queue.h"

#include <algorithm>
#include <random>
#include <vector>

namespace podwire::bench {
namespace {

// When each of the packets in the ring will be done.
class Ring {
 public:
  explicit Ring(unsigned size) : done_ns_(size) {}
  // False when it is full at `now_ns`.
  bool enter(double now_ns, double service_ns) {
    while (used_ > 0 && done_ns_[first_] <= now_ns) {
      first_ = first_ + 1 == done_ns_.size() ? 0 : first_ + 1;
      --used_;
    }
    if (used_ == done_ns_.size()) return false;
    last_ns_ = std::max(last_ns_, now_ns) + service_ns;
    done_ns_[(first_ + used_++) % done_ns_.size()] = last_ns_;
    return true;
  }

 private:
  std::vector<double> done_ns_;
  std::size_t first_ = 0, used_ = 0;
  double last_ns_ = 0;
};

// A service time whose median, p10 and p90 are those measured.
double draw_service(const Spread& spread, double at) {
  const double share = (at - 0.5) / 0.4;
  const double reach = at < 0.5 ? spread.median - spread.p10 : spread.p90 - spread.median;
  return std::max(spread.median + share * reach, 0.0);
}

}  // namespace

std::uint32_t lost(const Queue& queue, double packets_per_second) {
  std::mt19937 random(1);
  std::exponential_distribution<> interval_ns(packets_per_second / 1e9);
  std::uniform_real_distribution<> unit(0, 1);
  Ring ring(queue.ring);
  double now_ns = 0;
  std::uint32_t out = 0;
  for (std::uint32_t n = 0; n < queue.packets; ++n) {
    now_ns += interval_ns(random);
    if (!ring.enter(now_ns, draw_service(queue.service_ns, unit(random)))) ++out;
  }
  return out;
}

double largest_rate(const Queue& queue) {
  double good = 0, bad = 1e9 / queue.service_ns.median;
  for (int i = 0; i < 9; ++i) {
    const double rate = (good + bad) / 2;
    (lost(queue, rate) == 0 ? good : bad) = rate;
  }
  return good;
}

}  // namespace podwire::bench
