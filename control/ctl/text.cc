#include "control/ctl/text.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>

namespace podwire::control::ctl {
namespace {

using nlohmann::json;
using Row = std::vector<std::string>;

std::string cell(const json& value) {
  if (value.is_null()) return "-";
  if (value.is_string()) return value.get<std::string>().empty() ? "-" : value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_number_float()) {
    char text[32];
    std::snprintf(text, sizeof text, "%.1f", value.get<double>());
    return text;
  }
  return value.dump();
}

std::string cell(const json& object, const char* key) {
  return object.is_object() && object.contains(key) ? cell(object[key]) : "-";
}

std::string joined(const json& list, const char* separator = ",") {
  std::string text;
  for (const auto& item : list) text += (text.empty() ? "" : separator) + cell(item);
  return text.empty() ? "-" : text;
}

std::string percent(const json& share) {
  char text[16];
  std::snprintf(text, sizeof text, "%.1f%%", share.get<double>() * 100);
  return text;
}

std::string duration(std::uint64_t seconds) {
  const std::uint64_t days = seconds / 86400, hours = seconds / 3600 % 24,
                      minutes = seconds / 60 % 60;
  if (days > 0) return std::to_string(days) + "d" + std::to_string(hours) + "h";
  if (hours > 0) return std::to_string(hours) + "h" + std::to_string(minutes) + "m";
  if (minutes > 0) return std::to_string(minutes) + "m" + std::to_string(seconds % 60) + "s";
  return std::to_string(seconds) + "s";
}

// 1234567 -> "1.23M": for rates, where the size matters and not the last digit.
std::string scaled(double value) {
  const char* unit = "";
  for (const char* next : {"k", "M", "G", "T"}) {
    if (value < 1000) break;
    value /= 1000;
    unit = next;
  }
  char text[32];
  std::snprintf(text, sizeof text, *unit == '\0' ? "%.0f%s" : "%.2f%s", value, unit);
  return text;
}

std::string ledger_line(const json& ledger) {
  const auto number = [&](const char* key) { return ledger[key].get<std::uint64_t>(); };
  const std::uint64_t in = number("received") + number("originated");
  const std::uint64_t out = number("sent") + number("dropped") + number("holding");
  std::string line = "ledger: " + cell(ledger, "received") + " received + " +
                     cell(ledger, "originated") + " originated = " + cell(ledger, "sent") +
                     " sent + " + cell(ledger, "dropped") + " dropped + " +
                     cell(ledger, "holding") + " holding";
  // While traffic runs, the workers' counters are read one after the other.
  if (in != out) {
    line += in > out ? " + " + std::to_string(in - out) + " under way"
                     : " - " + std::to_string(out - in) + " under way";
  }
  return line + "\n";
}

std::string device_line(const char* label, const json& port) {
  if (port.is_null()) return std::string(label) + "none\n";
  return std::string(label) + cell(port, "name") + (port["up"].get<bool>() ? ", up\n" : ", DOWN\n");
}

std::string kinds_text(const json& kinds) {
  std::vector<Row> rows;
  for (const auto& kind : kinds) {
    std::string errors;
    for (const auto& [reason, count] : kind["errors"].items()) {
      if (count != 0) errors += (errors.empty() ? "" : ",") + reason + "=" + cell(count);
    }
    const auto& since = kind["watchingSeconds"];
    rows.push_back({cell(kind, "kind"), cell(kind, "objects"), cell(kind, "resourceVersion"),
                    cell(kind, "phase"),
                    since.is_null() ? "-" : duration(since.get<std::uint64_t>()),
                    cell(kind, "lists"), cell(kind, "watches"), cell(kind, "events"),
                    errors.empty() ? "-" : errors});
  }
  return table_text(
      {"KIND", "OBJECTS", "VERSION", "PHASE", "WATCHING", "LISTS", "WATCHES", "EVENTS", "ERRORS"},
      rows);
}

std::string status_text(const json& s) {
  std::string text;
  const auto line = [&](const std::string& label, const std::string& value) {
    text += label + std::string(label.size() < 11 ? 11 - label.size() : 1, ' ') + value + "\n";
  };
  line("node", cell(s, "node") + ", podwired " + cell(s, "version") + ", up " +
                   duration(s["uptimeSeconds"].get<std::uint64_t>()));
  std::string source = cell(s, "source");
  source +=
      s["synced"].get<bool>() ? ", synced" : ", NOT SYNCED: only the node's own traffic passes";
  if (!s["sourceHealthy"].get<bool>()) source += ", STALE: cannot be read now";
  line("source", source);
  if (!s["sourceTrouble"].is_null()) line("trouble", cell(s, "sourceTrouble"));
  text += device_line("uplink     ", s["uplink"]) + device_line("host       ", s["host"]);
  line("pods", cell(s["pods"], "attached") + " attached, " + cell(s["pods"], "up") + " up");
  if (s["snapshot"].is_object()) {
    line("tables", "generation " + cell(s["snapshot"], "generation") + ", " +
                       cell(s["snapshot"], "frontends") + " frontends, " +
                       cell(s["snapshot"], "routes") + " routes, built in " +
                       cell(s, "lastBuildMicroseconds") + " us");
  }
  for (const auto& worker : s["workers"]) {
    line("worker " + cell(worker, "index"),
         percent(worker["busyShare"]) + " busy" +
             (worker["core"].is_null() ? "" : ", core " + cell(worker, "core")));
  }
  std::vector<Row> rows;
  for (const auto& fill : s["tables"]) {
    const double limit = fill["limit"].get<double>();
    rows.push_back({cell(fill, "table"), cell(fill, "used"), cell(fill, "limit"),
                    percent(limit > 0 ? fill["used"].get<double>() / limit : 0.0)});
  }
  text += "\n" + table_text({"TABLE", "USED", "LIMIT", "FULL"}, rows) + "\n";
  if (!s["kinds"].empty()) text += kinds_text(s["kinds"]) + "\n";
  text += ledger_line(s["ledger"]);
  const auto& problems = s["problems"];
  text += problems.empty() ? "no problems\n" : std::to_string(problems.size()) + " problems:\n";
  for (const auto& problem : problems) text += "  " + cell(problem) + "\n";
  return text;
}

// How a peer of a port without a kernel interface is started.
std::string peers_text(const json& pods) {
  std::string text;
  for (const auto& pod : pods) {
    if (!pod.contains("peer")) continue;
    const std::string who = pod["pod"] == "" ? cell(pod, "container") : cell(pod, "pod");
    text += "\n" + who + "/" + cell(pod, "interface") + ": " + cell(pod, "kind") + " at " +
            cell(pod, "socket");
    const auto& port = pod["port"];
    if (port.is_object() && port.contains("downReason")) text += "; " + cell(port, "downReason");
    text += "\n";
    for (const auto& [program, line] : pod["peer"].items()) {
      text += "  " + program + std::string(10 - std::min<std::size_t>(program.size(), 9), ' ') +
              cell(line) + "\n";
    }
  }
  return text;
}

// "default/web/eth0: is sent at most 10.00Mbit/s, bursts of 4.29Gbit"
std::string bandwidth_text(const json& pods) {
  std::string text;
  for (const auto& pod : pods) {
    if (!pod.contains("bandwidth")) continue;
    const std::string who = pod["pod"] == "" ? cell(pod, "container") : cell(pod, "pod");
    text += "\n" + who + "/" + cell(pod, "interface") + ":";
    const char* separator = " ";
    for (const auto& [words, key] :
         {std::pair{"is sent at most ", "ingress"}, std::pair{"sends at most ", "egress"}}) {
      const double rate = pod["bandwidth"][std::string(key) + "Rate"].get<double>();
      const double burst = pod["bandwidth"][std::string(key) + "Burst"].get<double>();
      if (rate == 0) continue;
      text += separator + (words + scaled(rate)) + "bit/s, bursts of " + scaled(burst) + "bit";
      separator = "; ";
    }
  }
  return text.empty() ? text : text + "\n";
}

std::string pods_text(const json& pods) {
  std::vector<Row> rows;
  for (const auto& pod : pods) {
    const auto& port = pod["port"];
    const bool host = pod.contains("hostNetwork") && pod["hostNetwork"].get<bool>();
    const std::string state = host                           ? "host"
                              : !pod["attached"].get<bool>() ? "not attached"
                              : port.is_null()               ? "no port"
                              : port["up"].get<bool>()       ? "up"
                                                             : "down";
    rows.push_back({cell(pod, "pod"), cell(pod, "interface"), joined(pod["ips"]), cell(pod, "kind"),
                    state, cell(port, "rxPackets"), cell(port, "txPackets"), cell(port, "rxDrops"),
                    cell(port, "txDrops"), cell(pod, "container").substr(0, 12)});
  }
  return table_text({"POD", "INTERFACE", "ADDRESSES", "KIND", "STATE", "FROM", "TO", "DROPS-FROM",
                     "DROPS-TO", "CONTAINER"},
                    rows) +
         bandwidth_text(pods) + peers_text(pods);
}

std::string services_text(const json& services) {
  std::vector<Row> rows;
  for (const auto& service : services) {
    bool first = true;
    const auto backends = service["backends"].size(), local = service["localBackends"].size();
    for (const auto& frontend : service["frontends"]) {
      rows.push_back({first ? cell(service, "name") : "", cell(service, "protocol"),
                      cell(frontend, "kind"), cell(frontend, "address"), cell(frontend, "port"),
                      std::to_string(backends), std::to_string(local),
                      first && service["affinitySeconds"] != 0
                          ? duration(service["affinitySeconds"].get<std::uint64_t>())
                          : "-"});
      first = false;
    }
    for (const auto& backend : service["backends"]) {
      rows.push_back({"", "", "  backend", cell(backend, "address"), cell(backend, "port"), "",
                      backend["local"].get<bool>() ? "here" : "", ""});
    }
  }
  return table_text(
      {"SERVICE", "PROTOCOL", "KIND", "ADDRESS", "PORT", "BACKENDS", "LOCAL", "AFFINITY"}, rows);
}

std::string policies_text(const json& policies) {
  std::vector<Row> rows;
  std::string doubts;
  for (const auto& policy : policies) {
    const auto rules = [&](const char* side, const char* count) {
      return policy[side].get<bool>() ? cell(policy, count) + " rules" : std::string("-");
    };
    rows.push_back({cell(policy, "policy"), cell(policy, "tier"), cell(policy, "priority"),
                    rules("ingress", "ingressRules"), rules("egress", "egressRules"),
                    cell(policy, "drops"), joined(policy["localPods"])});
    for (const auto& doubt : policy["doubts"]) {
      doubts += cell(policy, "policy") + ": " + doubt.get<std::string>() + " (fails closed)\n";
    }
    if (policy["doubts"].empty() && !policy["refused"].is_null()) {
      doubts += cell(policy, "refused") + " (its last right version stays in force)\n";
    }
  }
  return table_text({"POLICY", "TIER", "PRIORITY", "INGRESS", "EGRESS", "DROPS", "PODS-HERE"},
                    rows) +
         doubts;
}

std::string bgp_text(const json& bgp) {
  if (!bgp["enabled"].get<bool>()) return "BGP is off (option bgp)\n";
  std::string text = cell(bgp, "bird") + ", router " + cell(bgp, "routerId") + ", AS " +
                     cell(bgp, "asNumber") +
                     (bgp["connected"].get<bool>() ? "" : ": DOES NOT ANSWER") + "\n";
  text += "announces  pods " + joined(bgp["own"]) + "  services " + joined(bgp["services"]) + "\n";
  std::vector<Row> rows;
  for (const auto& peer : bgp["peers"]) {
    rows.push_back({cell(peer, "address"), cell(peer, "asNumber"), cell(peer, "node"),
                    cell(peer, "object"), cell(peer, "state"), cell(peer, "imported"),
                    cell(peer, "exported"), cell(peer, "lastError")});
  }
  text += "\n" + table_text({"PEER", "AS", "NODE", "BY", "STATE", "IN", "OUT", "LAST ERROR"}, rows);
  for (const auto& problem : bgp["problems"]) text += "problem  " + cell(problem) + "\n";
  return text;
}

std::string routes_text(const json& routes) {
  std::vector<Row> rows;
  const auto add = [&](const std::string& prefix, const json& hop, const std::string& share) {
    rows.push_back({prefix, cell(hop, "kind"), cell(hop, "port"), cell(hop, "gateway"),
                    cell(hop, "mac"), cell(hop, "tunnelTo"), cell(hop, "mtu"), share});
  };
  for (const auto& route : routes) {
    add(cell(route, "prefix"), route, "");
    const auto paths = route.find("paths");
    if (paths == route.end()) continue;
    for (const auto& path : *paths) {
      const auto percent = static_cast<int>(path.value("share", 0.0) * 100 + 0.5);
      add("", path, std::to_string(percent) + "%");
    }
  }
  return table_text({"PREFIX", "KIND", "PORT", "GATEWAY", "MAC", "TUNNEL-TO", "MTU", "FLOWS"},
                    rows) +
         (routes.size() < kMostRoutes ? "" : "and more: --to PREFIX chooses\n");
}

std::string flows_text(const json& flows) {
  std::vector<Row> rows;
  for (const auto& flow : flows) {
    rows.push_back({cell(flow, "protocol"), cell(flow, "state"), cell(flow, "source"),
                    cell(flow, "destination"), cell(flow, "replySource"),
                    cell(flow, "replyDestination"), cell(flow, "packets"),
                    cell(flow, "replyPackets"), cell(flow, "expiresInSeconds"),
                    cell(flow, "service")});
  }
  return table_text({"PROTOCOL", "STATE", "SOURCE", "DESTINATION", "REPLY-SOURCE",
                     "REPLY-DESTINATION", "PACKETS", "REPLIES", "EXPIRES", "SERVICE"},
                    rows);
}

std::string reasons_text(const json& reasons, bool all) {
  std::vector<Row> rows;
  for (const auto& reason : reasons) {
    if (!all && reason["packets"] == 0) continue;
    rows.push_back({cell(reason, "reason"), cell(reason, "packets"), cell(reason, "perSecond"),
                    joined(reason["workers"], " "), cell(reason, "help")});
  }
  if (rows.empty()) return "nothing was dropped\n";
  return table_text({"REASON", "PACKETS", "PER-SECOND", "BY-WORKER", "MEANING"}, rows);
}

std::string counters_text(const json& counters) {
  Row header{"COUNTER", "SUM"};
  for (std::size_t i = 0; i < counters["workers"].size(); ++i) {
    header.push_back("WORKER-" + std::to_string(i));
  }
  std::vector<Row> rows;
  for (const auto& [name, value] : counters["sum"].items()) {
    Row row{name, cell(value)};
    for (const auto& worker : counters["workers"]) row.push_back(cell(worker, name.c_str()));
    rows.push_back(std::move(row));
  }
  std::vector<Row> ports;
  for (const auto& port : counters["ports"]) {
    ports.push_back({cell(port, "id"), cell(port, "name"), cell(port, "kind"), cell(port, "up"),
                     cell(port, "rxPackets"), cell(port, "rxBytes"), cell(port, "rxDrops"),
                     cell(port, "txPackets"), cell(port, "txBytes"), cell(port, "txDrops"),
                     cell(port, "originated"), cell(port, "missed"), cell(port, "unsent")});
  }
  return table_text(header, rows) + "\n" +
         table_text({"PORT", "NAME", "KIND", "UP", "RX-PACKETS", "RX-BYTES", "RX-DROPS",
                     "TX-PACKETS", "TX-BYTES", "TX-DROPS", "ORIGINATED", "MISSED", "UNSENT"},
                    ports);
}

std::string top_text(const json& top) {
  const auto& status = top["status"];
  const auto rate = [](const json& from, const char* key) {
    return scaled(from[key].get<double>());
  };
  std::string text = "podwired on " + cell(status, "node") + ", up " +
                     duration(status["uptimeSeconds"].get<std::uint64_t>()) +
                     (status["synced"].get<bool>() ? "" : ", NOT SYNCED") + ", " +
                     std::to_string(status["problems"].size()) + " problems\n";
  text += "packets/s: " + rate(top, "receivedPerSecond") + " in, " + rate(top, "sentPerSecond") +
          " out, " + rate(top, "droppedPerSecond") + " dropped; " +
          rate(top, "flowsCreatedPerSecond") + " new flows/s\nworkers:  ";
  for (const auto& worker : status["workers"]) text += " " + percent(worker["busyShare"]);
  text += " busy\n";
  for (const auto& fill : status["tables"]) {
    text += cell(fill, "table") + " " + cell(fill, "used") + "/" + cell(fill, "limit") + "  ";
  }
  std::vector<std::pair<double, Row>> ports;
  for (const auto& port : top["ports"]) {
    const double weight =
        port["rxPacketsPerSecond"].get<double>() + port["txPacketsPerSecond"].get<double>();
    ports.push_back(
        {weight,
         {cell(port, "name"), rate(port, "rxPacketsPerSecond"), rate(port, "rxBytesPerSecond"),
          rate(port, "rxDropsPerSecond"), rate(port, "txPacketsPerSecond"),
          rate(port, "txBytesPerSecond"), rate(port, "txDropsPerSecond")}});
  }
  std::stable_sort(ports.begin(), ports.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<Row> rows;
  for (auto& [weight, row] : ports) {
    if (rows.size() == 16) break;
    rows.push_back(std::move(row));
  }
  text +=
      "\n\n" + table_text({"PORT", "RX/s", "RX-B/s", "DROP/s", "TX/s", "TX-B/s", "DROP/s"}, rows);
  rows.clear();
  for (const auto& reason : top["drops"]) {
    if (reason["perSecond"].get<double>() > 0) {
      rows.push_back({cell(reason, "reason"), rate(reason, "perSecond"), cell(reason, "help")});
    }
  }
  if (!rows.empty()) text += "\n" + table_text({"DROPPED", "PER-SECOND", "MEANING"}, rows);
  return text;
}

std::string side_text(const char* name, const json& side) {
  std::string text = std::string("  ") + name + (*name == 'e' ? "   " : "  ") +
                     side["verdict"].get<std::string>() + "  ";
  const auto by = side["by"].get<std::string>();
  const auto tier = side.contains("tier") ? " (tier " + cell(side, "tier") + ")" : std::string();
  if (by == "policy") {
    text += "policy " + cell(side, "policy");
    if (side.contains("rule")) text += std::string(" ") + name + "[" + cell(side, "rule") + "]";
    text += tier;
  } else if (by == "default") {
    text += "no rule allows it, of " + cell(side, "policy");
    const std::size_t policies = side.contains("isolatedBy") ? side["isolatedBy"].size() : 0;
    if (policies > 1) text += " and " + std::to_string(policies - 1) + " more";
    text += tier;
  } else {
    text += by;
  }
  text += "\n";
  if (side.contains("reason")) text += "          " + cell(side, "reason") + "\n";
  if (side.contains("nearest")) {
    text += "          nearest: " + side["nearest"]["text"].get<std::string>() + "\n";
  }
  return text;
}

std::string explain_text(const json& answer) {
  std::string text = cell(answer, "verdict") + "  " + cell(answer, "from") + " -> " +
                     cell(answer, "to") + ", " + cell(answer, "protocol");
  if (answer["port"] != 0) text += " " + cell(answer, "port");
  text += "\n";
  if (answer.contains("reason")) text += "  " + cell(answer, "reason") + "\n";
  if (answer.contains("egress")) {
    text += side_text("egress", answer["egress"]) + side_text("ingress", answer["ingress"]);
  }
  if (!answer.contains("paths") || answer["paths"].empty()) return text;
  std::vector<Row> rows;
  for (const auto& path : answer["paths"]) {
    rows.push_back({cell(path, "from"), cell(path, "to"), cell(path, "address"), cell(path, "port"),
                    cell(path, "verdict")});
  }
  return text + "\n" + table_text({"FROM", "TO", "ADDRESS", "PORT", "VERDICT"}, rows);
}

bool is_number(const std::string& text) {
  return text == "-" || text.empty() ||
         text.find_first_not_of("0123456789.%kMGT") == std::string::npos;
}

}  // namespace

std::string table_text(const Row& header, const std::vector<Row>& rows) {
  std::vector<std::size_t> widths;
  std::vector<bool> right;
  for (std::size_t column = 0; column < header.size(); ++column) {
    std::size_t width = header[column].size();
    bool numbers = !rows.empty();
    for (const Row& row : rows) {
      width = std::max(width, row[column].size());
      numbers = numbers && is_number(row[column]);
    }
    widths.push_back(width);
    right.push_back(numbers);
  }
  std::string text;
  const auto add = [&](const Row& row) {
    std::string line;
    for (std::size_t column = 0; column < row.size(); ++column) {
      if (column > 0) line += "  ";
      const std::string space(widths[column] - row[column].size(), ' ');
      line += right[column] ? space + row[column] : row[column] + space;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  };
  add(header);
  for (const Row& row : rows) add(row);
  return text;
}

std::string report_text(const std::string& command, const json& result, bool all) {
  if (command == "status") return status_text(result);
  if (command == "pods") return pods_text(result);
  if (command == "services") return services_text(result);
  if (command == "policies") return policies_text(result);
  if (command == "routes") return routes_text(result);
  if (command == "bgp") return bgp_text(result);
  if (command == "flows") return flows_text(result);
  if (command == "counters") return counters_text(result);
  if (command == "top") return top_text(result);
  if (command == "explain") return explain_text(result);
  return reasons_text(result["reasons"], all) + "\n" + ledger_line(result["ledger"]);
}

}  // namespace podwire::control::ctl
