#include "dataplane/worker.h"

#include <rte_cycles.h>
#include <sys/random.h>

#include <algorithm>
#include <utility>

#include "dataplane/check.h"
#include "dataplane/flow/affinity.h"
#include "dataplane/flow/flows.h"
#include "dataplane/pipeline.h"

namespace podwire {
namespace {

std::uint64_t random_seed() {
  std::uint64_t seed = 0;
  check(getrandom(&seed, sizeof(seed), 0) == sizeof(seed), "the kernel gives no random numbers");
  return seed | 1;  // xorshift must not start at zero
}

std::uint64_t tsc_hz() {
  const std::uint64_t hz = rte_get_tsc_hz();
  check(hz != 0, "workers are made after the EAL: the TSC's frequency is not known yet");
  return hz;
}

std::uint64_t total_bytes(std::span<rte_mbuf* const> frames) {
  std::uint64_t bytes = 0;
  for (const rte_mbuf* frame : frames) bytes += frame->pkt_len;
  return bytes;
}

}  // namespace

Shared::Shared(const DataplaneConfig& config, unsigned workers)
    : config(config),
      workers(workers),
      cycles_per_second(tsc_hz()),
      start_cycles(rte_rdtsc()),
      quiescence(workers),
      flows(std::make_unique<flow::Flows>(config, quiescence)),
      affinity(std::make_unique<flow::AffinityTable>(config.affinity_entries)),
      handoff(workers > 1 && config.spread_flows ? std::make_unique<Handoff>(workers) : nullptr) {}

Shared::~Shared() = default;

Worker::Worker(Shared& shared, unsigned index)
    : shared(shared),
      index(index),
      random_state(random_seed()),
      choice_key(random_seed()),
      admissions(kBatchSize),
      fragments(std::make_unique<stages::FragmentTable>(shared.config.fragment_datagrams)),
      holds(std::make_unique<stages::HoldQueue>()),
      outboxes(kMaxPorts) {
  for (auto& outbox : outboxes) outbox = std::make_unique<Outbox>();
  pending.reserve(kMaxPorts);
}

Worker::~Worker() {
  for (unsigned i = 0; i < originated.size(); ++i) rte_pktmbuf_free(originated[i].mbuf);
  for (const PortId port : pending) {
    for (unsigned i = 0; i < outboxes[port]->size; ++i) rte_pktmbuf_free(outboxes[port]->frames[i]);
  }
}

void Worker::drop(rte_mbuf* mbuf, Reason reason, PortId port) noexcept {
  rte_pktmbuf_free(mbuf);
  count_drop(reason);
  if (port < kMaxPorts) counters.ports[port].rx_drops.add();
}

bool Worker::originate(rte_mbuf* mbuf) noexcept {
  if (originated.full()) return false;
  Packet& packet = originated.append(mbuf, kNoPort);
  packet.source = Source::self;
  packet.originated = true;
  counters.originated.add();
  return true;
}

void Worker::flush(PortId port) noexcept {
  Outbox& outbox = *outboxes[port];
  std::erase(pending, port);
  const tables::PortInfo* info = snapshot->ports->find(port);
  io::Port* driver = info == nullptr ? nullptr : info->port.get();
  const bool up = driver != nullptr && driver->up();
  if (up && info->limits != nullptr && info->limits->to_pod != nullptr) [[unlikely]] {
    police_outbox(outbox, port, *info->limits->to_pod);
  }
  const std::span frames(outbox.frames.data(), outbox.size);
  const std::uint64_t bytes = std::exchange(outbox.bytes, 0);
  outbox.size = 0;
  unsigned taken = 0;
  if (up) taken = driver->transmit(index, frames);
  const auto left = frames.subspan(taken);
  auto& port_counters = counters.ports[port];
  counters.sent.add(taken);
  port_counters.tx_packets.add(taken);
  port_counters.tx_bytes.add(bytes - total_bytes(left));
  if (left.empty()) return;
  const Reason reason = driver != nullptr && driver->up() ? Reason::port_full : Reason::port_down;
  for (rte_mbuf* frame : left) {
    rte_pktmbuf_free(frame);
    count_drop(reason);
  }
  port_counters.tx_drops.add(left.size());
}

void Worker::flush() noexcept {
  while (!pending.empty()) flush(pending.back());
}

void Worker::begin_round(std::uint64_t now) noexcept {
  snapshot = shared.snapshot.load(std::memory_order_acquire);
  now_cycles = now;
  now_seconds = static_cast<std::uint32_t>(
      (now_cycles - shared.start_cycles.load(std::memory_order_relaxed)) /
      shared.cycles_per_second);
}

// As the fast path does for a burst that goes through the pipeline.
void Worker::count_at_ports(const Burst& burst) noexcept {
  for (const Burst::Run& run : burst.runs()) {
    if (run.handed) continue;
    const auto frames = burst.mbufs().subspan(run.begin, run.end - run.begin);
    counters.ports[run.in_port].rx_packets.add(frames.size());
    counters.ports[run.in_port].rx_bytes.add(total_bytes(frames));
  }
}

// Ends: an ICMP error never causes another.
void Worker::run_originated() noexcept {
  while (!originated.empty()) {
    for (unsigned i = 0; i < originated.size(); ++i) {
      Packet& packet = batch_.append(originated[i].mbuf, originated[i].in_port);
      packet.source = originated[i].source;
      packet.originated = originated[i].originated;
    }
    originated.clear();
    pipeline(batch_, *this);
  }
}

void Worker::process(Burst& burst, std::uint64_t now) noexcept {
  begin_round(now);
  if (snapshot == nullptr) {
    count_at_ports(burst);
    counters.received.add(burst.size());
    for (unsigned i = 0; i < burst.size(); ++i) {
      drop(burst[i].mbuf, Reason::not_synced, burst[i].in_port);
    }
    burst.clear();
    return;
  }
  if (snapshot->ports->any_limits) [[unlikely]]
    police_received(burst);
  room_left = kRoomABurst;
  entered.clear();
  const unsigned handed_over = pipeline(burst, batch_, *this);
  counters.received.add(burst.size() - handed_over);
  counters.handed_over.add(handed_over);
  burst.clear();
  resume_held(batch_, *this);
  run_originated();
  flush();
}

}  // namespace podwire
