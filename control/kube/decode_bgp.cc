// BGPConfiguration, BGPPeer, BGPFilter, and the Secrets of their passwords.
#include <algorithm>
#include <charconv>

#include "control/kube/base64.h"
#include "control/kube/decoders.h"

namespace podwire::control::kube {
namespace {

constexpr std::int64_t kMostSeconds = 65535;
// BIRD's symbols and patterns stand in quotes; no quote or backslash leads out of them.
constexpr std::string_view kPatternSigns =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    "0123456789-_.*?:@";

std::optional<std::uint64_t> whole(std::string_view text, std::uint64_t most) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || error != std::errc{} || stop != end || value > most) return std::nullopt;
  return value;
}

// Go's durations ("120s", "1m30s", "500ms"), rounded up to seconds: BIRD knows no shorter ones.
std::optional<std::uint32_t> read_seconds(const Reader& field) {
  if (!field.present()) return std::nullopt;
  static constexpr std::pair<std::string_view, double> kUnits[] = {
      {"ms", 0.001}, {"h", 3600}, {"m", 60}, {"s", 1}};
  const std::string given = field.text();
  std::string_view rest = given;
  double seconds = 0;
  while (!rest.empty()) {
    const auto digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
    const auto number = whole(rest.substr(0, digits), 1'000'000'000);
    rest.remove_prefix(digits);
    const auto* const unit = std::ranges::find_if(
        kUnits, [&](const auto& known) { return rest.starts_with(known.first); });
    if (!number || unit == std::end(kUnits)) {
      rest = given;  // none of it counts
      break;
    }
    seconds += static_cast<double>(*number) * unit->second;
    rest.remove_prefix(unit->first.size());
  }
  if (given.empty() || !rest.empty() || seconds > kMostSeconds) {
    field.refuse(field.shown() + " is not a duration up to " + std::to_string(kMostSeconds) +
                 "s, such as 120s or 2m");
    return std::nullopt;
  }
  const auto down = static_cast<std::uint32_t>(seconds);
  return down + (seconds > down ? 1 : 0);
}

std::optional<SecretKey> read_password(const Reader& field) {
  if (!field.present()) return std::nullopt;
  const Reader key = field["secretKeyRef"];
  SecretKey read{key["name"].text(), key["key"].text()};
  if (read.name.empty()) key["name"].refuse("is not given");
  if (read.key.empty()) key["key"].refuse("is not given");
  return read;
}

std::optional<Community> read_community(const Reader& field) {
  auto community = parse_community(field.text());
  if (!community) {
    field.refuse(field.shown() +
                 " is not a community: two numbers up to 65535 or three up to "
                 "4294967295, such as 65000:100 or 65000:1:2");
  }
  return community;
}

std::vector<std::uint32_t> read_as_numbers(const Reader& field) {
  std::vector<std::uint32_t> all;
  for (const Reader& element : field.elements()) all.push_back(read_as_number(element));
  return all;
}

std::vector<net::Prefix> read_blocks(const Reader& field) {
  std::vector<net::Prefix> all;
  for (const Reader& element : field.elements()) {
    const Reader cidr = element["cidr"];
    if (!cidr.present()) cidr.refuse("is not given");
    if (const auto prefix = cidr.prefix()) all.push_back(*prefix);
  }
  return all;
}

std::string read_pattern(const Reader& field) {
  std::string pattern = field.text();
  if (pattern.find_first_not_of(kPatternSigns) != std::string::npos) {
    field.refuse(field.shown() + " is not an interface's name or pattern");
  }
  return pattern;
}

void read_communities(const Reader& spec, BgpConfiguration& configuration) {
  for (const Reader& element : spec["communities"].elements()) {
    const auto community = read_community(element["value"]);
    const std::string name = element["name"].text();
    if (name.empty()) element["name"].refuse("is not given");
    if (community) configuration.communities[name] = *community;
  }
  for (const Reader& element : spec["prefixAdvertisements"].elements()) {
    const Reader cidr = element["cidr"];
    if (!cidr.present()) cidr.refuse("is not given");
    const auto prefix = cidr.prefix();
    if (!prefix) continue;
    configuration.prefix_advertisements.push_back({*prefix, element["communities"].text_list()});
  }
}

// "10.0.0.1", "10.0.0.1:178", "fd00::1", "[fd00::1]:178".
void read_peer_address(const Reader& field, BgpPeer& peer) {
  if (!field.present() || field.text().empty()) return;
  const std::string given = field.text();
  std::string host = given, port;
  const auto colon = given.rfind(':');
  if (given.starts_with('[')) {
    const auto end = given.find("]:");
    if (end != std::string::npos) {
      host = given.substr(1, end - 1);
      port = given.substr(end + 2);
    }
  } else if (colon != std::string::npos && given.find(':') == colon) {
    host = given.substr(0, colon);
    port = given.substr(colon + 1);
  }
  peer.peer_ip = net::Address::parse(host);
  const auto number = whole(port, 65535);
  if (!peer.peer_ip || (host != given && (!number || *number == 0))) {
    return field.refuse(field.shown() +
                        " is not an address, or an address and a port, such as 192.0.2.1, "
                        "192.0.2.1:178 or [2001:db8::1]:178");
  }
  peer.peer_port = static_cast<std::uint16_t>(number.value_or(0));
}

std::optional<CalicoSelector> read_selector(const Reader& field) {
  const std::string text = field.text();
  if (text.empty()) return std::nullopt;
  auto selector = CalicoSelector::parse(text);
  if (!selector) {
    field.refuse(selector.error().message);
    return std::nullopt;
  }
  return *selector;
}

void read_peer_ends(const Reader& spec, BgpPeer& peer) {
  peer.node = spec["node"].text();
  peer.node_selector = read_selector(spec["nodeSelector"]);
  peer.peer_selector = read_selector(spec["peerSelector"]);
  peer.as_number = read_as_number(spec["asNumber"]);
  read_peer_address(spec["peerIP"], peer);
  if (!peer.node.empty() && peer.node_selector) {
    spec["nodeSelector"].refuse("is given although spec.node is; one of them says which nodes");
  }
  if (const Reader local = spec["localWorkloadSelector"]; !local.text().empty()) {
    local.refuse(local.shown() + " is given, but podwire's bird does not speak BGP with pods");
  }
  if (peer.peer_selector) {
    if (peer.peer_ip) spec["peerIP"].refuse("is given although spec.peerSelector is");
    if (peer.as_number != 0) spec["asNumber"].refuse("is given although spec.peerSelector is");
  } else if (!peer.peer_ip) {
    spec["peerIP"].refuse("is not given; it or spec.peerSelector says who the peer is");
  } else if (peer.as_number == 0) {
    spec["asNumber"].refuse("is not given, or 0");
  }
  peer.reverse = spec["reversePeering"].one_of({"Auto", "Manual"}, 0) == 0;
}

std::optional<std::uint8_t> read_length(const Reader& field, net::Family family) {
  if (!field.present()) return std::nullopt;
  return static_cast<std::uint8_t>(field.integer(0, family == net::Family::v4 ? 32 : 128, 0));
}

void read_prefix_match(const Reader& field, net::Family family, BgpFilterRule& rule) {
  const Reader cidr = field["cidr"];
  const Reader match = field["matchOperator"];
  const Reader lengths = field["prefixLength"];
  if (!cidr.present() || cidr.text().empty()) {
    if (lengths.present()) lengths.refuse("is given without a cidr");
    if (match.present() && !match.text().empty()) match.refuse("is given without a cidr");
    return;
  }
  rule.cidr = cidr.prefix(true);
  if (!rule.cidr) return;
  if (rule.cidr->family() != family) {
    cidr.refuse(cidr.shown() + " is of the other family than its list of rules");
  }
  if (!match.present()) match.refuse("is not given");
  rule.match =
      static_cast<BgpFilterRule::Match>(match.one_of({"Equal", "NotEqual", "In", "NotIn"}, 2));
  rule.least_length = read_length(lengths["min"], family);
  rule.most_length = read_length(lengths["max"], family);
  if (rule.least_length && rule.most_length && *rule.least_length > *rule.most_length) {
    lengths.refuse("min " + std::to_string(*rule.least_length) + " is more than max " +
                   std::to_string(*rule.most_length) + "; no prefix is both");
  } else if (rule.most_length && *rule.most_length < rule.cidr->length) {
    lengths.refuse("max " + std::to_string(*rule.most_length) + " is shorter than " +
                   rule.cidr->to_string() + "; no prefix in it is");
  }
}

BgpFilterOperation read_operation(const Reader& field) {
  using What = BgpFilterOperation::What;
  BgpFilterOperation operation;
  const Reader community = field["addCommunity"], path = field["prependASPath"],
               priority = field["setPriority"];
  if (community.present() + path.present() + priority.present() != 1) {
    field.refuse("is not one of addCommunity, prependASPath and setPriority");
  } else if (community.present()) {
    operation.what = What::add_community;
    operation.community = read_community(community["value"]).value_or(Community{});
  } else if (path.present()) {
    operation.what = What::prepend_as_path;
    operation.as_path = read_as_numbers(path["prefix"]);
  } else {
    operation.priority = static_cast<std::uint32_t>(priority["value"].integer(1, 2147483646, 1));
  }
  return operation;
}

BgpFilterRule read_rule(const Reader& field, net::Family family, bool import) {
  BgpFilterRule rule;
  read_prefix_match(field, family, rule);
  const Reader source = field["source"];
  rule.from_remote_peers = source.one_of({"", "RemotePeers"}, 0) == 1;
  if (rule.from_remote_peers && import) {
    source.refuse("is given for an import; all that is imported is from peers");
  }
  rule.interface = read_pattern(field["interface"]);
  rule.peer_type =
      static_cast<BgpFilterRule::PeerType>(field["peerType"].one_of({"", "eBGP", "iBGP"}, 0));
  if (const auto values = field["communities"]["values"].elements(); !values.empty()) {
    if (values.size() > 1) values[1].refuse("is a second community; Calico allows one");
    rule.community = read_community(values[0]);
  }
  rule.as_path_prefix = read_as_numbers(field["asPathPrefix"]);
  if (const Reader priority = field["priority"]; priority.present()) {
    rule.priority = static_cast<std::uint32_t>(priority.integer(1, 2147483646, 1));
  }
  const Reader action = field["action"];
  if (!action.present()) action.refuse("is not given");
  rule.accept = action.one_of({"Accept", "Reject"}, 1) == 0;
  for (const Reader& element : field["operations"].elements()) {
    if (!rule.accept) element.refuse("is given for a rule that rejects");
    rule.operations.push_back(read_operation(element));
  }
  return rule;
}

std::vector<BgpFilterRule> read_rules(const Reader& field, net::Family family, bool import) {
  std::vector<BgpFilterRule> all;
  for (const Reader& element : field.elements()) {
    all.push_back(read_rule(element, family, import));
  }
  return all;
}

}  // namespace

std::optional<Community> parse_community(std::string_view text) {
  Community community;
  const auto colons = std::ranges::count(text, ':');
  const std::uint64_t most = colons == 2 ? 4294967295 : 65535;
  for (;;) {
    const auto colon = text.find(':');
    const auto part = whole(text.substr(0, colon), most);
    if (!part) return std::nullopt;
    community.parts.push_back(static_cast<std::uint32_t>(*part));
    if (colon == std::string_view::npos) break;
    text.remove_prefix(colon + 1);
  }
  if (colons != 1 && colons != 2) return std::nullopt;
  return community;
}

std::uint32_t read_as_number(const Reader& field) {
  if (!field.present()) return 0;
  if (!field.is_text()) return static_cast<std::uint32_t>(field.integer(0, 4294967295, 0));
  const std::string given = field.text();
  const auto dot = given.find('.');
  if (dot == std::string::npos) {
    if (const auto number = whole(given, 4294967295)) return static_cast<std::uint32_t>(*number);
  } else {
    const auto high = whole(std::string_view(given).substr(0, dot), 65535);
    const auto low = whole(std::string_view(given).substr(dot + 1), 65535);
    if (high && low) return static_cast<std::uint32_t>(*high << 16 | *low);
  }
  field.refuse(field.shown() + " is not an AS number such as 64512 or 1.10");
  return 0;
}

Secret decode_secret(const Reader& object, Meta meta) {
  Secret secret;
  secret.meta = std::move(meta);
  const Reader data = object["data"];
  for (const std::string& key : data.keys()) {
    const Reader field = data[key];
    if (!field.is_text()) {
      field.refuse("is not a string");  // what it is stays unsaid
      continue;
    }
    auto value = decode_base64(field.text());
    if (!value) field.refuse("is not base64");
    secret.values[key] = std::move(value).value_or("");
  }
  const Reader plain = object["stringData"];
  for (const std::string& key : plain.keys()) {
    const Reader field = plain[key];
    if (field.is_text()) {
      secret.values[key] = field.text();
    } else {
      field.refuse("is not a string");
    }
  }
  return secret;
}

BgpConfiguration decode_bgp_configuration(const Reader& object, Meta meta) {
  BgpConfiguration configuration;
  configuration.meta = std::move(meta);
  const Reader spec = object["spec"];
  if (const Reader log = spec["logSeverityScreen"]; log.present()) {
    configuration.log_severity = static_cast<BgpConfiguration::Log>(
        log.one_of({"Debug", "Info", "Warning", "Error", "Fatal"}, 1));
  }
  if (const Reader mesh = spec["nodeToNodeMeshEnabled"]; mesh.present()) {
    configuration.node_mesh = mesh.boolean(true);
  }
  configuration.as_number = read_as_number(spec["asNumber"]);
  configuration.listen_port = spec["listenPort"].port();
  if (const Reader mode = spec["bindMode"]; mode.present()) {
    configuration.bind_node_ip = mode.one_of({"None", "NodeIP"}, 0) == 1;
  }
  configuration.mesh_password = read_password(spec["nodeMeshPassword"]);
  configuration.mesh_restart_seconds = read_seconds(spec["nodeMeshMaxRestartTime"]);
  if (const Reader ignored = spec["ignoredInterfaces"]; ignored.present()) {
    configuration.ignored_interfaces.emplace();
    for (const Reader& element : ignored.elements()) {
      configuration.ignored_interfaces->push_back(read_pattern(element));
    }
  }
  configuration.service_cluster_ips = read_blocks(spec["serviceClusterIPs"]);
  configuration.service_external_ips = read_blocks(spec["serviceExternalIPs"]);
  configuration.service_load_balancer_ips = read_blocks(spec["serviceLoadBalancerIPs"]);
  configuration.aggregate_load_balancer_ips =
      spec["serviceLoadBalancerAggregation"].one_of({"Enabled", "Disabled"}, 0) == 0;
  read_communities(spec, configuration);
  return configuration;
}

BgpPeer decode_bgp_peer(const Reader& object, Meta meta) {
  BgpPeer peer;
  peer.meta = std::move(meta);
  const Reader spec = object["spec"];
  read_peer_ends(spec, peer);
  peer.local_as_number = read_as_number(spec["localASNumber"]);
  peer.password = read_password(spec["password"]);
  peer.source_address = spec["sourceAddress"].one_of({"UseNodeIP", "None"}, 0) == 0;
  peer.keepalive_seconds = read_seconds(spec["keepaliveTime"]);
  peer.restart_seconds = read_seconds(spec["maxRestartTime"]);
  peer.next_hop =
      static_cast<BgpPeer::NextHop>(spec["nextHopMode"].one_of({"Auto", "Self", "Keep"}, 0));
  peer.keep_original_next_hop = spec["keepOriginalNextHop"].boolean(false);
  if (peer.keep_original_next_hop && peer.next_hop == BgpPeer::NextHop::self) {
    spec["nextHopMode"].refuse("is \"Self\" although spec.keepOriginalNextHop is true");
  }
  peer.allowed_local_as =
      static_cast<std::uint8_t>(spec["numAllowedLocalASNumbers"].integer(0, 255, 0));
  if (const Reader hops = spec["ttlSecurity"]; hops.present()) {
    peer.ttl_security_hops = static_cast<std::uint8_t>(hops.integer(1, 255, 1));
  }
  const Reader by = spec["reachableBy"];
  if (by.present() && !by.text().empty()) peer.reachable_by = by.address();
  if (peer.reachable_by && peer.peer_ip && peer.reachable_by->family() != peer.peer_ip->family()) {
    by.refuse(by.shown() + " is of the other family than spec.peerIP");
  }
  peer.filters = spec["filters"].text_list();
  peer.bfd = spec["failureDetectionMode"].one_of({"None", "BFDIfDirectlyConnected"}, 0) == 1;
  return peer;
}

BgpFilter decode_bgp_filter(const Reader& object, Meta meta) {
  BgpFilter filter;
  filter.meta = std::move(meta);
  const Reader spec = object["spec"];
  filter.export_v4 = read_rules(spec["exportV4"], net::Family::v4, false);
  filter.import_v4 = read_rules(spec["importV4"], net::Family::v4, true);
  filter.export_v6 = read_rules(spec["exportV6"], net::Family::v6, false);
  filter.import_v6 = read_rules(spec["importV6"], net::Family::v6, true);
  return filter;
}

}  // namespace podwire::control::kube
