#include "dataplane/stages/policy.h"

#include <algorithm>

#include "dataplane/stages/lookup.h"

namespace podwire::stages {
namespace {

bool takes_port(std::uint8_t protocol) {
  return protocol != net::protocol::icmp && protocol != net::protocol::icmpv6;
}

net::Address address_of(net::be32 v4) {
  return net::Address::from_v4(v4);
}
net::Address address_of(const std::array<std::uint8_t, 16>& v6) {
  return net::Address::from_v6(v6.data());
}

tables::PolicyQuestion question_of(const Packet& p, const Admission& a,
                                   const tables::Snapshot& snapshot) {
  return {.source = a.source,
          .destination = a.new_destination,
          .destination_port = takes_port(p.protocol) ? a.new_destination_port : net::be16{},
          .protocol = p.protocol,
          .from_own_node = p.source == Source::host && snapshot.is_own_address(a.source)};
}

// The question that was asked when the flow began.
template <typename F>
tables::PolicyQuestion question_of(const flow::Flow<F>& forward) {
  return {.source = address_of(forward.key.source),
          .destination = address_of(forward.rewrite.destination),
          .destination_port =
              takes_port(forward.key.protocol) ? forward.rewrite.destination_port : net::be16{},
          .protocol = forward.key.protocol,
          .from_own_node = forward.from_own_node};
}

void tell(const tables::PolicyQuestion& question, const tables::PolicyAnswer& answer, Worker& w) {
  w.counters.policy_drops[std::min(answer.policy, observe::kCountedPolicies)].add();
  w.events.push({.kind = observe::Event::Kind::policy_denied,
                 .protocol = question.protocol,
                 .port = question.destination_port,
                 .policy = answer.policy,
                 .address = question.destination,
                 .source = question.source});
}

template <typename F>
Verdict judge_again(Packet& p, Worker& w) {
  auto& map = w.shared.flows->map<F>();
  flow::Flow<F>& flow = flow_of<F>(p);
  const flow::Flow<F>& forward = flow.is_reply ? map.at(flow.peer) : flow;
  const auto question = question_of(forward);
  const auto answer = w.snapshot->policies->judge(question);
  w.counters.policy_rejudged.add();
  if (!answer.allowed) {
    tell(question, answer, w);
    if (map.erase(flow)) w.counters.flows_removed.add();
    return Verdict::drop(Reason::policy_changed);
  }
  flow::note_write(&flow);
  flow.policy_generation.store(w.snapshot->policy_generation, std::memory_order_relaxed);
  p.fresh = false;
  count_passed(p, flow, w);
  return Verdict::next();
}

}  // namespace

void Policy::seek(Packet& p, Worker& w) noexcept {
  Admission& a = w.admissions[p.admission];
  if (!a.judge_again) a.policy_ends = w.snapshot->policies->ends(a.source, a.new_destination);
}

Verdict Policy::decide(Packet& p, Worker& w) noexcept {
  if (!p.fresh) return Verdict::next();  // became known in service
  const Admission& a = w.admissions[p.admission];
  if (p.flow != nullptr) {
    return by_family(p, [&]<typename F>(F) { return judge_again<F>(p, w); });
  }
  const auto question = question_of(p, a, *w.snapshot);
  const auto answer = tables::PolicyTable::judge(question, a.policy_ends);
  if (answer.allowed) return Verdict::next();
  tell(question, answer, w);
  return Verdict::drop(answer.egress_denied ? Reason::policy_egress : Reason::policy_ingress);
}

}  // namespace podwire::stages
