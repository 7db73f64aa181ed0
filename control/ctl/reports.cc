#include "control/ctl/reports.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <span>

#include "control/cni/port_kind.h"
#include "control/ctl/text.h"
#include "control/version.h"
#include "dataplane/reasons.h"

namespace podwire::control::ctl {
namespace {

using nlohmann::json;

struct NamedProtocol {
  const char* name;
  std::uint8_t number;
};
constexpr NamedProtocol kProtocols[] = {
    {"icmp", 1}, {"tcp", 6}, {"udp", 17}, {"icmpv6", 58}, {"sctp", 132}};

double rounded(double value) {
  return std::round(value * 1000) / 1000;
}

std::uint64_t seconds_since(std::chrono::steady_clock::time_point then) {
  const auto passed = std::chrono::steady_clock::now() - then;
  return static_cast<std::uint64_t>(
      std::max<std::int64_t>(0, std::chrono::duration_cast<std::chrono::seconds>(passed).count()));
}

json texts(const std::vector<net::Address>& addresses) {
  json list = json::array();
  for (const auto& address : addresses) list.push_back(address.to_string());
  return list;
}

const tables::PortTable* port_table(const State& state) {
  return state.snapshot == nullptr ? nullptr : state.snapshot->ports.get();
}

std::optional<PortId> port_of(const State& state, const Attachment& attachment) {
  const auto* table = port_table(state);
  if (table == nullptr || attachment.port == nullptr) return std::nullopt;
  for (std::size_t id = 0; id < table->ports.size(); ++id) {
    if (table->ports[id].port == attachment.port) return static_cast<PortId>(id);
  }
  return std::nullopt;
}

json port_json(const tables::PortInfo& info, PortId id, const PortTotals& totals) {
  json port{{"id", id},
            {"name", info.name},
            {"mac", info.mac.to_string()},
            {"mtu", info.mtu},
            {"up", info.port != nullptr && info.port->up()},
            {"kind", info.port == nullptr ? "" : info.port->kind()},
            {"rxPackets", totals.rx_packets},
            {"rxBytes", totals.rx_bytes},
            {"rxDrops", totals.rx_drops},
            {"txPackets", totals.tx_packets},
            {"txBytes", totals.tx_bytes},
            {"txDrops", totals.tx_drops}};
  if (info.port != nullptr) {
    const auto extra = info.port->extra();
    port["originated"] = extra.originated;
    port["missed"] = extra.missed;
    port["unsent"] = extra.unsent;
    if (const std::string why = info.port->down_reason(); !why.empty()) port["downReason"] = why;
  }
  return port;
}

Totals totals_now(const Sources& sources) {
  const auto* table = port_table(sources.state);
  return read_totals(sources.state.dataplane, table == nullptr ? 0 : table->ports.size());
}

json ledger(const Totals& totals) {
  const WorkerTotals sum = totals.sum();
  return {{"received", sum.received},
          {"originated", sum.originated},
          {"sent", sum.sent},
          {"dropped", sum.dropped()},
          {"holding", sum.holding}};
}

json problems_json(const Sources& sources) {
  json problems = json::array();
  for (const auto& problem : sources.state.input_problems) problems.push_back(problem);
  for (const auto& problem : sources.state.build_problems) {
    problems.push_back(problem.object + ": " + problem.sentence);
  }
  for (const auto& problem : sources.state.bgp.problems) problems.push_back(problem);
  if (const auto& trouble = sources.state.tunnel_trouble; !trouble.empty()) {
    problems.push_back(trouble);
  }
  for (const auto& problem : sources.attachment_problems) problems.push_back(problem);
  for (const auto& problem : sources.health_check_problems) problems.push_back(problem);
  return problems;
}

json kinds_json(const State& state) {
  json kinds = json::array();
  if (state.object_source == nullptr) return kinds;
  for (const KindReport& report : state.object_source->report()) {
    json errors = json::object();
    for (const auto& [reason, count] : report.errors) errors[reason] = count;
    json kind{{"kind", kube::kind_name(report.kind)},
              {"objects", report.objects},
              {"resourceVersion", report.resource_version},
              {"phase", report.phase},
              {"watchingSeconds", nullptr},
              {"lists", report.lists},
              {"watches", report.watches},
              {"events", report.events},
              {"errors", std::move(errors)}};
    if (report.watching_since) kind["watchingSeconds"] = seconds_since(*report.watching_since);
    kinds.push_back(std::move(kind));
  }
  return kinds;
}

json fills_json(DataplaneLink& dataplane) {
  json fills = json::array();
  for (const auto& fill : dataplane.fills()) {
    fills.push_back({{"table", fill.table}, {"used", fill.used}, {"limit", fill.limit}});
  }
  return fills;
}

json workers_json(const Sources& sources) {
  json workers = json::array();
  for (unsigned i = 0; i < sources.state.dataplane.workers(); ++i) {
    const auto& cores = sources.state.config.dataplane.worker_cores;
    json worker{{"index", i}, {"busyShare", rounded(sources.sampler.busy_share(i))}};
    worker["core"] = i < cores.size() ? json(cores[i]) : json(nullptr);
    workers.push_back(std::move(worker));
  }
  return workers;
}

json tables_json(const tables::Snapshot& snapshot) {
  return {{"generation", snapshot.generation},
          {"policyGeneration", snapshot.policy_generation},
          {"routeGeneration", snapshot.route_generation},
          {"frontends", snapshot.services->frontends.size()},
          {"routes", snapshot.routes->prefixes.size()}};
}

const char* kind_name(tables::FrontendKind kind) {
  switch (kind) {
    case tables::FrontendKind::cluster_ip:
      return "clusterIP";
    case tables::FrontendKind::node_port:
      return "nodePort";
    case tables::FrontendKind::external_ip:
      return "externalIP";
    case tables::FrontendKind::load_balancer:
      return "loadBalancer";
  }
  return "";
}

const char* kind_name(tables::NextHopKind kind) {
  switch (kind) {
    case tables::NextHopKind::none:
      return "none";
    case tables::NextHopKind::pod:
      return "pod";
    case tables::NextHopKind::host:
      return "host";
    case tables::NextHopKind::link:
      return "link";
    case tables::NextHopKind::tunnel:
      return "tunnel";
    case tables::NextHopKind::unresolved:
      return "unresolved";
    case tables::NextHopKind::blackhole:
      return "blackhole";
    case tables::NextHopKind::several:
      return "several";
  }
  return "";
}

json backends_json(const std::vector<tables::Backend>& backends) {
  json list = json::array();
  for (const auto& backend : backends) {
    list.push_back({{"address", backend.address.to_string()},
                    {"port", backend.port.host()},
                    {"local", backend.local}});
  }
  return list;
}

json service_json(const tables::Service& service) {
  return {{"id", service.id},
          {"name", service.name},
          {"family", service.family == net::Family::v4 ? "IPv4" : "IPv6"},
          {"protocol", protocol_name(service.protocol)},
          {"affinitySeconds", service.affinity_seconds},
          {"internalTrafficPolicy", service.internal_local ? "Local" : "Cluster"},
          {"externalTrafficPolicy", service.external_local ? "Local" : "Cluster"},
          {"anyEndpoint", service.has_any_endpoint},
          {"backends", backends_json(service.cluster)},
          {"localBackends", backends_json(service.local)},
          {"frontends", json::array()}};
}

// One Service may stand behind several frontends, in one table.
std::map<std::uint32_t, json> services_by_id(const tables::Snapshot& snapshot) {
  std::map<std::uint32_t, json> all;
  snapshot.services->frontends.for_each([&](const tables::FrontendKey& key,
                                            const tables::Frontend& frontend) {
    if (frontend.service == nullptr) return;
    const auto place = all.try_emplace(frontend.service->id, service_json(*frontend.service)).first;
    json shown{{"kind", kind_name(frontend.kind)},
               {"address", key.address.is_unspecified() ? "*" : key.address.to_string()},
               {"port", key.port.host()}};
    if (frontend.restrict_sources) {
      shown["sourceRanges"] = json::array();
      for (const auto& range : frontend.source_ranges) {
        shown["sourceRanges"].push_back(range.to_string());
      }
    }
    place->second["frontends"].push_back(std::move(shown));
  });
  for (auto& [id, service] : all) {
    auto& frontends = service["frontends"];
    std::sort(frontends.begin(), frontends.end());
  }
  return all;
}

std::map<std::uint32_t, std::string> service_names(const State& state) {
  std::map<std::uint32_t, std::string> names;
  if (state.snapshot == nullptr) return names;
  state.snapshot->services->frontends.for_each(
      [&](const tables::FrontendKey&, const tables::Frontend& frontend) {
        if (frontend.service != nullptr) names[frontend.service->id] = frontend.service->name;
      });
  return names;
}

std::string endpoint_text(const net::Address& address, net::be16 port) {
  const std::string host = address.is_v4() ? address.to_string() : "[" + address.to_string() + "]";
  return host + ":" + std::to_string(port.host());
}

json flow_json(const observe::FlowRow& row, const std::map<std::uint32_t, std::string>& names) {
  json flow{{"protocol", protocol_name(row.protocol)},
            {"state", row.state},
            {"source", endpoint_text(row.source, row.source_port)},
            {"destination", endpoint_text(row.destination, row.destination_port)},
            {"replySource", endpoint_text(row.reply_source, row.reply_source_port)},
            {"replyDestination", endpoint_text(row.reply_destination, row.reply_destination_port)},
            {"packets", row.packets},
            {"bytes", row.bytes},
            {"replyPackets", row.reply_packets},
            {"replyBytes", row.reply_bytes},
            {"ageSeconds", row.age_seconds},
            {"expiresInSeconds", row.expires_in_seconds}};
  const auto name = names.find(row.service_id);
  flow["service"] = row.service_id != 0 && name != names.end() ? json(name->second) : json(nullptr);
  return flow;
}

std::optional<std::uint8_t> protocol_number(const std::string& text) {
  for (const auto& known : kProtocols) {
    if (text == known.name) return known.number;
  }
  std::uint8_t number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{} || rest != end) return std::nullopt;
  return number;
}

Result<std::vector<net::Address>> addresses_of_pod(const State& state, const std::string& name) {
  std::vector<net::Address> ips;
  for (const auto& attachment : state.attachments) {
    if (attachment.pod == name) ips.insert(ips.end(), attachment.ips.begin(), attachment.ips.end());
  }
  const auto pod = state.store.pods.find(name);
  if (pod != state.store.pods.end()) {
    ips.insert(ips.end(), pod->second.ips.begin(), pod->second.ips.end());
  }
  if (ips.empty()) return fail("no Pod " + name + " with an address is known here");
  return ips;
}

Result<std::set<std::uint32_t>> ids_of_service(const State& state, const std::string& name) {
  std::set<std::uint32_t> ids;
  for (const auto& [id, full] : service_names(state)) {
    if (full == name || full.starts_with(name + ":")) ids.insert(id);
  }
  if (ids.empty()) return fail("no Service " + name + " is in force");
  return ids;
}

json hop_json(const State& state, tables::NextHopId id) {
  const tables::NextHop& hop = state.snapshot->routes->at(id);
  json shown{
      {"kind", kind_name(hop.kind)}, {"mtu", hop.mtu}, {"nextHop", id},      {"port", nullptr},
      {"gateway", nullptr},          {"mac", nullptr}, {"tunnelTo", nullptr}};
  if (const auto* info = state.snapshot->ports->find(hop.port)) shown["port"] = info->name;
  if (!hop.gateway.is_unspecified()) shown["gateway"] = hop.gateway.to_string();
  if (!hop.destination_mac.is_zero()) shown["mac"] = hop.destination_mac.to_string();
  if (hop.kind == tables::NextHopKind::tunnel) {
    shown["tunnelTo"] = net::Address::from_v4(hop.tunnel_destination).to_string();
  }
  return shown;
}

json route_json(const State& state, const net::Prefix& prefix, tables::NextHopId id) {
  json route = hop_json(state, id);
  route["prefix"] = prefix.to_string();
  const tables::RouteTable& routes = *state.snapshot->routes;
  const tables::NextHop& hop = routes.at(id);
  if (hop.kind != tables::NextHopKind::several) return route;
  const tables::PathGroup& group = *routes.groups.at(hop.group);
  route["mtu"] = nullptr;
  for (const auto& path : group.paths()) {
    json one = hop_json(state, path.id);
    one["weight"] = path.weight;
    one["share"] = static_cast<double>(group.places_of(path.id)) / tables::PathGroup::kPlaces;
    route["paths"].push_back(std::move(one));
  }
  return route;
}

json counter_set(const WorkerTotals& t) {
  return {{"received", t.received},
          {"originated", t.originated},
          {"sent", t.sent},
          {"dropped", t.dropped()},
          {"holding", t.holding},
          {"punted", t.punted},
          {"fastPath", t.fast_path},
          {"handedOver", t.handed_over},
          {"flowsCreated", t.flows_created},
          {"flowsRemoved", t.flows_removed},
          {"flowsExpired", t.flows_expired},
          {"policyRejudged", t.policy_rejudged},
          {"tunnelIn", t.tunnel_in},
          {"tunnelOut", t.tunnel_out},
          {"rounds", t.rounds},
          {"idleRounds", t.idle_rounds},
          {"busyCycles", t.busy_cycles},
          {"idleCycles", t.idle_cycles},
          {"sleeps", t.sleeps}};
}

}  // namespace

std::string protocol_name(std::uint8_t protocol) {
  for (const auto& known : kProtocols) {
    if (protocol == known.number) return known.name;
  }
  return std::to_string(protocol);
}

json status(const Sources& sources) {
  const State& state = sources.state;
  const auto* table = port_table(state);
  std::size_t pods_up = 0;
  for (const auto& attachment : state.attachments) {
    if (attachment.port != nullptr && attachment.port->up()) ++pods_up;
  }
  json result{
      {"node", state.config.node_name},
      {"version", kVersion},
      {"uptimeSeconds", seconds_since(state.started)},
      {"source", state.source},
      {"sourceHealthy", state.source_healthy},
      {"sourceTrouble", state.source_trouble.empty() ? json(nullptr) : json(state.source_trouble)},
      {"kinds", kinds_json(state)},
      {"synced", state.store.synced && state.snapshot != nullptr && state.snapshot->synced},
      {"workers", workers_json(sources)},
      {"pods", {{"attached", state.attachments.size()}, {"up", pods_up}}},
      {"tables", fills_json(state.dataplane)},
      {"publishes", state.publishes},
      {"lastBuildMicroseconds", state.last_build_time.count()},
      {"changesRefused", state.changes_refused},
      {"eventsLost", state.dataplane.events_lost()},
      {"ledger", ledger(totals_now(sources))},
      {"problems", problems_json(sources)}};
  result["secondsSincePublish"] =
      state.publishes == 0 ? json(nullptr) : json(seconds_since(state.last_publish));
  result["snapshot"] = state.snapshot == nullptr ? json(nullptr) : tables_json(*state.snapshot);
  for (const auto& [key, id] : {std::pair{"uplink", table == nullptr ? kNoPort : table->uplink},
                                std::pair{"host", table == nullptr ? kNoPort : table->host}}) {
    const auto* info = table == nullptr ? nullptr : table->find(id);
    result[key] = info == nullptr
                      ? json(nullptr)
                      : json{{"name", info->name}, {"up", info->port && info->port->up()}};
  }
  return result;
}

json pods(const Sources& sources) {
  const State& state = sources.state;
  const Totals totals = totals_now(sources);
  json list = json::array();
  std::set<std::string> attached;
  for (const auto& attachment : state.attachments) {
    json pod{{"pod", attachment.pod},
             {"container", attachment.container_id},
             {"interface", attachment.interface},
             {"netns", attachment.netns},
             {"ips", texts(attachment.ips)},
             {"attached", true},
             {"kind", port_kind_name(attachment.kind.kind)},
             {"port", nullptr}};
    if (attachment.limits != nullptr) {
      pod["bandwidth"] = cni::to_json(attachment.wishes.bandwidth);
    }
    if (!attachment.kind.socket.empty()) {
      pod["socket"] = attachment.kind.socket;
      pod["deviceInfo"] = device_info(attachment.kind);
      pod["peer"] = json::object();
      for (const auto& [program, line] : peer_lines(attachment)) pod["peer"][program] = line;
    }
    if (const auto id = port_of(state, attachment)) {
      pod["port"] = port_json(port_table(state)->ports[*id], *id, totals.ports[*id]);
    }
    attached.insert(attachment.pod);
    list.push_back(std::move(pod));
  }
  for (const auto& [name, pod] : state.store.pods) {
    if (pod.node_name != state.config.node_name || pod.finished || attached.contains(name)) {
      continue;
    }
    list.push_back({{"pod", name},
                    {"container", nullptr},
                    {"interface", nullptr},
                    {"netns", nullptr},
                    {"ips", texts(pod.ips)},
                    {"attached", false},
                    {"kind", nullptr},
                    {"hostNetwork", pod.host_network},
                    {"port", nullptr}});
  }
  std::sort(list.begin(), list.end(),
            [](const json& a, const json& b) { return a["pod"] < b["pod"]; });
  return list;
}

json services(const Sources& sources) {
  json list = json::array();
  if (sources.state.snapshot == nullptr) return list;
  for (auto& [id, service] : services_by_id(*sources.state.snapshot)) {
    list.push_back(std::move(service));
  }
  std::sort(list.begin(), list.end(), [](const json& a, const json& b) {
    return std::pair(a["name"], a["family"]) < std::pair(b["name"], b["family"]);
  });
  return list;
}

Result<json> routes(const Sources& sources, const std::string& to) {
  const State& state = sources.state;
  std::optional<net::Prefix> within;
  if (!to.empty()) {
    within = net::Prefix::parse(to);
    if (!within) return fail("to: \"" + to + "\" is no address or prefix");
  }
  json list = json::array();
  if (state.snapshot == nullptr) return list;
  state.snapshot->routes->prefixes.for_each(
      [&](const net::Prefix& prefix, const tables::NextHopId& id) {
        if (list.size() >= kMostRoutes) return;
        const bool shown = !within || within->contains(prefix) || prefix.contains(*within);
        if (shown) list.push_back(route_json(state, prefix, id));
      });
  return list;
}

Result<json> flows(const Sources& sources, const FlowFilter& filter) {
  const State& state = sources.state;
  std::optional<std::uint8_t> protocol;
  std::optional<std::vector<net::Address>> ips;
  std::optional<std::set<std::uint32_t>> ids;
  if (!filter.protocol.empty()) {
    protocol = protocol_number(filter.protocol);
    if (!protocol) {
      return fail("protocol: \"" + filter.protocol +
                  "\" is not tcp, udp, sctp, icmp, icmpv6 or a number from 0 to 255");
    }
  }
  if (!filter.pod.empty()) {
    auto found = addresses_of_pod(state, filter.pod);
    if (!found) return tl::unexpected(found.error());
    ips = std::move(*found);
  }
  if (!filter.service.empty()) {
    auto found = ids_of_service(state, filter.service);
    if (!found) return tl::unexpected(found.error());
    ids = std::move(*found);
  }
  const auto wanted = [&](const observe::FlowRow& row) {
    if (protocol && row.protocol != *protocol) return false;
    if (ids && !ids->contains(row.service_id)) return false;
    return !ips || std::any_of(ips->begin(), ips->end(), [&](const net::Address& ip) {
      return row.source == ip || row.destination == ip || row.reply_source == ip ||
             row.reply_destination == ip;
    });
  };
  const auto names = service_names(state);
  json list = json::array();
  for (const auto& row : sources.state.dataplane.flows(filter.limit, wanted)) {
    list.push_back(flow_json(row, names));
  }
  return list;
}

json drops(const Sources& sources) {
  const Totals totals = totals_now(sources);
  const WorkerTotals sum = totals.sum();
  const WorkerTotals old = sources.sampler.before().sum(), now = sources.sampler.newest().sum();
  json reasons = json::array();
  for (std::size_t i = 1; i < kReasons; ++i) {
    json workers = json::array();
    for (const auto& worker : totals.workers) workers.push_back(worker.drops[i]);
    reasons.push_back(
        {{"reason", kReasonNames[i]},
         {"help", kReasonHelps[i]},
         {"packets", sum.drops[i]},
         {"perSecond", rounded(sources.sampler.per_second(old.drops[i], now.drops[i]))},
         {"workers", std::move(workers)}});
  }
  return {{"reasons", std::move(reasons)}, {"ledger", ledger(totals)}};
}

json counters(const Sources& sources) {
  const Totals totals = totals_now(sources);
  json workers = json::array();
  for (const auto& worker : totals.workers) workers.push_back(counter_set(worker));
  json ports = json::array();
  if (const auto* table = port_table(sources.state)) {
    for (std::size_t id = 0; id < table->ports.size(); ++id) {
      if (table->ports[id].role == tables::PortRole::none) continue;
      ports.push_back(port_json(table->ports[id], static_cast<PortId>(id), totals.ports[id]));
    }
  }
  return {{"sum", counter_set(totals.sum())},
          {"workers", std::move(workers)},
          {"ports", std::move(ports)}};
}

json top(const Sources& sources) {
  const State& state = sources.state;
  const Sampler& sampler = sources.sampler;
  const Totals &before = sampler.before(), &now = sampler.newest();
  const WorkerTotals old_sum = before.sum(), sum = now.sum();
  json ports = json::array();
  const auto* table = port_table(state);
  const std::span<const tables::PortInfo> known =
      table == nullptr ? std::span<const tables::PortInfo>() : table->ports;
  const std::size_t both = std::min(before.ports.size(), now.ports.size());
  for (std::size_t id = 0; id < std::min(known.size(), both); ++id) {
    if (known[id].role == tables::PortRole::none) continue;
    const PortTotals &a = before.ports[id], &b = now.ports[id];
    const auto rate = [&](auto field) { return rounded(sampler.per_second(a.*field, b.*field)); };
    ports.push_back({{"name", known[id].name},
                     {"rxPacketsPerSecond", rate(&PortTotals::rx_packets)},
                     {"rxBytesPerSecond", rate(&PortTotals::rx_bytes)},
                     {"txPacketsPerSecond", rate(&PortTotals::tx_packets)},
                     {"txBytesPerSecond", rate(&PortTotals::tx_bytes)},
                     {"rxDropsPerSecond", rate(&PortTotals::rx_drops)},
                     {"txDropsPerSecond", rate(&PortTotals::tx_drops)}});
  }
  const auto rate = [&](std::uint64_t a, std::uint64_t b) {
    return rounded(sampler.per_second(a, b));
  };
  return {{"status", status(sources)},
          {"receivedPerSecond", rate(old_sum.received, sum.received)},
          {"sentPerSecond", rate(old_sum.sent, sum.sent)},
          {"droppedPerSecond", rate(old_sum.dropped(), sum.dropped())},
          {"flowsCreatedPerSecond", rate(old_sum.flows_created, sum.flows_created)},
          {"ports", std::move(ports)},
          {"drops", drops(sources)["reasons"]}};
}

}  // namespace podwire::control::ctl
