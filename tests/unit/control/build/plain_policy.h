// NetworkPolicy read plainly, object by object, with nothing kept and nothing compiled; and random
// clusters to hold the builder against it.
#pragma once

#include <random>
#include <tuple>

#include "tests/unit/control/build/cluster.h"

namespace podwire::control::build {

struct Question {
  net::Address source, destination;
  std::uint16_t port = 0;
  std::uint8_t protocol = 6;
  bool own_node = false;
  auto operator<=>(const Question&) const = default;
};

inline bool plain_selects(const kube::Selector& selector, const kube::Labels& labels) {
  for (const auto& [key, value] : selector.match_labels) {
    const auto found = labels.find(key);
    if (found == labels.end() || found->second != value) return false;
  }
  for (const kube::Requirement& r : selector.match_expressions) {
    const auto found = labels.find(r.key);
    const bool exists = found != labels.end();
    const bool among = exists && std::count(r.values.begin(), r.values.end(), found->second) > 0;
    using Operator = kube::Requirement::Operator;
    const bool holds = r.op == Operator::in       ? among
                       : r.op == Operator::not_in ? !among
                       : r.op == Operator::exists ? exists
                                                  : !exists;
    if (!holds) return false;
  }
  return true;
}

// The pod that has the address: the attached one where there is one.
inline const kube::Pod* plain_pod(const Cluster& c, const net::Address& address) {
  for (const Attachment& a : c.attachments) {
    if (std::count(a.ips.begin(), a.ips.end(), address) == 0) continue;
    const auto found = c.store.pods.find(a.pod);
    const bool fits =
        found != c.store.pods.end() && !found->second.finished && !found->second.host_network;
    return fits ? &found->second : nullptr;
  }
  for (const auto& [name, pod] : c.store.pods) {
    if (pod.finished || pod.host_network) continue;
    if (std::count(pod.ips.begin(), pod.ips.end(), address) > 0) return &pod;
  }
  return nullptr;
}

inline bool plain_peer(const Cluster& c, const kube::NetworkPolicy& policy,
                       const kube::PolicyPeer& peer, const net::Address& address) {
  if (peer.ip_block) {
    if (!peer.ip_block->cidr.contains(address)) return false;
    for (const net::Prefix& except : peer.ip_block->except) {
      if (except.contains(address)) return false;
    }
    return true;
  }
  const kube::Pod* pod = plain_pod(c, address);
  if (pod == nullptr) return false;
  if (peer.namespace_selector) {
    kube::Labels labels;
    if (const auto ns = c.store.namespaces.find(pod->meta.ns); ns != c.store.namespaces.end()) {
      labels = ns->second.meta.labels;
    }
    labels["kubernetes.io/metadata.name"] = pod->meta.ns;
    if (!plain_selects(*peer.namespace_selector, labels)) return false;
  } else if (pod->meta.ns != policy.meta.ns) {
    return false;
  }
  return !peer.pod_selector || plain_selects(*peer.pod_selector, pod->meta.labels);
}

inline bool plain_port(const kube::PolicyPort& port, const kube::Pod* target, const Question& q) {
  if (port.protocol != q.protocol) return false;
  if (!port.port) return true;
  if (port.port->name.empty()) {
    const std::uint16_t last = std::max(port.port->number, port.end_port);
    return port.port->number <= q.port && q.port <= last;
  }
  if (target == nullptr) return false;
  for (const kube::ContainerPort& p : target->ports) {
    if (p.name == port.port->name && p.protocol == port.protocol) return p.port == q.port;
  }
  return false;
}

inline bool plain_side(const Cluster& c, const Question& q, bool egress) {
  const net::Address& subject_ip = egress ? q.source : q.destination;
  const net::Address& peer_ip = egress ? q.destination : q.source;
  const Attachment* attachment = nullptr;
  for (const Attachment& a : c.attachments) {
    if (std::count(a.ips.begin(), a.ips.end(), subject_ip) > 0) attachment = &a;
  }
  if (attachment == nullptr) return true;
  const auto subject = c.store.pods.find(attachment->pod);
  if (subject == c.store.pods.end()) return false;
  const kube::Pod* target = plain_pod(c, q.destination);
  if (!egress) target = &subject->second;
  bool isolated = false;
  for (const auto& [name, policy] : c.store.network_policies) {
    if (policy.meta.ns != subject->second.meta.ns) continue;
    if (!plain_selects(policy.pod_selector, subject->second.meta.labels)) continue;
    if (!(egress ? policy.isolates_egress : policy.isolates_ingress)) continue;
    isolated = true;
    for (const kube::PolicyRule& rule : egress ? policy.egress : policy.ingress) {
      bool peer = rule.peers.empty(), port = rule.ports.empty();
      for (const auto& p : rule.peers) peer = peer || plain_peer(c, policy, p, peer_ip);
      for (const auto& p : rule.ports) port = port || plain_port(p, target, q);
      if (peer && port) return true;
    }
  }
  return !isolated;
}

inline bool plain_judge(const Cluster& c, const Question& q) {
  if (q.source == q.destination) return true;
  return plain_side(c, q, true) && (q.own_node || plain_side(c, q, false));
}

// Few names and addresses, so that everything meets everything.
struct RandomCluster {
  Cluster cluster;
  std::mt19937 random;

  explicit RandomCluster(unsigned seed) : random(seed) {}

  unsigned pick(unsigned n) { return static_cast<unsigned>(random() % n); }
  bool chance(unsigned of) { return pick(of) == 0; }
  std::string ns() { return "ns" + std::to_string(pick(3)); }
  kube::Labels labels() {
    kube::Labels all;
    for (const char* key : {"app", "tier"}) {
      if (chance(2)) all[key] = std::string(1, static_cast<char>('a' + pick(3)));
    }
    return all;
  }
  kube::Selector selector() {
    kube::Selector s;
    if (chance(3)) return s;
    s.match_labels = labels();
    if (chance(3)) {
      s.match_expressions.push_back(
          {"app", static_cast<kube::Requirement::Operator>(pick(4)), {"a", "b"}});
    }
    return s;
  }
  net::Address address() {
    if (chance(4)) return ip("fd01::" + std::to_string(1 + pick(8)));
    if (chance(6)) return ip("172.16.0." + std::to_string(pick(4)));
    return ip("10.1." + std::to_string(pick(2)) + "." + std::to_string(pick(8)));
  }
  net::Prefix block() {
    const net::Address a = address();
    static constexpr std::array<std::uint8_t, 5> kLengths{0, 15, 16, 24, 30};
    const std::uint8_t length = kLengths[pick(5)];
    return net::Prefix::around(a, chance(4)
                                      ? net::Prefix::host(a).length
                                      : static_cast<std::uint8_t>(a.is_v4() ? length : length * 4));
  }
  kube::PolicyRule rule() {
    kube::PolicyRule r;
    for (unsigned n = pick(3); n > 0; --n) {
      kube::PolicyPeer peer;
      if (chance(2)) {
        peer.ip_block = kube::IpBlock{block(), {}};
        for (unsigned e = pick(3); e > 0; --e) peer.ip_block->except.push_back(block());
      } else {
        if (chance(2)) peer.namespace_selector = selector();
        if (!peer.namespace_selector || chance(2)) peer.pod_selector = selector();
      }
      r.peers.push_back(std::move(peer));
    }
    for (unsigned n = pick(3); n > 0; --n) {
      kube::PolicyPort port;
      port.protocol = chance(3) ? 17 : 6;
      if (!chance(4)) {
        port.port.emplace();
        if (chance(2)) {
          port.port->name = chance(2) ? "http" : "dns";
        } else {
          port.port->number = static_cast<std::uint16_t>(1 + pick(4));
          if (chance(3)) port.end_port = static_cast<std::uint16_t>(port.port->number + pick(3));
        }
      }
      r.ports.push_back(std::move(port));
    }
    return r;
  }
  kube::NetworkPolicy policy(const std::string& name) {
    kube::NetworkPolicy p;
    p.meta.ns = ns();
    p.meta.name = name;
    p.pod_selector = selector();
    p.isolates_ingress = !chance(4);
    p.isolates_egress = chance(2);
    for (unsigned n = pick(3); n > 0; --n) p.ingress.push_back(rule());
    for (unsigned n = pick(3); n > 0; --n) p.egress.push_back(rule());
    return p;
  }
  kube::Pod pod(const std::string& pod_ns, const std::string& name) {
    kube::Pod p;
    p.meta.ns = pod_ns;
    p.meta.name = name;
    p.meta.labels = labels();
    p.host_network = chance(10);
    p.finished = chance(10);
    for (const char* port : {"http", "dns"}) {
      if (chance(2)) {
        p.ports.push_back({port, static_cast<std::uint16_t>(1 + pick(4)),
                           static_cast<std::uint8_t>(chance(3) ? 17 : 6)});
      }
    }
    return p;
  }
  // An address that no other pod claims: whose it is when two do is Builder's own affair.
  bool is_free(const net::Address& a) {
    for (const auto& [name, p] : cluster.store.pods) {
      if (std::count(p.ips.begin(), p.ips.end(), a) > 0) return false;
    }
    for (const Attachment& attachment : cluster.attachments) {
      if (std::count(attachment.ips.begin(), attachment.ips.end(), a) > 0) return false;
    }
    return true;
  }

  void change() {
    for (unsigned n = chance(2) ? 1 : 1 + pick(3); n > 0; --n) change_one();
  }
  void change_one() {
    const std::string pod_ns = ns(), pod_name = "pod" + std::to_string(pick(5));
    const std::string full = pod_ns + "/" + pod_name;
    switch (pick(7)) {
      case 0:
      case 1: {
        kube::Pod p = pod(pod_ns, pod_name);
        const auto old = cluster.store.pods.find(full);
        if (old != cluster.store.pods.end()) {
          p.ips = old->second.ips;
        } else if (const net::Address a = address(); is_free(a)) {
          p.ips = {a};
        }
        cluster.writer.put(std::move(p));
        break;
      }
      case 2:
        cluster.writer.remove(kube::Kind::pod, full);
        break;
      case 3: {
        kube::Namespace n;
        n.meta.name = ns();
        n.meta.labels = labels();
        cluster.writer.put(std::move(n));
        break;
      }
      case 4: {
        const std::string name = "p" + std::to_string(pick(6));
        for (const char* each : {"ns0", "ns1", "ns2"}) {
          cluster.writer.remove(kube::Kind::network_policy, std::string(each) + "/" + name);
        }
        if (!chance(4)) cluster.writer.put(policy(name));
        break;
      }
      case 5: {
        const auto known = cluster.store.pods.find(full);
        std::vector<net::Address> ips;
        if (known != cluster.store.pods.end()) ips = known->second.ips;
        if (ips.empty()) {
          const net::Address a = address();
          if (!is_free(a)) break;
          ips = {a};
        }
        cluster.detach(full);
        cluster.attach(full, {}).ips = ips;
        break;
      }
      default:
        cluster.detach(full);
        break;
    }
  }
  std::vector<Question> questions() {
    std::vector<Question> all;
    for (int n = 0; n < 300; ++n) {
      Question q{address(), address(), static_cast<std::uint16_t>(pick(7)),
                 static_cast<std::uint8_t>(chance(3) ? 17 : 6), chance(8)};
      if (chance(8)) q.protocol = 1, q.port = 0;
      if (!cluster.attachments.empty() && chance(2)) {
        const auto& ips =
            cluster.attachments[pick(static_cast<unsigned>(cluster.attachments.size()))].ips;
        if (!ips.empty()) (chance(2) ? q.source : q.destination) = ips.front();
      }
      all.push_back(q);
    }
    return all;
  }
};

}  // namespace podwire::control::build
