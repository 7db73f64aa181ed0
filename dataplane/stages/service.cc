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

// Calico's natOutgoing. Delivery to this node itself does not leave it.
bool hides_pod(const Packet& p, const Admission& a, const tables::Snapshot& snapshot) {
  return p.source == Source::pod && snapshot.routes->masquerades(a.source, a.new_destination) &&
         !snapshot.is_own_address(a.new_destination);
}

// What a Service leads to this node itself is delivered by Linux, which answers through podwire: as
// under kube-proxy the client keeps its address. The node's own would be taken for a forgery.
void send_to(const Backend& backend, const Packet& p, Admission& a,
             const tables::Snapshot& snapshot) {
  a.new_destination = backend.address;
  a.new_destination_port = backend.port;
  // A pod that reaches itself would answer itself directly: hide it behind the node.
  a.masquerade = a.hides_client || a.source == backend.address;
  if (a.masquerade && snapshot.is_own_address(backend.address)) {
    a.masquerade = p.source == Source::host;
  }
}

// 32 random bits for a new flow: the same for all its packets of one second, so that it does not
// matter which of them are decided together.
std::uint64_t random_bits(const Packet& p, const Admission& a, const Worker& w) {
  const auto mixed = [](std::uint64_t x) {
    x *= 0x9e3779b97f4a7c15ULL;
    return x ^ (x >> 32U);
  };
  const auto [source_high, source_low] = a.source.halves();
  const auto [high, low] = a.destination.halves();
  const std::uint64_t ports = std::uint64_t{a.source_port.raw()} << 32U |
                              std::uint64_t{a.destination_port.raw()} << 16U | p.protocol;
  std::uint64_t x = mixed(w.choice_key ^ w.now_seconds ^ source_low);
  x = mixed(x ^ low);
  if (p.family == net::Family::v6) x = mixed(mixed(x ^ source_high) ^ high);
  return mixed(mixed(x ^ ports)) >> 32U;
}

// The client's last backend in place of the one chosen, which else is its next.
void keep_affinity(const Packet& p, Admission& a, Worker& w) {
  const auto& service = *a.frontend->service;
  auto& affinity = *w.shared.affinity;
  if (const auto last =
          affinity.find(service.id, a.source, w.now_seconds, service.affinity_seconds)) {
    const auto found = std::find_if(a.set->begin(), a.set->end(), [&](const Backend& backend) {
      return backend.address == last->address && backend.port == last->port;
    });
    if (found != a.set->end()) {
      send_to(*found, p, a, *w.snapshot);
      a.policy_ends = w.snapshot->policies->ends(a.source, a.new_destination);
    }
  }
  affinity.set(service.id, a.source, {a.new_destination, a.new_destination_port}, w.now_seconds);
}

Verdict through_service(Packet& p, Admission& a, Worker& w) {
  const auto& service = *a.frontend->service;
  if (!source_allowed(*a.frontend, a.source)) {
    return Verdict::drop(Reason::service_source_range);
  }
  if (a.set->empty()) {
    if (service.has_any_endpoint) return Verdict::drop(Reason::service_no_local_endpoints);
    originate(w, p, IcmpError::port_unreachable);
    return Verdict::drop(Reason::service_no_endpoints);
  }
  if (service.affinity_seconds != 0) keep_affinity(p, a, w);
  return Verdict::next();
}

// An earlier packet of this burst may have begun the flow.
void find_again(Packet& p, Worker& w) {
  by_family(p, [&]<typename F>(F) {
    auto* flow = w.shared.flows->template map<F>().find(key_of<F>(p), p.hash, flow::kNoSlot);
    if (flow == nullptr) return;
    p.fresh = false;
    attach(p, *flow, w);
  });
}

// What the reply's key will be if nothing else has it. A masqueraded flow's port is not drawn yet.
template <typename F>
typename F::Key likely_reply(const Packet& p, const Admission& a) {
  if constexpr (F::family == net::Family::v4) {
    return flow::make_key(p.protocol, net::be16{}, a.new_destination.v4(), p.ipv4().source,
                          a.new_destination_port, a.source_port);
  } else {
    typename F::Key reply = reversed(key_of<F>(p));
    reply.source = a.new_destination.bytes;
    reply.source_port = a.new_destination_port;
    return reply;
  }
}

}  // namespace

void Service::seek(Packet& p, Worker& w) noexcept {
  if (w.admissions[p.admission].judge_again) return;
  by_family(p,
            [&]<typename F>(F) { w.shared.flows->template map<F>().prefetch_place(p.hash, true); });
  w.snapshot->services->frontends.prefetch(
      {p.destination_address(), p.destination_port, p.protocol});
}

void Service::find(Packet& p, Worker& w) noexcept {
  Admission& a = w.admissions[p.admission];
  if (a.judge_again) return;
  a.source = p.source_address();
  a.destination = a.new_destination = p.destination_address();
  a.source_port = p.source_port;
  a.destination_port = a.new_destination_port = p.destination_port;
  a.frontend = w.snapshot->services->find(a.destination, a.destination_port, p.protocol);
  if (a.frontend != nullptr) __builtin_prefetch(a.frontend->service.get());
  by_family(p, [&]<typename F>(F) {
    w.shared.flows->template map<F>().prefetch_second_place(p.hash, true);
  });
}

void Service::draw(Packet& p, Worker& w) noexcept {
  Admission& a = w.admissions[p.admission];
  if (a.frontend == nullptr) return;
  const Choice choice = choose_set(p, a, *w.snapshot);
  a.set = choice.backends;
  a.hides_client = choice.masquerade;
  if (a.set->empty()) return;
  a.backend = &(*a.set)[(random_bits(p, a, w) * a.set->size()) >> 32U];
  __builtin_prefetch(a.backend);
}

void Service::choose(Packet& p, Worker& w) noexcept {
  Admission& a = w.admissions[p.admission];
  if (a.judge_again) return;
  if (a.backend != nullptr) send_to(*a.backend, p, a, *w.snapshot);
  by_family(p, [&]<typename F>(F) {
    auto& map = w.shared.flows->template map<F>();
    a.reply_hash = map.hash(likely_reply<F>(p, a));
    map.prefetch(a.reply_hash);
  });
}

Verdict Service::decide(Packet& p, Worker& w) noexcept {
  Admission& a = w.admissions[p.admission];
  if (a.judge_again) return Verdict::next();
  if (w.entered.may_have(p.hash)) {
    find_again(p, w);
    if (p.flow != nullptr) return Verdict::next();
  }

  if (const Verdict verdict = may_begin(p, a, w); !verdict.goes_on()) return verdict;
  const auto& services = *w.snapshot->services;

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
