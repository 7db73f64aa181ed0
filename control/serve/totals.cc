#include "control/serve/totals.h"

#include <algorithm>
#include <numeric>

namespace podwire::control {
namespace {

WorkerTotals read_worker(const observe::WorkerCounters& counters) {
  WorkerTotals t;
  t.received = counters.received.read();
  t.originated = counters.originated.read();
  t.sent = counters.sent.read();
  t.punted = counters.punted.read();
  t.holding = counters.holding.read();
  t.flows_created = counters.flows_created.read();
  t.flows_removed = counters.flows_removed.read();
  t.flows_expired = counters.flows_expired.read();
  t.policy_rejudged = counters.policy_rejudged.read();
  t.handed_over = counters.handed_over.read();
  t.fast_path = counters.fast_path.read();
  t.tunnel_in = counters.tunnel_in.read();
  t.tunnel_out = counters.tunnel_out.read();
  t.rounds = counters.rounds.read();
  t.idle_rounds = counters.idle_rounds.read();
  t.busy_cycles = counters.busy_cycles.read();
  t.idle_cycles = counters.idle_cycles.read();
  t.sleeps = counters.sleeps.read();
  for (std::size_t i = 0; i < kReasons; ++i) t.drops[i] = counters.drops[i].read();
  return t;
}

}  // namespace

std::uint64_t WorkerTotals::dropped() const {
  return std::accumulate(drops.begin(), drops.end(), std::uint64_t{0});
}

WorkerTotals Totals::sum() const {
  WorkerTotals all;
  for (const WorkerTotals& w : workers) {
    all.received += w.received;
    all.originated += w.originated;
    all.sent += w.sent;
    all.punted += w.punted;
    all.holding += w.holding;
    all.flows_created += w.flows_created;
    all.flows_removed += w.flows_removed;
    all.flows_expired += w.flows_expired;
    all.policy_rejudged += w.policy_rejudged;
    all.handed_over += w.handed_over;
    all.fast_path += w.fast_path;
    all.tunnel_in += w.tunnel_in;
    all.tunnel_out += w.tunnel_out;
    all.rounds += w.rounds;
    all.idle_rounds += w.idle_rounds;
    all.busy_cycles += w.busy_cycles;
    all.idle_cycles += w.idle_cycles;
    all.sleeps += w.sleeps;
    for (std::size_t i = 0; i < kReasons; ++i) all.drops[i] += w.drops[i];
  }
  return all;
}

Totals read_totals(DataplaneLink& dataplane, std::size_t ports) {
  Totals totals;
  totals.taken = std::chrono::steady_clock::now();
  totals.ports.resize(std::min<std::size_t>(ports, kMaxPorts));
  for (unsigned worker = 0; worker < dataplane.workers(); ++worker) {
    const observe::WorkerCounters& counters = dataplane.counters(worker);
    totals.workers.push_back(read_worker(counters));
    for (std::size_t id = 0; id < totals.ports.size(); ++id) {
      const observe::PortCounters& from = counters.ports[id];
      PortTotals& into = totals.ports[id];
      into.rx_packets += from.rx_packets.read();
      into.rx_bytes += from.rx_bytes.read();
      into.tx_packets += from.tx_packets.read();
      into.tx_bytes += from.tx_bytes.read();
      into.rx_drops += from.rx_drops.read();
      into.tx_drops += from.tx_drops.read();
    }
  }
  return totals;
}

void Sampler::sample(std::size_t ports) {
  before_ = std::move(newest_);
  newest_ = read_totals(dataplane_, ports);
  progress_.resize(newest_.workers.size(), {0, newest_.taken});
  for (std::size_t i = 0; i < progress_.size(); ++i) {
    const std::uint64_t rounds = newest_.workers[i].rounds;
    if (rounds != progress_[i].rounds) progress_[i] = {rounds, newest_.taken};
  }
}

double Sampler::per_second(std::uint64_t before, std::uint64_t after) const {
  const std::chrono::duration<double> seconds = newest_.taken - before_.taken;
  if (before_.workers.empty() || seconds.count() <= 0 || after < before) return 0;
  return static_cast<double>(after - before) / seconds.count();
}

double Sampler::busy_share(unsigned worker) const {
  if (worker >= before_.workers.size() || worker >= newest_.workers.size()) return 0;
  const WorkerTotals& old = before_.workers[worker];
  const WorkerTotals& now = newest_.workers[worker];
  const auto busy = static_cast<double>(now.busy_cycles - old.busy_cycles);
  const auto idle = static_cast<double>(now.idle_cycles - old.idle_cycles);
  return busy + idle <= 0 ? 0 : busy / (busy + idle);
}

int Sampler::stuck_worker() const {
  for (std::size_t i = 0; i < progress_.size(); ++i) {
    if (newest_.taken - progress_[i].moved >= std::chrono::seconds(10)) return static_cast<int>(i);
  }
  return -1;
}

}  // namespace podwire::control
