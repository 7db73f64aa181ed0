#include "dataplane/stages/hold.h"

#include <algorithm>

#include "dataplane/stages/icmp_origin.h"
#include "dataplane/stages/route.h"
#include "dataplane/worker.h"

namespace podwire::stages {
namespace {

// Since start, never 0.
std::uint64_t uptime_cycles(const Worker& w) {
  return w.now_cycles - w.shared.start_cycles.load(std::memory_order_relaxed) + 1;
}

}  // namespace

HoldQueue::~HoldQueue() {
  for (unsigned i = 0; i < size_; ++i) rte_pktmbuf_free(waiting_[i].packet.mbuf);
}

void HoldQueue::ask(const net::Address& neighbour, Worker& w) noexcept {
  const std::uint64_t now = uptime_cycles(w);
  Asked* place = &asked_[0];
  for (Asked& asked : asked_) {
    if (asked.neighbour == neighbour && asked.at_cycles != 0) {
      place = &asked;
      break;
    }
    if (asked.at_cycles < place->at_cycles) place = &asked;
  }
  const bool lately = place->at_cycles != 0 && now - place->at_cycles < w.shared.cycles_per_second;
  if (lately) return;  // this address, or as many others as there are places for
  *place = Asked{neighbour, now};
  observe::Event event;
  event.kind = observe::Event::Kind::neighbour_wanted;
  event.address = neighbour;
  w.events.push(event);
}

Verdict HoldQueue::hold(const Packet& p, const net::Address& neighbour, Worker& w) noexcept {
  ask(neighbour, w);
  unsigned same = 0;
  for (unsigned i = 0; i < size_; ++i) same += waiting_[i].neighbour == neighbour ? 1 : 0;
  if (size_ == kPackets || same == kPacketsPerNeighbour) {
    return Verdict::drop(Reason::neighbour_unresolved);
  }
  Waiting& waiting = waiting_[size_++];
  waiting = Waiting{p, neighbour, uptime_cycles(w)};
  waiting.packet.flow = nullptr;  // may be another's after this worker's next quiescent point
  waiting.packet.may_pass = true;
  w.counters.holding.add(1);
  return Verdict::taken();
}

unsigned HoldQueue::release(Batch& out, Worker& w) noexcept {
  if (size_ == 0 || w.snapshot->generation == generation_) return 0;
  const tables::RouteTable& routes = *w.snapshot->routes;
  unsigned kept = 0, released = 0;
  for (unsigned i = 0; i < size_; ++i) {
    const Packet& waiting = waiting_[i].packet;
    const auto kind = routes.at(find_next_hop(waiting, routes)).kind;
    if (kind == tables::NextHopKind::unresolved || out.full()) {
      waiting_[kept++] = waiting_[i];
      continue;
    }
    out.append(waiting.mbuf, waiting.in_port) = waiting;
    ++released;
  }
  size_ = kept;
  generation_ = w.snapshot->generation;
  w.counters.holding.add(-std::uint64_t{released});
  return released;
}

void HoldQueue::age(Worker& w) noexcept {
  unsigned gone = 0;
  while (gone < size_ &&
         uptime_cycles(w) - waiting_[gone].since_cycles >= w.shared.cycles_per_second) {
    Packet& packet = waiting_[gone++].packet;
    originate(w, packet, IcmpError::host_unreachable);
    w.drop(packet.mbuf, Reason::neighbour_unresolved, packet.in_port);
  }
  if (gone == 0) return;
  std::move(waiting_.begin() + gone, waiting_.begin() + size_, waiting_.begin());
  size_ -= gone;
  w.counters.holding.add(-std::uint64_t{gone});
}

}  // namespace podwire::stages
