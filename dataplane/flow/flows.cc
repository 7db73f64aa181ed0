#include "dataplane/flow/flows.h"

#include <algorithm>

namespace podwire::flow {
namespace {

constexpr std::uint32_t kGroupsAtATime = 1024;

net::Address address(net::be32 v4) {
  return net::Address::from_v4(v4);
}
net::Address address(const std::array<std::uint8_t, 16>& v6) {
  return net::Address::from_v6(v6.data());
}

template <typename F>
observe::FlowRow row_of(FlowMap<F>& map, Flow<F>& flow, std::uint32_t now_seconds) {
  const Flow<F>& reply = map.at(flow.peer);
  observe::FlowRow row;
  row.protocol = flow.key.protocol;
  row.state = state_name(flow.state.load(std::memory_order_relaxed));
  row.source = address(flow.key.source);
  row.destination = address(flow.key.destination);
  row.source_port = flow.key.source_port;
  row.destination_port = flow.key.destination_port;
  row.reply_source = address(reply.key.source);
  row.reply_destination = address(reply.key.destination);
  row.reply_source_port = reply.key.source_port;
  row.reply_destination_port = reply.key.destination_port;
  row.packets = flow.packets.load(std::memory_order_relaxed);
  row.bytes = flow.bytes.load(std::memory_order_relaxed);
  row.reply_packets = reply.packets.load(std::memory_order_relaxed);
  row.reply_bytes = reply.bytes.load(std::memory_order_relaxed);
  row.age_seconds = map.age_seconds(flow, now_seconds);
  row.expires_in_seconds = map.expires_in_seconds(flow, now_seconds);
  row.service_id = map.service_id(flow);
  return row;
}

}  // namespace

Flows::Flows(const DataplaneConfig& config, tables::Quiescence& quiescence)
    : v4(config.flows_v4, config.timeouts, quiescence),
      v6(config.flows_v6, config.timeouts, quiescence),
      quiescence_(quiescence) {}

template <typename F>
unsigned Flows::sweep_one(Pace& pace, unsigned family, unsigned worker, unsigned workers,
                          std::uint32_t now_seconds) noexcept {
  const std::uint32_t share = map<F>().groups() / workers + 1;
  const std::uint32_t done = pace.looked_at[family];
  const std::uint32_t groups = std::min(pace.groups_a_round[family], share - std::min(done, share));
  pace.looked_at[family] += groups;
  return map<F>().sweep(worker, workers, groups, now_seconds);
}

unsigned Flows::sweep(unsigned worker, unsigned workers, std::uint32_t now_seconds) noexcept {
  dcheck(worker < workers && workers <= kWorkers, "no such worker in the flow tables");
  Pace& pace = paces_[worker];
  if (pace.second != now_seconds) {
    for (unsigned family = 0; family < 2; ++family) {
      const std::uint32_t share = (family == 0 ? v4.groups() : v6.groups()) / workers + 1;
      pace.groups_a_round[family] = std::min(share / std::max(pace.rounds, 1U) + 1, kMostGroups);
      pace.looked_at[family] = 0;
    }
    pace.second = now_seconds;
    pace.rounds = 0;
  }
  ++pace.rounds;
  return sweep_one<V4>(pace, 0, worker, workers, now_seconds) +
         sweep_one<V6>(pace, 1, worker, workers, now_seconds);
}

template <typename F, typename Visit>
void Flows::visit_some(FlowMap<F>& map, std::uint32_t first, Visit&& visit) {
  const tables::Quiescence::ControlReader reading(quiescence_);
  map.for_each(first, kGroupsAtATime, [&](SlotId, Flow<F>& flow) { visit(map, flow); });
}

template <typename F, typename Visit>
void Flows::visit(FlowMap<F>& map, Visit&& visit) {
  bool more = true;
  for (std::uint32_t first = 0; more && first < map.groups(); first += kGroupsAtATime) {
    visit_some(map, first, [&](auto& in, auto& flow) {
      if (more) more = visit(in, flow);
    });
  }
}

std::vector<observe::FlowRow> Flows::rows(
    std::uint32_t now_seconds, std::size_t limit,
    const std::function<bool(const observe::FlowRow&)>& wanted) {
  std::vector<observe::FlowRow> rows;
  const auto take = [&](auto& map, auto& flow) {
    if (rows.size() >= limit) return false;
    const observe::FlowRow row = row_of(map, flow, now_seconds);
    if (!wanted || wanted(row)) rows.push_back(row);
    return true;
  };
  visit(v4, take);
  visit(v6, take);
  return rows;
}

void Flows::erase_if(std::uint32_t now_seconds, observe::FlowCursor& at,
                     const std::function<bool(const observe::FlowRow&)>& ends) {
  const auto go_on = [&](auto& map) {
    visit_some(map, at.group, [&](auto& in, auto& flow) {
      if (ends(row_of(in, flow, now_seconds))) (void)in.erase(flow);
    });
    at.group += kGroupsAtATime;
    return at.group < map.groups();
  };
  const bool is_v4 = at.family == net::Family::v4;
  if (is_v4 ? go_on(v4) : go_on(v6)) return;
  at = {.family = net::Family::v6, .group = 0, .at_end = !is_v4};
}

}  // namespace podwire::flow
