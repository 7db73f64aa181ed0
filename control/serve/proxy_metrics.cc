#include "control/serve/proxy_metrics.h"

#include <set>
#include <string>

#include "control/serve/families.h"

namespace podwire::control {
namespace {

using Type = Families::Type;

double unix_seconds(const std::optional<SyncRecord::System>& time) {
  return time ? std::chrono::duration<double>(time->time_since_epoch()).count() : 0;
}

// Service ports that a Local policy leaves without endpoints though others have some.
struct WithoutLocal {
  std::size_t internal = 0, external = 0;
};
WithoutLocal without_local(const tables::Snapshot* snapshot) {
  if (snapshot == nullptr) return {};
  std::set<std::uint32_t> internal, external;
  snapshot->services->frontends.for_each([&](const auto&, const tables::Frontend& frontend) {
    const tables::Service& service = *frontend.service;
    if (!service.has_any_endpoint || !service.local.empty()) return;
    const bool inside = frontend.kind == tables::FrontendKind::cluster_ip;
    if (inside && service.internal_local) internal.insert(service.id);
    if (!inside && service.external_local) external.insert(service.id);
  });
  return {internal.size(), external.size()};
}

void add_answers(Families& out, const char* name, const char* help,
                 const ProxyHealth::Answers& answers) {
  out.begin(name, help, Type::Counter);
  for (const auto& [status, count] : answers) {
    out.add(static_cast<double>(count), {{"code", std::to_string(status)}});
  }
}

void add_changes(Families& out, const State& state) {
  const bool pending = state.sync.waiting_since().has_value();
  const auto add = [&](const std::string& kind, const char* what, std::uint64_t total) {
    out.counter(("sync_proxy_rules_" + kind + "_changes_total").c_str(), what, total);
    // Changes are gathered for some milliseconds: whether any waits is what can be said.
    out.gauge(("sync_proxy_rules_" + kind + "_changes_pending").c_str(), what, pending ? 1 : 0);
  };
  add("endpoint", "Services whose endpoints changed.", state.sync.endpoint_changes());
  add("service", "Services that changed.", state.sync.service_changes());
}

}  // namespace

std::vector<prometheus::MetricFamily> proxy_metrics(const State& state, const ProxyHealth& health) {
  Families out("kubeproxy_");
  const SyncRecord& sync = state.sync;
  out.histogram("network_programming_duration_seconds",
                "From the cause of an endpoint's change, as its slice notes it, to in force.",
                sync.programming_seconds());
  out.histogram("sync_proxy_rules_duration_seconds", "Time that a build of the tables took.",
                sync.build_seconds());
  out.gauge("sync_proxy_rules_last_timestamp_seconds", "When tables came into force last.",
            unix_seconds(sync.last_in_force()));
  out.gauge("sync_proxy_rules_last_queued_timestamp_seconds", "When a change came last.",
            unix_seconds(sync.last_queued()));
  add_changes(out, state);
  const WithoutLocal without = without_local(state.snapshot);
  out.begin("sync_proxy_rules_no_local_endpoints_total",
            "Service ports that a Local traffic policy leaves without endpoints here.",
            Type::Gauge);
  out.add(static_cast<double>(without.internal), {{"traffic_policy", "internal"}});
  out.add(static_cast<double>(without.external), {{"traffic_policy", "external"}});
  out.histogram("conntrack_reconciler_sync_duration_seconds",
                "Time that looking for UDP flows to removed endpoints took.", sync.flow_seconds());
  out.counter("conntrack_reconciler_deleted_entries_total",
              "UDP flows ended because their endpoint was gone.", sync.flows_ended());
  add_answers(out, "proxy_healthz_total", "Answers of /healthz.", health.healthz_answers());
  add_answers(out, "proxy_livez_total", "Answers of /livez.", health.livez_answers());
  return out.take();
}

}  // namespace podwire::control
