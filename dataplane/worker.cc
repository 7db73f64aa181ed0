#include "dataplane/worker.h"

#include <rte_cycles.h>
#include <sys/random.h>

#include <algorithm>

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

void send_all(Batch& batch, Worker& w) {
  for (unsigned i = 0; i < batch.size(); ++i) w.send(batch[i].mbuf, batch[i].out_port);
  batch.clear();
}

}  // namespace

Shared::Shared(const DataplaneConfig& config, unsigned workers)
    : config(config),
      cycles_per_second(tsc_hz()),
      start_cycles(rte_rdtsc()),
      quiescence(workers),
      flows(std::make_unique<flow::Flows>(config, quiescence)),
      affinity(std::make_unique<flow::AffinityTable>(config.affinity_entries)) {}

Shared::~Shared() = default;

Worker::Worker(Shared& shared, unsigned index)
    : shared(shared),
      index(index),
      random_state(random_seed()),
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

void Worker::send(rte_mbuf* mbuf, PortId port) noexcept {
  if (port >= kMaxPorts) {  // punted before there is a host port or an uplink
    drop(mbuf, Reason::port_down, kNoPort);
    return;
  }
  Outbox& outbox = *outboxes[port];
  if (outbox.size == kBatchSize) flush(port);
  if (outbox.size == 0) pending.push_back(port);
  outbox.frames[outbox.size++] = mbuf;
}

void Worker::flush(PortId port) noexcept {
  Outbox& outbox = *outboxes[port];
  std::erase(pending, port);
  const std::span frames(outbox.frames.data(), outbox.size);
  outbox.size = 0;
  const tables::PortInfo* info = snapshot->ports->find(port);
  io::Port* driver = info == nullptr ? nullptr : info->port.get();
  const std::uint64_t bytes = total_bytes(frames);
  unsigned taken = 0;
  if (driver != nullptr && driver->up()) taken = driver->transmit(index, frames);
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

void Worker::begin_round() noexcept {
  snapshot = shared.snapshot.load(std::memory_order_acquire);
  now_cycles = rte_rdtsc();
  now_seconds = static_cast<std::uint32_t>(
      (now_cycles - shared.start_cycles.load(std::memory_order_relaxed)) /
      shared.cycles_per_second);
}

void Worker::process(Batch& batch) noexcept {
  begin_round();
  counters.received.add(batch.size());
  for (unsigned i = 0; i < batch.size(); ++i) {
    auto& port = counters.ports[batch[i].in_port];
    port.rx_packets.add();
    port.rx_bytes.add(batch[i].mbuf->pkt_len);
  }
  if (snapshot == nullptr) {
    for (unsigned i = 0; i < batch.size(); ++i) {
      drop(batch[i].mbuf, Reason::not_synced, batch[i].in_port);
    }
    batch.clear();
    return;
  }
  const auto send_batch = [this](Batch& done) { send_all(done, *this); };
  pipeline(batch, *this);
  send_batch(batch);
  resume_held(batch, *this, send_batch);
  // Ends: an ICMP error never causes another.
  while (!originated.empty()) {
    batch.clear();
    for (unsigned i = 0; i < originated.size(); ++i) {
      Packet& packet = batch.append(originated[i].mbuf, originated[i].in_port);
      packet.source = originated[i].source;
      packet.originated = originated[i].originated;
    }
    originated.clear();
    pipeline(batch, *this);
    send_batch(batch);
  }
  flush();
}

}  // namespace podwire
