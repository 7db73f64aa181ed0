#include "tests/policy/history.h"

#include <algorithm>
#include <array>
#include <memory>
#include <nlohmann/json.hpp>

#include "control/kube/decode.h"

namespace podwire::tests {
namespace {

using control::build::Cluster;
using nlohmann::json;

struct PodName {
  const char* ns;
  const char* name;
  bool local;
  std::vector<std::string> ips;  // none: a random one of all
};
const std::vector<PodName> kPods{
    {"a", "p0", true, {"10.1.0.1", "fd01::1"}},
    {"a", "p1", true, {"10.1.0.2"}},
    {"b", "p0", true, {"10.1.0.3", "fd01::3"}},
    {"a", "r0", false, {"10.2.0.1", "fd02::1"}},
    {"b", "r0", false, {"10.2.0.2", "fd02::2"}},
    {"b", "r1", false, {}},
    {"c", "r0", false, {"10.2.0.3"}},
};
const std::vector<std::string> kAddresses{
    "10.1.0.1", "10.1.0.2", "10.1.0.3", "10.2.0.1", "10.2.0.2", "10.2.0.3", "10.2.0.9",
    "8.8.8.8",  "fd01::1",  "fd01::3",  "fd02::1",  "fd02::2",  "fd02::9",  "2001:db8::8"};
const std::vector<std::string> kBlocks{"0.0.0.0/0",   "10.0.0.0/8",  "10.1.0.0/16", "10.1.0.2/31",
                                       "10.2.0.0/30", "10.2.0.2/32", "8.8.8.0/24",  "::/0",
                                       "fd01::/64",   "fd02::/126",  "fd02::2/128"};
const std::vector<std::string> kNames{"http", "dns"};

// Makes objects as the API has them: what is decoded is what is tested.
class Maker {
 public:
  explicit Maker(std::uint64_t seed) : random_(seed) {}

  Step step();

 private:
  unsigned pick(std::size_t n) { return static_cast<unsigned>(random_() % n); }
  bool chance(unsigned of) { return pick(of) == 0; }
  template <typename T>
  const T& one_of(const std::vector<T>& all) {
    return all[pick(all.size())];
  }
  std::vector<json> some(unsigned least, unsigned most, const std::function<json()>& make) {
    std::vector<json> list;
    for (unsigned n = least + pick(most - least + 1); n > 0; --n) list.push_back(make());
    return list;
  }

  json labels();
  json selector();
  json port();
  json cluster_port(bool may_name);
  json peer();
  json cluster_peer(bool egress);
  json rule(const char* peers);
  json cluster_rule(bool egress);
  Step pod();
  Step name_space();
  Step network_policy();
  Step cluster_policy();
  Step attachment();
  Step put(const json& object, const std::string& version);

  std::mt19937_64 random_;
};

json Maker::labels() {
  json all = json::object();
  for (const char* key : {"app", "tier"}) {
    if (!chance(3)) all[key] = std::string(1, static_cast<char>('x' + pick(2)));
  }
  return all;
}

json Maker::selector() {
  json selector = json::object();
  if (chance(3)) return selector;
  if (chance(2)) selector["matchLabels"] = labels();
  if (chance(3)) {
    static const std::vector<std::string> kOperators{"In", "NotIn", "Exists", "DoesNotExist"};
    json requirement{{"key", chance(2) ? "app" : "tier"}, {"operator", one_of(kOperators)}};
    if (requirement["operator"] == "In" || requirement["operator"] == "NotIn") {
      requirement["values"] = {chance(2) ? "x" : "y"};
    }
    selector["matchExpressions"] = {requirement};
  }
  return selector;
}

json Maker::port() {
  static const std::vector<std::string> kProtocols{"TCP", "TCP", "UDP", "SCTP"};
  json port{{"protocol", one_of(kProtocols)}};
  if (chance(4)) return port;
  if (chance(2)) {
    port["port"] = one_of(kNames);
    return port;
  }
  port["port"] = 1 + pick(3);
  if (chance(3)) port["endPort"] = port["port"].get<unsigned>() + pick(2);
  return port;
}

json Maker::cluster_port(bool may_name) {
  if (may_name && chance(3)) return {{"destinationNamedPort", one_of(kNames)}};
  static const std::vector<std::string> kProtocols{"tcp", "tcp", "udp", "sctp"};
  json match = json::object();
  if (chance(3)) {
    const unsigned start = 1 + pick(2);
    match["destinationPort"]["range"] = {{"start", start}, {"end", start + 1}};
  } else if (!chance(4)) {
    match["destinationPort"]["number"] = 1 + pick(3);
  }
  return {{one_of(kProtocols), match}};
}

json Maker::peer() {
  json peer = json::object();
  if (chance(3)) {
    const std::string cidr = one_of(kBlocks);
    peer["ipBlock"]["cidr"] = cidr;
    for (const std::string& except : kBlocks) {
      const auto inner = *net::Prefix::parse(except), outer = *net::Prefix::parse(cidr);
      if (except == cidr || !outer.contains(inner) || !chance(3)) continue;
      peer["ipBlock"]["except"].push_back(except);
    }
    return peer;
  }
  if (chance(2)) peer["namespaceSelector"] = selector();
  if (peer.empty() || chance(2)) peer["podSelector"] = selector();
  return peer;
}

json Maker::cluster_peer(bool egress) {
  if (chance(16)) return chance(2) ? json::object() : json{{"nodes", json::object()}};
  if (egress && chance(3)) {
    json list = json::array({one_of(kBlocks)});
    if (chance(3)) list.push_back(one_of(kBlocks));
    return {{"networks", list}};
  }
  if (chance(2)) return {{"namespaces", selector()}};
  return {{"pods", {{"namespaceSelector", selector()}, {"podSelector", selector()}}}};
}

json Maker::rule(const char* peers) {
  json rule = json::object();
  if (!chance(4)) rule[peers] = some(0, 2, [&] { return peer(); });
  if (!chance(3)) rule["ports"] = some(0, 2, [&] { return port(); });
  return rule;
}

json Maker::cluster_rule(bool egress) {
  static const std::vector<std::string> kActions{"Accept", "Deny", "Pass"};
  json rule{{"action", one_of(kActions)}};
  json& peers = rule[egress ? "to" : "from"];
  bool networks = false;
  peers = some(1, 2, [&] { return cluster_peer(egress); });
  for (const json& peer : peers) networks |= peer.contains("networks");
  if (chance(2)) rule["protocols"] = some(1, 2, [&] { return cluster_port(!networks); });
  return rule;
}

std::string dump(const json& object) {
  return object.dump();
}

// A version that is wrong is put as a source without a last right one does.
Step Maker::put(const json& object, const std::string& version) {
  json whole = object;
  whole["apiVersion"] = version;
  auto decoded = control::kube::decode_object(whole);
  const auto made = decoded ? std::make_shared<const control::kube::Object>(std::move(*decoded))
                            : decoded.error().stand_in;
  if (made == nullptr) return {"nothing", [](Cluster&) {}};
  return {"put " + dump(whole), [made](Cluster& c) { c.writer.put(*made); }};
}

Step Maker::pod() {
  const PodName& name = one_of(kPods);
  const std::string full = std::string(name.ns) + "/" + name.name;
  if (chance(5)) {
    return {"remove Pod " + full,
            [full](Cluster& c) { c.writer.remove(control::kube::Kind::pod, full); }};
  }
  json pod{{"kind", "Pod"},
           {"metadata", {{"name", name.name}, {"namespace", name.ns}, {"labels", labels()}}},
           {"spec", {{"nodeName", name.local ? "n1" : "n2"}}}};
  if (chance(10)) pod["metadata"]["deletionTimestamp"] = "2026-11-23T00:00:00Z";
  json ports = json::array();
  for (const std::string& port : kNames) {
    if (chance(3)) continue;
    ports.push_back(
        {{"name", port}, {"containerPort", 1 + pick(3)}, {"protocol", chance(3) ? "UDP" : "TCP"}});
  }
  pod["spec"]["containers"] = {{{"name", "c"}, {"ports", ports}}};
  if (!name.local && chance(10)) pod["spec"]["hostNetwork"] = true;
  if (chance(10)) pod["status"]["phase"] = "Failed";
  if (chance(8)) return put(pod, "v1");  // no address yet
  json& ips = pod["status"]["podIPs"];
  for (const std::string& ip : name.ips) ips.push_back({{"ip", ip}});
  if (name.ips.empty()) ips.push_back({{"ip", one_of(kAddresses)}});
  return put(pod, "v1");
}

Step Maker::name_space() {
  static const std::vector<std::string> kNamespaces{"a", "b", "c"};
  const std::string name = one_of(kNamespaces);
  if (chance(4)) {
    return {"remove Namespace " + name,
            [name](Cluster& c) { c.writer.remove(control::kube::Kind::name_space, name); }};
  }
  return put({{"kind", "Namespace"}, {"metadata", {{"name", name}, {"labels", labels()}}}}, "v1");
}

Step Maker::network_policy() {
  const std::string ns = chance(3) ? "b" : "a", name = "n" + std::to_string(pick(3));
  if (chance(3)) {
    const std::string full = ns + "/" + name;
    return {"remove NetworkPolicy " + full,
            [full](Cluster& c) { c.writer.remove(control::kube::Kind::network_policy, full); }};
  }
  json spec{{"podSelector", selector()}};
  if (!chance(3)) spec["ingress"] = some(0, 2, [&] { return rule("from"); });
  if (chance(2)) spec["egress"] = some(0, 2, [&] { return rule("to"); });
  if (chance(4)) spec["policyTypes"] = {chance(2) ? "Ingress" : "Egress"};
  if (chance(30)) spec["ingress"].push_back({{"ports", {{{"port", 0}}}}});
  return put({{"kind", "NetworkPolicy"},
              {"metadata", {{"name", name}, {"namespace", ns}}},
              {"spec", spec}},
             "networking.k8s.io/v1");
}

Step Maker::cluster_policy() {
  const std::string name = "g" + std::to_string(pick(4));
  if (chance(3)) {
    return {"remove ClusterNetworkPolicy " + name, [name](Cluster& c) {
              c.writer.remove(control::kube::Kind::cluster_network_policy, name);
            }};
  }
  json spec{{"tier", chance(2) ? "Admin" : "Baseline"}, {"priority", pick(3)}};
  if (chance(2)) {
    spec["subject"]["namespaces"] = selector();
  } else {
    spec["subject"]["pods"] = {{"namespaceSelector", selector()}, {"podSelector", selector()}};
  }
  if (!chance(3)) spec["ingress"] = some(0, 3, [&] { return cluster_rule(false); });
  if (!chance(3)) spec["egress"] = some(0, 3, [&] { return cluster_rule(true); });
  if (chance(30)) spec["priority"] = 1001;
  return put({{"kind", "ClusterNetworkPolicy"}, {"metadata", {{"name", name}}}, {"spec", spec}},
             "policy.networking.k8s.io/v1alpha2");
}

Step Maker::attachment() {
  const PodName& name = kPods[pick(3)];
  const std::string full = std::string(name.ns) + "/" + name.name;
  if (chance(4)) return {"detach " + full, [full](Cluster& c) { c.detach(full); }};
  return {"attach " + full, [full, ips = name.ips](Cluster& c) {
            c.detach(full);
            c.attach(full, ips);
          }};
}

Step Maker::step() {
  switch (pick(8)) {
    case 0:
    case 1:
      return pod();
    case 2:
      return name_space();
    case 3:
    case 4:
      return network_policy();
    case 5:
    case 6:
      return cluster_policy();
    default:
      return attachment();
  }
}

std::string to_string(const Question& q) {
  return q.source.to_string() + " to " + q.destination.to_string() + " " +
         std::to_string(q.protocol) + "/" + std::to_string(q.port) +
         (q.from_own_node ? " from the own node" : "");
}

bool table_allows(const tables::PolicyTable& table, const Question& q) {
  return table.judge({q.source, q.destination, net::be16(q.port), q.protocol, q.from_own_node})
      .allowed;
}

// The same objects at once, with a builder that has seen nothing before.
std::shared_ptr<const tables::PolicyTable> built_at_once(const Cluster& from) {
  Cluster fresh;
  const control::Store& store = from.store;
  for (const auto& [name, object] : store.namespaces) fresh.writer.put(object);
  for (const auto& [name, object] : store.pods) fresh.writer.put(object);
  for (const auto& [name, object] : store.network_policies) fresh.writer.put(object);
  for (const auto& [name, object] : store.cluster_network_policies) fresh.writer.put(object);
  fresh.attachments = from.attachments;
  return fresh.build().policies;
}

}  // namespace

History random_history(std::uint64_t seed) {
  Maker maker(seed);
  std::mt19937_64 random(seed ^ 0x9e3779b97f4a7c15U);
  History history;
  // The pods of this node first: without them nothing is judged.
  for (int n = 0; n < 3; ++n) {
    const PodName& name = kPods[static_cast<std::size_t>(n)];
    const std::string full = std::string(name.ns) + "/" + name.name;
    history.push_back({"attach " + full, [full, ips = name.ips](Cluster& c) {
                         c.detach(full);
                         c.attach(full, ips);
                       }});
  }
  for (auto steps = 15 + random() % 25; steps > 0; --steps) {
    history.push_back(maker.step());
    history.back().build = random() % 3 != 0;
  }
  return history;
}

std::vector<Question> all_questions() {
  static const std::vector<std::pair<std::uint8_t, std::uint16_t>> kPlaces{
      {6, 1}, {6, 2}, {6, 3}, {17, 1}, {17, 2}, {132, 1}, {1, 0}};
  std::vector<Question> all;
  for (const std::string& source : kAddresses) {
    for (const std::string& destination : kAddresses) {
      const auto from = control::build::ip(source), to = control::build::ip(destination);
      const bool local = source.find(".1.") != std::string::npos || source.starts_with("fd01") ||
                         destination.find(".1.") != std::string::npos ||
                         destination.starts_with("fd01");
      if (from.family() != to.family() || !local) continue;
      for (const auto& [protocol, port] : kPlaces) all.push_back({from, to, protocol, port, false});
      all.push_back({from, to, 6, 1, true});
    }
  }
  return all;
}

std::string difference(const History& history) {
  static const std::vector<Question> kQuestions = all_questions();
  Cluster cluster;
  std::vector<bool> last;
  std::uint32_t generation = 0;
  std::string unnoticed;
  const auto build = [&] {
    const auto& snapshot = cluster.build();
    std::vector<bool> now;
    for (const Question& q : kQuestions) now.push_back(table_allows(*snapshot.policies, q));
    const auto other = std::mismatch(last.begin(), last.end(), now.begin()).first - last.begin();
    if (snapshot.policy_generation == generation && other != std::ssize(last)) {
      unnoticed = to_string(kQuestions[static_cast<std::size_t>(other)]) +
                  ": the answer changed, the policy generation did not";
    }
    last = std::move(now);
    generation = snapshot.policy_generation;
  };
  for (const Step& step : history) {
    step.apply(cluster);
    if (step.build) build();
  }
  build();
  if (!unnoticed.empty()) return unnoticed;
  const auto grown = cluster.built.snapshot->policies;
  const auto fresh = built_at_once(cluster);
  std::map<net::Address, std::string> attached;
  for (const auto& a : cluster.attachments) {
    for (const auto& ip : a.ips) attached[ip] = a.pod;
  }
  const Evaluator evaluator(cluster.store, std::move(attached));
  for (const Question& question : kQuestions) {
    const bool step_by_step = table_allows(*grown, question);
    const bool at_once = table_allows(*fresh, question);
    const bool plain = evaluator.allows(question);
    if (step_by_step == plain && at_once == plain) continue;
    const auto word = [](bool allowed) { return allowed ? "allowed" : "denied"; };
    return to_string(question) + ": " + word(plain) + " by the API, " + word(at_once) +
           " by a table built at once, " + word(step_by_step) + " by one built step by step";
  }
  return {};
}

History shortened(History history) {
  bool shorter = true;
  while (shorter) {
    shorter = false;
    for (std::size_t n = history.size(); n-- > 0;) {
      History without = history;
      without.erase(without.begin() + static_cast<std::ptrdiff_t>(n));
      if (difference(without).empty()) continue;
      history = std::move(without);
      shorter = true;
    }
  }
  return history;
}

std::string to_string(const History& history) {
  std::string text;
  for (const Step& step : history) text += step.what + (step.build ? "\nbuild\n" : "\n");
  return text;
}

}  // namespace podwire::tests
