#include "bench/verdict/cluster.h"

#include <set>
#include <string>

#include "control/build/policies.h"
#include "control/store_writer.h"

namespace podwire::bench {

namespace kube = control::kube;

namespace {

constexpr unsigned kBits = 9;
constexpr const char* kNamespace = "shop";

std::string number(const char* what, unsigned n) {
  return what + std::to_string(n);
}

kube::Selector with(const std::string& label, const std::string& value) {
  kube::Selector selector;
  selector.match_labels[label] = value;
  return selector;
}

}  // namespace

Cluster::Cluster(const ClusterSize& size) : size_(size) {}

net::Address Cluster::address(unsigned pod) {
  return net::Address::from_v4(net::be32(0x0a000001 + pod));
}

bool Cluster::selects(unsigned policy, unsigned pod) const {
  if (pod >= size_.local) return false;
  if (policy < kBits) return ((pod >> policy) & 1U) != 0;
  return policy == kBits || policy % size_.local == pod;
}

Cluster::Grants Cluster::grants(unsigned policy) const {
  return {policy * 7 % groups(), policy * 331 % namespaces(),
          net::Prefix::around(net::Address::from_v4(net::be32(0xc0000000 + policy * 256)), 24),
          static_cast<std::uint16_t>(kFirstPort + policy % kPorts)};
}

kube::Pod Cluster::pod(unsigned n) const {
  kube::Pod pod;
  const bool local = n < size_.local;
  pod.meta.ns = local ? kNamespace : number("ns-", (n - size_.local) % namespaces());
  pod.meta.name = number("pod-", n);
  pod.meta.labels = {{"pod", number("", n)}};
  if (local) pod.meta.labels["group"] = number("", n % groups());
  for (unsigned bit = 0; bit < kBits; ++bit) {
    if (selects(bit, n)) pod.meta.labels[number("bit-", bit)] = "";
  }
  pod.node_name = local ? "n1" : "n2";
  pod.ips = {address(n)};
  return pod;
}

kube::NetworkPolicy Cluster::policy(unsigned n) const {
  kube::NetworkPolicy policy;
  policy.meta.ns = kNamespace;
  policy.meta.name = number("policy-", n);
  if (n < kBits) policy.pod_selector = with(number("bit-", n), "");
  if (n > kBits) policy.pod_selector = with("pod", number("", n % size_.local));
  const Grants grants = this->grants(n);
  kube::PolicyRule rule;
  rule.peers.push_back({with("group", number("", grants.group)), std::nullopt, std::nullopt});
  rule.peers.push_back(
      {std::nullopt, with("kubernetes.io/metadata.name", number("ns-", grants.ns)), std::nullopt});
  rule.peers.push_back({std::nullopt, std::nullopt, kube::IpBlock{grants.block, {}}});
  rule.ports.push_back({6, kube::IntOrString{grants.port, {}}, 0});
  policy.ingress = policy.egress = {rule};
  policy.isolates_egress = true;
  return policy;
}

std::shared_ptr<const tables::PolicyTable> Cluster::table() const {
  control::Store store;
  control::StoreWriter writer(store);
  std::vector<control::Attachment> attachments;
  for (unsigned n = 0; n <= namespaces(); ++n) {
    kube::Namespace ns;
    ns.meta.name = n == namespaces() ? kNamespace : number("ns-", n);
    writer.put(std::move(ns));
  }
  for (unsigned n = 0; n < size_.pods; ++n) writer.put(pod(n));
  for (unsigned n = 0; n < size_.policies; ++n) writer.put(policy(n));
  for (unsigned n = 0; n < size_.local; ++n) {
    control::Attachment& attachment = attachments.emplace_back();
    attachment.pod = number("shop/pod-", n);
    attachment.ips = {address(n)};
  }
  const control::Changes changes = writer.take_changes();
  const control::LinuxState linux_state;
  control::build::PoliciesBuilder builder;
  return builder
      .build({store, changes, attachments, true, linux_state, false, nullptr, nullptr, {}})
      .table;
}

std::vector<Allowed> Cluster::allowed() const {
  std::set<Allowed> all;
  const auto allow = [&](unsigned pod, const net::Prefix& peers, std::uint16_t port) {
    for (const bool ingress : {false, true}) all.insert({ingress, pod, peers, port});
  };
  for (unsigned n = 0; n < size_.policies; ++n) {
    const Grants grants = this->grants(n);
    for (unsigned pod = 0; pod < size_.local; ++pod) {
      if (!selects(n, pod)) continue;
      allow(pod, grants.block, grants.port);
      for (unsigned peer = grants.group; peer < size_.local; peer += groups()) {
        allow(pod, net::Prefix::around(address(peer), 32), grants.port);
      }
      for (unsigned peer = size_.local + grants.ns; peer < size_.pods; peer += namespaces()) {
        allow(pod, net::Prefix::around(address(peer), 32), grants.port);
      }
    }
  }
  return {all.begin(), all.end()};
}

}  // namespace podwire::bench
