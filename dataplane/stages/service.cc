#include "dataplane/stages/service.h"

#include <algorithm>

#include "dataplane/flow/affinity.h"
#include "dataplane/stages/icmp_origin.h"
#include "dataplane/stages/lookup.h"

namespace podwire::stages {
namespace {

using tables::Backend;
using tables::Frontend;
using tables::FrontendKind;

// Traffic between this node itself and the fabric: it was there before podwire and goes on without
// the cluster's objects and over a restart.
bool is_node_traffic(const Packet& p, const Admission& a, const tables::Snapshot& snapshot) {
  if (a.frontend != nullptr) return false;
  if (p.source == Source::uplink) return snapshot.is_own_address(a.destination);
  if (p.source != Source::host) return false;
  if (snapshot.services->in_service_range(a.destination) ||
      snapshot.services->is_cluster_ip(a.destination)) {
    return false;
  }
  const auto& routes = *snapshot.routes;
  const auto kind = routes.at(routes.find(a.destination)).kind;
  return kind != tables::NextHopKind::pod && kind != tables::NextHopKind::tunnel;
}

// ICMP that opens a flow: echo and timestamp requests (RFC 792), echo requests (RFC 4443).
bool opens_icmp(const Packet& p) {
  if (p.l4_offset == 0) return true;  // later fragment: its first one was asked
  if (p.l4_readable() < sizeof(net::Icmp)) return false;
  const std::uint8_t type = *p.l4();
  return p.protocol == net::protocol::icmpv6 ? type == 128 : type == 8 || type == 13;
}

Verdict may_begin(const Packet& p, const Admission& a, const Worker& w) {
  const auto& snapshot = *w.snapshot;
  if (!snapshot.synced && !is_node_traffic(p, a, snapshot)) {
    return Verdict::drop(Reason::not_synced);
  }
  if (p.protocol == net::protocol::tcp && !is_plain_syn(p)) {
    const bool picked_up = w.shared.config.tcp_pickup && (p.tcp_flags & net::Tcp::rst) == 0;
    if (!picked_up && !is_node_traffic(p, a, snapshot)) {
      return Verdict::drop(Reason::tcp_untracked);
    }
  }
  if ((p.protocol == net::protocol::icmp || p.protocol == net::protocol::icmpv6) &&
      !opens_icmp(p) && !is_node_traffic(p, a, snapshot)) {
    return Verdict::drop(Reason::icmp_untracked);
  }
  return Verdict::next();
}

// A node that has the balancer's address itself delivers to itself, in Linux: kube-proxy's rule for
// packets from the address to itself has nothing to do here.
bool source_allowed(const Frontend& frontend, const net::Address& source) {
  if (frontend.kind != FrontendKind::load_balancer || !frontend.restrict_sources) return true;
  const auto& ranges = frontend.source_ranges;
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](const net::Prefix& range) { return range.contains(source); });
}

// Which endpoints serve this packet, and whether its source is hidden behind the node's.
struct Choice {
  const std::vector<Backend>* backends;
  bool masquerade;
};

Choice choose_set(const Packet& p, const Admission& a, const tables::Snapshot& snapshot) {
  const Frontend& frontend = *a.frontend;
  const auto& service = *frontend.service;
  const bool from_pod = p.source == Source::pod;
  const bool from_node = p.source == Source::host && snapshot.is_own_address(a.source);
  if (frontend.kind == FrontendKind::cluster_ip) {
    return {service.internal_local ? &service.local : &service.cluster,
            snapshot.services->masquerade_all || !from_pod};
  }
  if (!service.external_local) return {&service.cluster, true};
  // Inside the cluster neither policy applies: kube-proxy's short-circuit.
  if (from_pod || from_node) return {&service.cluster, from_node};
  return {&service.local, false};
}

const Backend& choose_backend(const tables::Service& service, const std::vector<Backend>& backends,
                              const net::Address& client, Worker& w) {
  const auto random = [&]() -> const Backend& {
    const std::uint64_t draw = w.random() >> 32U;
    return backends[(draw * backends.size()) >> 32U];
  };
  if (service.affinity_seconds == 0) return random();
  auto& affinity = *w.shared.affinity;
  const Backend* chosen = nullptr;
  if (const auto last =
          affinity.find(service.id, client, w.now_seconds, service.affinity_seconds)) {
    const auto found = std::find_if(backends.begin(), backends.end(), [&](const Backend& backend) {
      return backend.address == last->address && backend.port == last->port;
    });
    if (found != backends.end()) chosen = &*found;
  }
  if (chosen == nullptr) chosen = &random();
  affinity.set(service.id, client, {chosen->address, chosen->port}, w.now_seconds);
  return *chosen;
}

Verdict through_service(Packet& p, Admission& a, Worker& w) {
  const auto& service = *a.frontend->service;
  if (!source_allowed(*a.frontend, a.source)) {
    return Verdict::drop(Reason::service_source_range);
  }
  const Choice choice = choose_set(p, a, *w.snapshot);
  if (choice.backends->empty()) {
    if (service.has_any_endpoint) return Verdict::drop(Reason::service_no_local_endpoints);
    originate(w, p, IcmpError::port_unreachable);
    return Verdict::drop(Reason::service_no_endpoints);
  }
  const Backend& backend = choose_backend(service, *choice.backends, a.source, w);
  a.backend = static_cast<std::uint32_t>(&backend - choice.backends->data());
  a.new_destination = backend.address;
  a.new_destination_port = backend.port;
  // A pod that reaches itself would answer itself directly: hide it behind the node.
  a.masquerade = choice.masquerade || a.source == backend.address;
  return Verdict::next();
}

// Calico's natOutgoing. Delivery to this node itself does not leave it.
bool hides_pod(const Packet& p, const Admission& a, const tables::Snapshot& snapshot) {
  return p.source == Source::pod && snapshot.routes->masquerades(a.source, a.new_destination) &&
         !snapshot.is_own_address(a.new_destination);
}

}  // namespace

Verdict Service::decide(Packet& p, Worker& w) noexcept {
  Admission& a = w.admissions[p.admission];
  if (a.judge_again) return Verdict::next();
  // An earlier packet of this batch may have begun the flow.
  by_family(p, [&]<typename F>(F) {
    auto* flow = w.shared.flows->template map<F>().find(key_of<F>(p));
    if (flow == nullptr) return;
    p.fresh = false;
    attach(p, *flow, w);
  });
  if (p.flow != nullptr) return Verdict::next();

  a.source = p.source_address();
  a.destination = a.new_destination = p.destination_address();
  a.source_port = p.source_port;
  a.destination_port = a.new_destination_port = p.destination_port;
  const auto& services = *w.snapshot->services;
  a.frontend = services.find(a.destination, a.destination_port, p.protocol);
  if (const Verdict verdict = may_begin(p, a, w); !verdict.goes_on()) return verdict;

  if (a.frontend != nullptr) {
    if (const Verdict verdict = through_service(p, a, w); !verdict.goes_on()) return verdict;
  } else if (services.is_cluster_ip(a.destination)) {
    originate(w, p, IcmpError::port_unreachable);
    return Verdict::drop(Reason::service_port_closed);
  } else if (services.in_service_range(a.destination)) {
    return Verdict::drop(Reason::service_unallocated);
  }
  a.masquerade = a.masquerade || hides_pod(p, a, *w.snapshot);
  return Verdict::next();
}

}  // namespace podwire::stages
