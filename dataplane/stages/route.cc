#include "dataplane/stages/route.h"

#include "dataplane/stages/hold.h"
#include "dataplane/stages/icmp_origin.h"
#include "dataplane/stages/lookup.h"

namespace podwire::stages {
namespace {

using tables::NextHop;
using tables::NextHopId;
using tables::NextHopKind;

// What route needs of the flow, whatever its family.
struct FlowView {
  bool translates = false;
  net::Address source;  // as the packet came

  template <typename F>
  static FlowView of(void* flow) {
    auto& f = *static_cast<flow::Flow<F>*>(flow);
    if constexpr (F::family == net::Family::v4) {
      return {f.translates, net::Address::from_v4(f.key.source)};
    } else {
      return {f.translates, net::Address::from_v6(f.key.source.data())};
    }
  }
};

bool leaves(NextHopKind kind) {
  return kind == NextHopKind::link || kind == NextHopKind::tunnel ||
         kind == NextHopKind::unresolved;
}
bool from_outside(Source source) {
  return source == Source::uplink || source == Source::tunnel;
}

// Who may go where. Asked when a flow is routed, not for each of its packets.
Reason refusal(const Packet& p, const NextHop& hop, const tables::Snapshot& snapshot) {
  const tables::RouteTable& routes = *snapshot.routes;
  if (!from_outside(p.source) || p.may_pass) return Reason::none;
  const bool tunnel = p.source == Source::tunnel;
  FlowView flow;
  flow.source = p.source_address();
  if (p.flow != nullptr) {
    flow = p.family == net::Family::v4 ? FlowView::of<flow::V4>(p.flow)
                                       : FlowView::of<flow::V6>(p.flow);
    // An error comes from wherever on the path it was made, translated by the flow it is about.
    if (p.icmp_error) flow.source = p.source_address();
  }
  if (leaves(hop.kind) && !flow.translates) {
    return tunnel ? Reason::tunnel_bad_inner : Reason::no_route;
  }
  if (p.icmp_error) return Reason::none;
  // Own addresses are parse's. A source behind another device of the node is let through: the way
  // there need not be the way back.
  if (routes.at(routes.find(flow.source)).kind == NextHopKind::pod) {
    return tunnel ? Reason::tunnel_bad_inner : Reason::bad_address;
  }
  const bool known = !tunnel || routes.pools.find(flow.source) != nullptr ||
                     (flow.source.is_v4() && routes.is_tunnel_peer(flow.source.v4()));
  return known ? Reason::none : Reason::tunnel_bad_inner;
}

// Before the first complete set of objects only the node's own traffic with the outside.
bool may_pass_unsynced(const Packet& p, const NextHop& hop) {
  const bool node = p.source == Source::host || p.source == Source::self;
  return (node && (leaves(hop.kind) || hop.kind == NextHopKind::host)) ||
         (p.source == Source::uplink && hop.kind == NextHopKind::host);
}

Verdict no_route(const Packet& p, Worker& w) {
  // Strangers on the wire are told nothing.
  if (!from_outside(p.source)) originate(w, p, IcmpError::no_route);
  return Verdict::drop(Reason::no_route);
}

// Where the flow's way is kept. Of another worker's flow, found when ours was to be entered, policy
// may have been asked under an older snapshot: its way says nothing for this one.
std::atomic<std::uint64_t>* remembered(const Packet& p, const tables::Snapshot& snapshot) {
  // An error goes to the quoted packet's sender: not where its flow goes.
  if (p.flow == nullptr || p.icmp_error) return nullptr;
  return by_family(p, [&]<typename F>(F) {
    flow::Flow<F>& flow = flow_of<F>(p);
    const auto judged = flow.policy_generation.load(std::memory_order_relaxed);
    return judged == snapshot.policy_generation ? &flow.way : nullptr;
  });
}

NextHopId next_hop(const net::Address& source, const net::Address& destination, std::uint32_t hash,
                   const tables::RouteTable& routes) {
  const NextHopId id = routes.find(destination, hash);
  const NextHopId twin = routes.at(id).pod_source_twin;
  const bool from_pod = twin != tables::kNoNextHop && routes.pools.find(source) != nullptr;
  return from_pod ? twin : id;
}

}  // namespace

NextHopId find_next_hop(const Packet& p, const tables::RouteTable& routes) noexcept {
  return next_hop(p.source_address(), p.destination_address(), p.hash, routes);
}

const NextHop* first_hop(const Packet& p, Worker& w) noexcept {
  const auto& flow = flow_of<flow::V4>(p);
  const tables::RouteTable& routes = *w.snapshot->routes;
  auto* memory = remembered(p, *w.snapshot);
  if (memory == nullptr) return nullptr;
  const std::uint64_t from = way_from(p, w);
  NextHopId id = flow::Way::next_hop(memory->load(std::memory_order_relaxed), from);
  if (id != tables::kNoNextHop) return &routes.at(id);
  id = next_hop(net::Address::from_v4(flow.rewrite.source),
                net::Address::from_v4(flow.rewrite.destination), p.hash, routes);
  const NextHop& hop = routes.at(id);
  if (hop.kind == NextHopKind::none || refusal(p, hop, *w.snapshot) != Reason::none) {
    return nullptr;
  }
  memory->store(flow::Way::to(from, id), std::memory_order_relaxed);
  return &hop;
}

Verdict Route::decide(Packet& p, Worker& w) noexcept {
  const tables::Snapshot& snapshot = *w.snapshot;
  const tables::RouteTable& routes = *snapshot.routes;
  auto* memory = remembered(p, snapshot);
  const std::uint64_t from = way_from(p, w);
  p.next_hop = memory == nullptr
                   ? tables::kNoNextHop
                   : flow::Way::next_hop(memory->load(std::memory_order_relaxed), from);
  const bool current = p.next_hop != tables::kNoNextHop;
  if (!current) p.next_hop = find_next_hop(p, routes);
  const NextHop& hop = routes.at(p.next_hop);
  if (hop.kind == NextHopKind::none) return no_route(p, w);
  if (hop.kind == NextHopKind::blackhole) return Verdict::drop(Reason::blackhole);
  if (!snapshot.synced && !may_pass_unsynced(p, hop)) return Verdict::drop(Reason::not_synced);
  if (!current) {
    const Reason refused = refusal(p, hop, snapshot);
    if (refused != Reason::none) return Verdict::drop(refused);
    if (memory != nullptr) {
      memory->store(flow::Way::to(from, p.next_hop), std::memory_order_relaxed);
    }
  }
  if (hop.kind != NextHopKind::unresolved) return Verdict::next();
  const net::Address& gateway =
      hop.gateway.is_unspecified() ? p.destination_address() : hop.gateway;
  return w.holds->hold(p, gateway, w);
}

}  // namespace podwire::stages
