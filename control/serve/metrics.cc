#include "control/serve/metrics.h"

#include <prometheus/text_serializer.h>

#include <chrono>
#include <cstdlib>
#include <iterator>
#include <map>
#include <utility>

#include "control/serve/families.h"
#include "control/serve/proxy_metrics.h"
#include "control/version.h"
#include "dataplane/reasons.h"

namespace podwire::control {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

double seconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

void add_packets(Families& out, const WorkerTotals& sum) {
  out.counter("packets_received_total", "Packets that ports gave to the workers.", sum.received);
  out.counter("packets_originated_total",
              "Packets that podwire made itself: ICMP errors, further fragments and segments.",
              sum.originated);
  out.counter("packets_sent_total", "Packets that ports took from the workers.", sum.sent);
  out.counter("packets_fast_path_total",
              "Packets of known flows that took the fast path; part of those sent.", sum.fast_path);
  out.counter("packets_handed_over_total",
              "Frames that one worker received and another, whose flow it is, carried.",
              sum.handed_over);
  out.counter("packets_punted_total",
              "Frames handed between host and uplink as they came; part of those sent.",
              sum.punted);
  out.gauge("packets_holding", "Packets that wait for a neighbour or a fragment now.",
            static_cast<double>(sum.holding));
  out.begin("drops_total", "Packets dropped, by reason; podwirectl drops explains each.",
            MetricType::Counter);
  for (std::size_t i = 1; i < kReasons; ++i) {
    out.add(static_cast<double>(sum.drops[i]), {{"reason", std::string(kReasonNames[i])}});
  }
  out.begin("tunnel_packets_total", "Packets out of and into IPIP tunnels.", MetricType::Counter);
  out.add(static_cast<double>(sum.tunnel_in), {{"direction", "in"}});
  out.add(static_cast<double>(sum.tunnel_out), {{"direction", "out"}});
}

void add_denials(Families& out, const DenialCounts& denials) {
  out.begin("policy_drops_total",
            "Packets that a policy refused, by the policy; part of drops_total.",
            MetricType::Counter);
  for (const auto& [policy, packets] : denials.by_policy()) {
    out.add(static_cast<double>(packets), {{"policy", policy}});
  }
}

void add_flows(Families& out, const WorkerTotals& sum) {
  out.counter("flows_created_total", "Flows admitted.", sum.flows_created);
  out.counter("flows_removed_total", "Flows ended, whatever the cause.", sum.flows_removed);
  out.counter("flows_expired_total", "Flows ended by silence.", sum.flows_expired);
  out.counter("flows_rejudged_total", "Flows judged again after a change of policy.",
              sum.policy_rejudged);
}

const char* role_name(tables::PortRole role) {
  switch (role) {
    case tables::PortRole::uplink:
      return "uplink";
    case tables::PortRole::host:
      return "host";
    case tables::PortRole::pod:
      return "pod";
    case tables::PortRole::none:
      break;
  }
  return "gone";  // a port that is no more; its packets stay counted
}

struct RoleTotals {
  std::uint64_t ports = 0, up = 0, originated = 0, missed = 0, unsent = 0;
  PortTotals packets;
};

std::map<std::string, RoleTotals> totals_by_role(const tables::PortTable& table,
                                                 const Totals& totals) {
  std::map<std::string, RoleTotals> roles;
  for (std::size_t id = 0; id < totals.ports.size(); ++id) {
    const tables::PortInfo& info = table.ports[id];
    RoleTotals& role = roles[role_name(info.role)];
    const PortTotals& port = totals.ports[id];
    role.packets.rx_packets += port.rx_packets;
    role.packets.rx_bytes += port.rx_bytes;
    role.packets.rx_drops += port.rx_drops;
    role.packets.tx_packets += port.tx_packets;
    role.packets.tx_bytes += port.tx_bytes;
    role.packets.tx_drops += port.tx_drops;
    if (info.port == nullptr) continue;
    ++role.ports;
    if (info.port->up()) ++role.up;
    const auto extra = info.port->extra();
    role.originated += extra.originated;
    role.missed += extra.missed;
    role.unsent += extra.unsent;
  }
  return roles;
}

void add_ports(Families& out, const State& state, const Totals& totals) {
  if (state.snapshot == nullptr) return;
  const auto roles = totals_by_role(*state.snapshot->ports, totals);
  const auto both = [&](const char* name, const char* help, auto in, auto out_field) {
    out.begin(name, help, MetricType::Counter);
    for (const auto& [role, all] : roles) {
      out.add(static_cast<double>(all.packets.*in), {{"role", role}, {"direction", "in"}});
      out.add(static_cast<double>(all.packets.*out_field), {{"role", role}, {"direction", "out"}});
    }
  };
  both("port_packets_total", "Packets through the ports of a role.", &PortTotals::rx_packets,
       &PortTotals::tx_packets);
  both("port_bytes_total", "Bytes through the ports of a role.", &PortTotals::rx_bytes,
       &PortTotals::tx_bytes);
  both("port_drops_total", "Packets of the ports of a role that were dropped.",
       &PortTotals::rx_drops, &PortTotals::tx_drops);
  out.begin("port_missed_total", "Frames that devices dropped before podwire saw them.",
            MetricType::Counter);
  for (const auto& [role, all] : roles) out.add(static_cast<double>(all.missed), {{"role", role}});
  out.begin("port_unsent_total", "Frames, or segments of one, that ports took and could not send.",
            MetricType::Counter);
  for (const auto& [role, all] : roles) out.add(static_cast<double>(all.unsent), {{"role", role}});
  out.begin("ports", "Ports, by role.", MetricType::Gauge);
  for (const auto& [role, all] : roles) out.add(static_cast<double>(all.ports), {{"role", role}});
  out.begin("ports_up", "Ports whose peer is there, by role.", MetricType::Gauge);
  for (const auto& [role, all] : roles) out.add(static_cast<double>(all.up), {{"role", role}});
}

void add_workers(Families& out, DataplaneLink& dataplane, const Totals& totals,
                 const Sampler& sampler) {
  const auto label = [](std::size_t worker) -> ClientMetric::Label {
    return {"worker", std::to_string(worker)};
  };
  const auto hertz = static_cast<double>(dataplane.cycles_per_second());
  out.begin("worker_busy_ratio", "Part of the last second that the worker had packets to work on.",
            MetricType::Gauge);
  for (std::size_t i = 0; i < totals.workers.size(); ++i) {
    out.add(sampler.busy_share(static_cast<unsigned>(i)), {label(i)});
  }
  out.begin("worker_seconds_total", "Time that the worker was busy, or looked and found nothing.",
            MetricType::Counter);
  for (std::size_t i = 0; i < totals.workers.size() && hertz > 0; ++i) {
    out.add(static_cast<double>(totals.workers[i].busy_cycles) / hertz,
            {label(i), {"state", "busy"}});
    out.add(static_cast<double>(totals.workers[i].idle_cycles) / hertz,
            {label(i), {"state", "idle"}});
  }
  out.begin("worker_sleeps_total", "Times that the worker slept for want of packets.",
            MetricType::Counter);
  for (std::size_t i = 0; i < totals.workers.size(); ++i) {
    out.add(static_cast<double>(totals.workers[i].sleeps), {label(i)});
  }
}

void add_tables(Families& out, DataplaneLink& dataplane) {
  const auto fills = dataplane.fills();
  out.begin("table_used", "Places of a table that are taken.", MetricType::Gauge);
  for (const auto& fill : fills) out.add(static_cast<double>(fill.used), {{"table", fill.table}});
  out.begin("table_limit", "Places that a table has.", MetricType::Gauge);
  for (const auto& fill : fills) out.add(static_cast<double>(fill.limit), {{"table", fill.table}});
}

double version_number(const std::string& version) {
  return version.empty() ? 0 : std::strtod(version.c_str(), nullptr);
}

// What is followed on an API server; a manifests folder has none of it.
void add_source(Families& out, const State& state) {
  if (state.object_source == nullptr) return;
  const std::vector<KindReport> kinds = state.object_source->report();
  if (kinds.empty()) return;
  const auto label = [](const KindReport& kind) -> ClientMetric::Label {
    return {"kind", kube::kind_name(kind.kind)};
  };
  const auto each = [&](const char* name, const char* help, MetricType type, auto value) {
    out.begin(name, help, type);
    for (const auto& kind : kinds) out.add(static_cast<double>(value(kind)), {label(kind)});
  };
  const auto watching = [](const KindReport& kind) {
    return kind.watching_since ? seconds(std::chrono::steady_clock::now() - *kind.watching_since)
                               : 0;
  };
  each("source_objects", "Objects of a kind that the API server has told of.", MetricType::Gauge,
       [](const KindReport& kind) { return kind.objects; });
  each("source_resource_version", "Version up to which the objects of a kind are in force.",
       MetricType::Gauge,
       [](const KindReport& kind) { return version_number(kind.resource_version); });
  each("source_watching_seconds", "How long the watch of a kind has run; 0: there is none now.",
       MetricType::Gauge, watching);
  each("source_lists_total", "Lists of a kind that were begun.", MetricType::Counter,
       [](const KindReport& kind) { return kind.lists; });
  each("source_watches_total", "Watches of a kind that were begun.", MetricType::Counter,
       [](const KindReport& kind) { return kind.watches; });
  each("source_events_total", "Events of a kind, bookmarks among them.", MetricType::Counter,
       [](const KindReport& kind) { return kind.events; });
  out.begin("source_errors_total", "Requests to the API server that failed, by kind and reason.",
            MetricType::Counter);
  for (const auto& kind : kinds) {
    for (const auto& [reason, count] : kind.errors) {
      out.add(static_cast<double>(count), {label(kind), {"reason", reason}});
    }
  }
}

void add_control(Families& out, const State& state) {
  const auto now = std::chrono::steady_clock::now();
  out.gauge("synced", "1 when every object source has delivered its first complete set.",
            state.store.synced ? 1 : 0);
  out.gauge("source_healthy", "0 while the source of objects cannot be read: they may be stale.",
            state.source_healthy ? 1 : 0);
  out.gauge("snapshot_generation", "Number of the tables in force.",
            state.snapshot == nullptr ? 0 : static_cast<double>(state.snapshot->generation));
  out.counter("publishes_total", "Times that new tables were put in force.", state.publishes);
  out.gauge("last_build_seconds", "Time that the last build of the tables took.",
            std::chrono::duration<double>(state.last_build_time).count());
  out.histogram("change_in_force_seconds",
                "From the arrival of a change to its use by every worker; of a build's oldest.",
                state.sync.in_force_seconds());
  if (state.publishes > 0) {
    out.gauge("last_publish_age_seconds", "Time since tables were last put in force.",
              seconds(now - state.last_publish));
  }
  out.gauge("uptime_seconds", "Time since podwired began.", seconds(now - state.started));
  out.gauge("input_problems", "Objects that are refused now; podwirectl status names them.",
            static_cast<double>(state.input_problems.size()));
  out.gauge("build_problems", "Objects that contradict others now; podwirectl status names them.",
            static_cast<double>(state.build_problems.size()));
  out.counter("changes_refused_total", "Changes of objects that were refused.",
              state.changes_refused);
  out.counter("events_lost_total", "Messages of workers that control had no room for.",
              state.dataplane.events_lost());
  out.gauge("pods_attached", "Attached pods of this node.",
            static_cast<double>(state.attachments.size()));
  if (state.snapshot != nullptr) {
    out.gauge("service_frontends", "Addresses and ports that Services are served on.",
              static_cast<double>(state.snapshot->services->frontends.size()));
    out.gauge("routes", "Prefixes in the route table.",
              static_cast<double>(state.snapshot->routes->prefixes.size()));
    const LinuxRoutes& routes = *state.linux_state.routes;
    out.gauge("linux_routes", "Prefixes taken from Linux's routing table.",
              static_cast<double>(routes.prefixes()));
    out.gauge("linux_routes_limit", "How many may be: routes-max.",
              static_cast<double>(routes.limit()));
    out.gauge("linux_routes_refused", "Prefixes left out since there is no room for them.",
              static_cast<double>(routes.refused()));
  }
}

// Peers come from the configuration.
void add_bgp(Families& out, const bgp::BgpState& bgp) {
  if (!bgp.enabled) return;
  out.gauge("bgp_bird_up", "1 while bird answers.", bgp.connected ? 1 : 0);
  out.counter("bgp_reloads_total", "Configurations that bird took.", bgp.reloads);
  out.counter("bgp_refusals_total", "Configurations that bird refused.", bgp.refusals);
  out.gauge("bgp_announced_pod_ranges", "Pod ranges that this node announces.",
            static_cast<double>(bgp.own.size()));
  out.gauge("bgp_announced_service_routes", "Routes that this node announces for Services.",
            static_cast<double>(bgp.service_routes.size()));
  const auto each = [&](const char* name, const char* help, auto value) {
    out.begin(name, help, MetricType::Gauge);
    for (const bgp::PeerState& peer : bgp.peers) {
      out.add(static_cast<double>(value(peer)), {{"peer", peer.name}});
    }
  };
  each("bgp_peer_established", "1 while there is a session with the peer.",
       [](const bgp::PeerState& peer) { return peer.established() ? 1 : 0; });
  each("bgp_peer_imported_routes", "Routes that the peer has taught bird.",
       [](const bgp::PeerState& peer) { return peer.imported; });
  each("bgp_peer_exported_routes", "Routes that bird has told the peer.",
       [](const bgp::PeerState& peer) { return peer.exported; });
}

}  // namespace

std::vector<MetricFamily> Metrics::Collect() const {
  state_.gather_denials();
  const std::size_t ports = state_.snapshot == nullptr ? 0 : state_.snapshot->ports->ports.size();
  const Totals totals = read_totals(state_.dataplane, ports);
  const WorkerTotals sum = totals.sum();
  Families out("podwire_");
  out.begin("build_info", "1; the version is in the label.", MetricType::Gauge);
  out.add(1, {{"version", kVersion}});
  add_packets(out, sum);
  add_flows(out, sum);
  if (state_.config.count_policy_drops) add_denials(out, state_.denials);
  add_ports(out, state_, totals);
  add_workers(out, state_.dataplane, totals, sampler_);
  add_tables(out, state_.dataplane);
  add_control(out, state_);
  add_source(out, state_);
  add_bgp(out, state_.bgp);
  std::vector<MetricFamily> all = out.take();
  std::vector<MetricFamily> as_proxy = proxy_metrics(state_, proxy_health_);
  std::move(as_proxy.begin(), as_proxy.end(), std::back_inserter(all));
  return all;
}

std::string Metrics::text() const {
  return prometheus::TextSerializer().Serialize(Collect());
}

}  // namespace podwire::control
