#include "dataplane/stages/admit.h"

#include "dataplane/net/beside_host.h"
#include "dataplane/stages/lookup.h"

namespace podwire::stages {
namespace {

// Tries before a flow is refused. A range of no more ports than this is tried whole.
constexpr unsigned kTries = 128;

// Has this flow a source port, or an identifier in its place, that may be changed?
bool has_source_port(const Packet& p) {
  switch (p.protocol) {
    case net::protocol::tcp:
    case net::protocol::udp:
    case net::protocol::sctp:
      return true;
    case net::protocol::icmp:
      return p.l4_offset != 0 && *p.l4() == 8;
    case net::protocol::icmpv6:
      return p.l4_offset != 0 && *p.l4() == 128;
    default:
      return false;
  }
}

// The ports of the configured range in a random order.
class Ports {
 public:
  Ports(const DataplaneConfig& config, Worker& w)
      : w_(w),
        least_(config.masquerade_port_min),
        count_(config.masquerade_port_max - least_ + 1U) {}

  // The port of the n-th try, or nothing when every port, or the bound, was tried. To be asked for
  // in turn.
  [[nodiscard]] std::optional<net::be16> at(unsigned n) {
    if (n >= std::min(count_, kTries)) return std::nullopt;
    if (n == 0) start_ = draw();
    const unsigned offset = count_ <= kTries ? (start_ + n) % count_ : draw();
    return net::be16(static_cast<std::uint16_t>(least_ + offset));
  }

 private:
  unsigned draw() {
    return static_cast<unsigned>(((w_.random() >> 32U) * std::uint64_t{count_}) >> 32U);
  }
  Worker& w_;
  unsigned least_, count_, start_ = 0;
};

// Who is hidden comes from this node, or from beside it when the flow ends on it (service.cc).
net::Address masquerade_address(const Admission& a, const tables::Snapshot& snapshot,
                                net::Family family) {
  if (snapshot.is_own_address(a.new_destination)) return net::beside_host(family);
  return family == net::Family::v4 ? snapshot.routes->masquerade_v4
                                   : snapshot.routes->masquerade_v6;
}

template <typename F>
flow::NewFlow<F> new_flow(const Packet& p, const Admission& a, const Worker& w) {
  const auto& snapshot = *w.snapshot;
  flow::NewFlow<F> flow;
  flow.forward = key_of<F>(p);
  flow.rewrite = {.source = flow.forward.source,
                  .destination = flow.forward.destination,
                  .source_port = a.source_port,
                  .destination_port = a.new_destination_port};
  if constexpr (F::family == net::Family::v4) {
    flow.rewrite.destination = a.new_destination.v4();
    if (a.masquerade) flow.rewrite.source = masquerade_address(a, snapshot, F::family).v4();
  } else {
    flow.rewrite.destination = a.new_destination.bytes;
    if (a.masquerade) flow.rewrite.source = masquerade_address(a, snapshot, F::family).bytes;
  }
  flow.service_id = a.frontend == nullptr ? 0 : a.frontend->service->id;
  flow.policy_generation = snapshot.policy_generation;
  flow.tcp_flags = state_flags(p);
  flow.from_own_node = p.source == Source::host && snapshot.is_own_address(a.source);
  return flow;
}

// A flow of another packet was first with this key: this packet belongs to it.
template <typename F>
bool join(Packet& p, const typename F::Key& key, Worker& w) {
  flow::Flow<F>* flow = w.shared.flows->map<F>().find(key, p.hash, flow::kNoSlot);
  if (flow == nullptr) return false;
  p.flow = flow;
  p.reply = flow->is_reply;
  p.fresh = false;
  count_passed(p, *flow, w);
  return true;
}

template <typename F>
Verdict enter(Packet& p, const Admission& a, Worker& w) {
  auto& map = w.shared.flows->map<F>();
  if (!p.plain && !may_enter<F>(w)) return Verdict::drop(Reason::flow_limit);
  flow::NewFlow<F> flow = new_flow<F>(p, a, w);
  // A masqueraded flow gets a random port, unless its source is the node's address already: then
  // its own port serves for as long as no other flow has it.
  const bool keeps_port = !a.masquerade || flow.rewrite.source == flow.forward.source;
  Ports ports(w.shared.config, w);
  unsigned tried = 0;
  if (!keeps_port && has_source_port(p)) flow.rewrite.source_port = *ports.at(tried++);
  for (;;) {
    const auto [outcome, reply_hash, entry] = map.insert(flow, p.hash, w.now_seconds);
    switch (outcome) {
      case flow::Outcome::inserted:
        w.counters.flows_created.add();
        w.entered.add(p.hash);
        w.entered.add(reply_hash);
        p.flow = entry;
        p.reply = false;
        p.fresh = false;
        map.passed(*entry, p.l3_length, p.protocol, flow.tcp_flags, w.now_seconds);
        return Verdict::next();
      case flow::Outcome::exists:
        if (join<F>(p, flow.forward, w)) return Verdict::next();
        break;  // it ended in the meantime: try again, which counts
      case flow::Outcome::full:
        return Verdict::drop(Reason::flow_limit);
      case flow::Outcome::reply_taken:
        if (!has_source_port(p)) return Verdict::drop(Reason::flow_ports);
        break;
    }
    const auto port = ports.at(tried++);
    if (!port) return Verdict::drop(Reason::flow_ports);
    if (outcome == flow::Outcome::reply_taken) flow.rewrite.source_port = *port;
  }
}

bool has_masquerade_address(const Packet& p, const tables::RouteTable& routes) {
  return p.family == net::Family::v4 ? routes.has_masquerade_v4 : routes.has_masquerade_v6;
}

}  // namespace

void Admit::seek(Packet& p, Worker& w) noexcept {
  const Admission& a = w.admissions[p.admission];
  if (a.judge_again) return;
  by_family(p, [&]<typename F>(F) {
    w.shared.flows->template map<F>().prefetch_place(a.reply_hash, false);
  });
}

void Admit::seek_further(Packet& p, Worker& w) noexcept {
  const Admission& a = w.admissions[p.admission];
  if (a.judge_again) return;
  by_family(p, [&]<typename F>(F) {
    w.shared.flows->template map<F>().prefetch_second_place(a.reply_hash, false);
  });
}

Verdict Admit::decide(Packet& p, Worker& w) noexcept {
  if (!p.fresh) return Verdict::next();  // known by now, or judged again and allowed
  const Admission& a = w.admissions[p.admission];
  if (a.masquerade && !has_masquerade_address(p, *w.snapshot->routes)) {
    return Verdict::drop(Reason::flow_ports);
  }
  return by_family(p, [&]<typename F>(F) { return enter<F>(p, a, w); });
}

}  // namespace podwire::stages
