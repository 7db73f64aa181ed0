#include "control/config_options.h"

#include <algorithm>
#include <charconv>
#include <sstream>
#include <type_traits>

namespace podwire::control::options {

std::optional<std::uint64_t> whole_number(const std::string& text) {
  std::uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{} || rest != end || text.empty()) return std::nullopt;
  return number;
}

bool is_dns_name(const std::string& name) {
  if (name.empty() || name.size() > 253) return false;
  const auto alphanumeric = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  if (!alphanumeric(name.front()) || !alphanumeric(name.back())) return false;
  return std::all_of(name.begin(), name.end(),
                     [&](char c) { return alphanumeric(c) || c == '-' || c == '.'; });
}

namespace {

Result<std::uint64_t> number_between(const std::string& text, std::uint64_t low,
                                     std::uint64_t high) {
  const auto number = whole_number(text);
  if (!number && !(text.empty() || text.find_first_not_of("0123456789") != std::string::npos)) {
    return fail(text + " is not between " + std::to_string(low) + " and " + std::to_string(high));
  }
  if (!number) return fail("\"" + text + "\" is not a whole number");
  if (*number < low || *number > high) {
    return fail(text + " is not between " + std::to_string(low) + " and " + std::to_string(high));
  }
  return *number;
}

Result<bool> truth(const std::string& text) {
  for (const char* yes : {"true", "yes", "on", "1"}) {
    if (text == yes) return true;
  }
  for (const char* no : {"false", "no", "off", "0"}) {
    if (text == no) return false;
  }
  return fail("\"" + text + "\" is neither true nor false");
}

// "a, b" in one value and the key given twice mean the same.
Values split(const Values& values) {
  Values parts;
  for (const std::string& value : values) {
    std::stringstream stream(value);
    for (std::string part; std::getline(stream, part, ',');) {
      const auto first = part.find_first_not_of(" \t");
      if (first == std::string::npos) continue;
      parts.push_back(part.substr(first, part.find_last_not_of(" \t") - first + 1));
    }
  }
  return parts;
}

Result<std::vector<net::Prefix>> prefixes(const Values& values, bool keep_host_bits) {
  std::vector<net::Prefix> result;
  for (const std::string& part : split(values)) {
    const auto prefix = net::Prefix::parse(part);
    if (!prefix) return fail("\"" + part + "\" is not an IP prefix such as 10.96.0.0/12");
    result.push_back(*prefix);
    // node-address: the address itself and the length of its network.
    if (keep_host_bits)
      result.back().address = *net::Address::parse(part.substr(0, part.find('/')));
  }
  return result;
}

// kube-proxy's word for the Node's primary addresses, or prefixes.
Result<std::vector<net::Prefix>> node_port_prefixes(const Values& values) {
  if (values == Values{"primary"}) return std::vector<net::Prefix>{};
  return prefixes(values, false);
}

// "2,4-6" -> 2 4 5 6
Result<std::vector<unsigned>> core_list(const Values& values) {
  std::vector<unsigned> cores;
  for (const std::string& part : split(values)) {
    const auto dash = part.find('-');
    const auto low = whole_number(part.substr(0, dash));
    const auto high = dash == std::string::npos ? low : whole_number(part.substr(dash + 1));
    if (!low || !high || *low > *high || *high > 1023) {
      return fail("\"" + part + "\" is not a core or a range of cores such as 2,4-6");
    }
    for (auto core = *low; core <= *high; ++core) cores.push_back(static_cast<unsigned>(core));
  }
  auto sorted = cores;
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) return fail("core " + std::to_string(*twice) + " is named twice");
  if (cores.size() > 64) return fail("more than 64 cores are named");
  return cores;
}

bool is_device_name(const std::string& name) {  // linux/net/core/dev.c dev_valid_name
  return !name.empty() && name.size() <= 15 && name != "." && name != ".." &&
         name.find_first_of("/: \t\n%") == std::string::npos;
}

// Builders of `set` for the common kinds of value. `place` picks the field.
template <typename Place>
auto set_text(Place place) {
  return [place](Config& c, const Values& v) -> Result<void> {
    place(c) = v.back();
    return {};
  };
}
template <typename Place>
auto set_truth(Place place) {
  return [place](Config& c, const Values& v) -> Result<void> {
    const auto value = truth(v.back());
    if (!value) return tl::unexpected(value.error());
    place(c) = *value;
    return {};
  };
}
template <typename Place>
auto set_number(std::uint64_t low, std::uint64_t high, Place place) {
  return [=](Config& c, const Values& v) -> Result<void> {
    const auto value = number_between(v.back(), low, high);
    if (!value) return tl::unexpected(value.error());
    using Field = std::remove_reference_t<decltype(place(c))>;
    place(c) = static_cast<Field>(*value);
    return {};
  };
}
template <typename Place, typename Read>
auto set_list(Place place, Read read) {
  return [=](Config& c, const Values& v) -> Result<void> {
    auto value = read(v);
    if (!value) return tl::unexpected(value.error());
    place(c) = std::move(*value);
    return {};
  };
}
template <typename Place>
auto set_folder(Place place) {
  return [place](Config& c, const Values& v) -> Result<void> {
    if (v.back().empty() || v.back().front() != '/') {
      return fail("\"" + v.back() + "\" is not an absolute path");
    }
    place(c) = v.back();
    return {};
  };
}

Result<void> set_pod_mtu(Config& c, const Values& v) {
  if (v.back() == "auto") {
    c.dataplane.pod_mtu = 0;
    return {};
  }
  const auto value = number_between(v.back(), 1280, 9000);
  if (!value) return tl::unexpected(value.error());
  c.dataplane.pod_mtu = static_cast<std::uint16_t>(*value);
  return {};
}

Result<void> set_port_range(Config& c, const Values& v) {
  const std::string& text = v.back();
  const auto dash = text.find('-');
  const auto low = whole_number(text.substr(0, dash));
  const auto high = dash == std::string::npos ? std::optional<std::uint64_t>{}
                                              : whole_number(text.substr(dash + 1));
  if (!low || !high || *low < 1024 || *high > 65535 || *high < *low) {
    return fail("\"" + text +
                "\" is not a range of ports between 1024 and 65535 such as 32768-65535");
  }
  c.dataplane.masquerade_port_min = static_cast<std::uint16_t>(*low);
  c.dataplane.masquerade_port_max = static_cast<std::uint16_t>(*high);
  return {};
}

Result<void> set_node_name(Config& c, const Values& v) {
  if (!is_dns_name(v.back())) {
    return fail("\"" + v.back() + "\" is not a node's name (lower case letters, digits, - and .)");
  }
  c.node_name = v.back();
  return {};
}

Result<void> set_host_tap(Config& c, const Values& v) {
  if (!is_device_name(v.back())) {
    return fail("\"" + v.back() + "\" is not a network device's name of 1 to 15 characters");
  }
  c.dataplane.host_tap_name = v.back();
  return {};
}

Result<void> set_log_level_name(Config& c, const Values& v) {
  for (const char* level : {"debug", "info", "warning", "error"}) {
    if (v.back() == level) {
      c.log_level = level;
      return {};
    }
  }
  return fail("\"" + v.back() + "\" is not one of debug, info, warning, error");
}

template <typename Place>
auto set_listen_address(Place place) {
  return [place](Config& c, const Values& v) -> Result<void> {
    if (!v.back().empty()) {
      const auto parsed = parse_listen_address(v.back());
      if (!parsed) return tl::unexpected(parsed.error());
    }
    place(c) = v.back();
    return {};
  };
}

template <typename T>
std::string text(T value) {
  if constexpr (std::is_same_v<T, bool>) return value ? "true" : "false";
  return std::to_string(value);
}

// NOLINTBEGIN(bugprone-macro-parentheses): the name of a member
#define FIELD(path)         \
  [](Config & c) -> auto& { \
    return c.path;          \
  }
// NOLINTEND(bugprone-macro-parentheses)

void add_objects(std::vector<Option>& all, const Config& d) {
  const char* section = "Objects and this node";
  all.push_back({section, "node-name", "NAME", "", "this node's name; default: the host's name",
                 set_node_name});
  all.push_back({section, "manifests", "FOLDER", "",
                 "folder of Kubernetes manifests (YAML or JSON), watched for changes",
                 set_folder(FIELD(manifests))});
  all.push_back({section, "kubeconfig", "FILE", "",
                 "instead of manifests: the Kubernetes API server, as this kubeconfig says",
                 set_folder(FIELD(kubeconfig))});
  all.push_back({section, "in-cluster", nullptr, text(d.in_cluster),
                 "instead of manifests: the API server of the cluster that podwired runs in as a "
                 "pod, by its service account",
                 set_truth(FIELD(in_cluster))});
  all.push_back({section, "node-address", "PREFIX", "",
                 "address with its network's length, e.g. 192.0.2.1/24, for the host tap when the "
                 "uplink has no kernel device to take it from; a list",
                 set_list(FIELD(node_addresses), [](const Values& v) { return prefixes(v, true); }),
                 true});
  all.push_back(
      {section, "service-range", "PREFIX", "",
       "range of ClusterIPs; unused addresses in it are dropped; a list",
       set_list(FIELD(service_ranges), [](const Values& v) { return prefixes(v, false); }), true});
  all.push_back(
      {section, "node-port-addresses", "PREFIX", "",
       "own addresses on which node ports are served; default, or \"primary\": the node's primary "
       "ones; a list",
       set_list(FIELD(node_port_addresses), node_port_prefixes), true});
  all.push_back({section, "masquerade-all", nullptr, text(d.masquerade_all),
                 "masquerade everything that goes to a Service", set_truth(FIELD(masquerade_all))});
  all.push_back({section, "udp-cleanup", nullptr, text(d.udp_cleanup),
                 "end UDP flows whose endpoint is gone", set_truth(FIELD(udp_cleanup))});
  all.push_back({section, "count-policy-drops", nullptr, text(d.count_policy_drops),
                 "count refused packets by policy: podwire_policy_drops_total, podwirectl policies",
                 set_truth(FIELD(count_policy_drops))});
  all.push_back({section, "routes-max", "N", text(d.routes_max),
                 "limit of prefixes taken from Linux's routing table",
                 set_number(16, 16777216, FIELD(routes_max))});
  all.push_back({section, "min-sync-period-ms", "N", text(d.min_sync_period_ms),
                 "shortest time between two builds of the tables, milliseconds; what changes in "
                 "it comes into force together",
                 set_number(0, 10000, FIELD(min_sync_period_ms))});
}

void add_ports(std::vector<Option>& all, const Config& d) {
  const char* section = "Ports and workers";
  all.push_back({section, "uplink", "DEVICE", "",
                 "DPDK device towards the network: a PCI address or a string such as "
                 "net_af_packet0,iface=eth0; required",
                 set_text(FIELD(dataplane.uplink_device))});
  all.push_back({section, "host-tap", "NAME", d.dataplane.host_tap_name,
                 "name of the device that carries the node's own traffic", set_host_tap});
  all.push_back({section, "pod-mtu", "BYTES", "auto",
                 "MTU of a pod's interface; auto: the network's, less 20 where a pool tunnels",
                 set_pod_mtu});
  all.push_back({section, "workers", "N", text(d.dataplane.worker_count),
                 "number of workers; left out when worker-cores names them",
                 set_number(1, 64, FIELD(dataplane.worker_count))});
  all.push_back({section, "worker-cores", "CORES", "",
                 "one worker on each of these cores, e.g. 2,4-6; default: not bound to cores",
                 set_list(FIELD(dataplane.worker_cores), core_list), true});
  all.push_back({section, "spread-flows", nullptr, text(d.dataplane.spread_flows),
                 "what the uplink's queues do not spread (tunnels; fewer queues than workers) is "
                 "handed to the worker of its flow",
                 set_truth(FIELD(dataplane.spread_flows))});
  all.push_back({section, "idle-sleep", nullptr, text(d.dataplane.sleep_when_idle),
                 "a worker without traffic sleeps; false: it polls always",
                 set_truth(FIELD(dataplane.sleep_when_idle))});
  all.push_back({section, "idle-sleep-max-us", "N", text(d.dataplane.idle_sleep_max_us),
                 "longest sleep while a port can only be polled, microseconds",
                 set_number(1, 1000000, FIELD(dataplane.idle_sleep_max_us))});
}

void add_memory(std::vector<Option>& all, const Config& d) {
  const char* section = "Memory and DPDK";
  all.push_back({section, "hugepages", nullptr, text(d.dataplane.hugepages),
                 "take packet memory from hugepages", set_truth(FIELD(dataplane.hugepages))});
  all.push_back({section, "memory-mb", "N", text(d.dataplane.memory_mb), "memory for DPDK, MiB",
                 set_number(64, 1048576, FIELD(dataplane.memory_mb))});
  all.push_back({section, "packet-buffers", "N", text(d.dataplane.packet_buffers),
                 "packet buffers of 2 KiB",
                 set_number(1024, 16777216, FIELD(dataplane.packet_buffers))});
  all.push_back({section, "large-buffers", "N", text(d.dataplane.large_buffers),
                 "buffers of 64 KiB for unsegmented TCP",
                 set_number(64, 1048576, FIELD(dataplane.large_buffers))});
  all.push_back({section, "eal-prefix", "NAME", d.dataplane.eal_prefix,
                 "DPDK's --file-prefix; each podwired of a machine needs its own",
                 set_text(FIELD(dataplane.eal_prefix))});
  all.push_back({section, "eal-arg", "ARGUMENT", "",
                 "further argument for DPDK's EAL, as it stands; may be given several times",
                 [](Config& c, const Values& v) -> Result<void> {
                   c.dataplane.eal_extra = v;
                   return {};
                 },
                 true});
}

void add_flows(std::vector<Option>& all, const Config& d) {
  const char* section = "Flows";
  const auto& p = d.dataplane;
  all.push_back({section, "flows-v4", "N", text(p.flows_v4), "limit of IPv4 connections",
                 set_number(1024, 67108864, FIELD(dataplane.flows_v4))});
  all.push_back({section, "flows-v6", "N", text(p.flows_v6), "limit of IPv6 connections",
                 set_number(1024, 67108864, FIELD(dataplane.flows_v6))});
  all.push_back({section, "fragment-datagrams", "N", text(p.fragment_datagrams),
                 "limit of incomplete datagrams, for each worker",
                 set_number(16, 1048576, FIELD(dataplane.fragment_datagrams))});
  all.push_back({section, "affinity-entries", "N", text(p.affinity_entries),
                 "limit of remembered clients of Services with ClientIP affinity",
                 set_number(1024, 16777216, FIELD(dataplane.affinity_entries))});
  all.push_back({section, "masquerade-ports", "MIN-MAX",
                 text(p.masquerade_port_min) + "-" + text(p.masquerade_port_max),
                 "source ports of masqueraded flows", set_port_range});
  all.push_back({section, "tcp-pickup", nullptr, text(p.tcp_pickup),
                 "admit TCP connections that are already under way",
                 set_truth(FIELD(dataplane.tcp_pickup))});
}

void add_bgp(std::vector<Option>& all, const Config& d) {
  const char* section = "BGP";
  all.push_back({section, "bgp", nullptr, text(d.bgp),
                 "write bird's configuration, have it reload on change, and follow its peers",
                 set_truth(FIELD(bgp))});
  all.push_back({section, "bird-program", "FILE", d.bird_program,
                 "bird 2, which checks each configuration before it is put in place",
                 set_folder(FIELD(bird_program))});
  all.push_back({section, "bird-config", "FILE", "",
                 "configuration that the running bird reads; default: bird.conf in state-dir",
                 set_folder(FIELD(bird_config))});
  all.push_back({section, "bird-socket", "FILE", "",
                 "control socket of the running bird; default: bird.ctl in run-dir",
                 set_folder(FIELD(bird_socket))});
  all.push_back({section, "bgp-mesh-bfd", nullptr, text(d.bgp_mesh_bfd),
                 "watch the node mesh by BFD where nodes share a network; BGPPeers say for "
                 "themselves (failureDetectionMode)",
                 set_truth(FIELD(bgp_mesh_bfd))});
  all.push_back({section, "bgp-bfd-interval-ms", "N", text(d.bgp_bfd_interval_ms),
                 "time between BFD packets, milliseconds",
                 set_number(10, 60000, FIELD(bgp_bfd_interval_ms))});
  all.push_back({section, "bgp-bfd-multiplier", "N", text(d.bgp_bfd_multiplier),
                 "BFD packets that may be missed before a peer counts as gone",
                 set_number(1, 255, FIELD(bgp_bfd_multiplier))});
}

void add_timeouts(std::vector<Option>& all, const Config& d) {
  const auto add = [&](const char* name, const char* help, auto place) {
    Config defaults = d;
    all.push_back({"Seconds of silence after which a flow ends", name, "SECONDS",
                   text(place(defaults)), help, set_number(1, 31536000, place)});
  };
#define TIMEOUT(name, field, help) add("timeout-" name, help, FIELD(dataplane.timeouts.field))
  TIMEOUT("tcp-syn-sent", tcp_syn_sent, "TCP: SYN seen");
  TIMEOUT("tcp-syn-received", tcp_syn_received, "TCP: SYN answered");
  TIMEOUT("tcp-established", tcp_established, "TCP: open");
  TIMEOUT("tcp-fin-wait", tcp_fin_wait, "TCP: one side has sent FIN");
  TIMEOUT("tcp-close-wait", tcp_close_wait, "TCP: that FIN was acknowledged");
  TIMEOUT("tcp-last-ack", tcp_last_ack, "TCP: both sides have sent FIN");
  TIMEOUT("tcp-time-wait", tcp_time_wait, "TCP: closed in order");
  TIMEOUT("tcp-close", tcp_close, "TCP: reset");
  TIMEOUT("udp", udp, "UDP without a reply");
  TIMEOUT("udp-stream", udp_stream, "UDP with replies");
  TIMEOUT("sctp-init", sctp_init, "SCTP: opening");
  TIMEOUT("sctp-established", sctp_established, "SCTP: open");
  TIMEOUT("sctp-shutdown", sctp_shutdown, "SCTP: closing");
  TIMEOUT("icmp", icmp, "ICMP echo");
  TIMEOUT("other", other, "any other protocol");
#undef TIMEOUT
}

void add_paths(std::vector<Option>& all, const Config& d) {
  const char* section = "Files, sockets, log";
  all.push_back({section, "run-dir", "FOLDER", d.run_dir, "sockets cni.sock and podwired.sock",
                 set_folder(FIELD(run_dir))});
  all.push_back({section, "state-dir", "FOLDER", d.state_dir,
                 "what outlives podwired: the pods' attachments", set_folder(FIELD(state_dir))});
  all.push_back({section, "metrics-address", "ADDRESS:PORT", d.metrics_address,
                 "where /metrics, /proxyMode, /configz, /healthz and /readyz are served; empty: "
                 "nowhere",
                 set_listen_address(FIELD(metrics_address))});
  all.push_back({section, "healthz-address", "ADDRESS:PORT", d.healthz_address,
                 "where load balancers ask /healthz and /livez of this node; empty: nowhere",
                 set_listen_address(FIELD(healthz_address))});
  all.push_back({section, "log-level", "LEVEL", d.log_level, "debug, info, warning or error",
                 set_log_level_name});
}
#undef FIELD

}  // namespace

const std::vector<Option>& table() {
  static const std::vector<Option> all = [] {
    const Config defaults;
    std::vector<Option> options;
    add_objects(options, defaults);
    add_ports(options, defaults);
    add_memory(options, defaults);
    add_flows(options, defaults);
    add_bgp(options, defaults);
    add_timeouts(options, defaults);
    add_paths(options, defaults);
    return options;
  }();
  return all;
}

const Option* find_option(const std::string& name) {
  const auto found = std::find_if(table().begin(), table().end(),
                                  [&](const Option& option) { return name == option.name; });
  return found == table().end() ? nullptr : &*found;
}

}  // namespace podwire::control::options
