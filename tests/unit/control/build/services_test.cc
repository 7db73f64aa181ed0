#include <gtest/gtest.h>

#include "tests/lib/protocols.h"
#include "tests/unit/control/build/cluster.h"

namespace podwire::control::build {
namespace {

using tables::Frontend;
using tables::FrontendKind;

const char* kBase = R"(
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}, {type: InternalIP, address: 'fd99::1'}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: LoadBalancer
  clusterIPs: [10.96.0.10, 'fd96::10']
  ipFamilies: [IPv4, IPv6]
  externalIPs: [203.0.113.5]
  loadBalancerSourceRanges: [198.51.100.0/24]
  ports:
  - {name: http, port: 80, nodePort: 30080}
  - {name: dns, port: 53, protocol: UDP, nodePort: 30053}
status: {loadBalancer: {ingress: [{ip: 203.0.113.9}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-a, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: dns, port: 5353, protocol: UDP}]
endpoints:
- {addresses: [10.1.0.2], nodeName: n1, conditions: {ready: true}}
- {addresses: [10.2.0.2], nodeName: n2, conditions: {ready: true}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-b, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 9090}]
endpoints:
- {addresses: [10.2.0.3], nodeName: n2, conditions: {ready: true}}
)";

class Services : public testing::Test {
 protected:
  Services() { cluster.apply(kBase); }
  const Frontend* find(const std::string& address, std::uint16_t port,
                       std::uint8_t protocol = kTcp) {
    table = cluster.build().services;
    return table->frontends.find({ip(address), net::be16(port), protocol});
  }
  // "10.1.0.2:8080*" with a star for local ones.
  static std::string text(const std::vector<tables::Backend>& backends) {
    std::string all;
    for (const auto& b : backends) {
      all += (all.empty() ? "" : " ") + b.address.to_string() + ":" +
             std::to_string(b.port.host()) + (b.local ? "*" : "");
    }
    return all;
  }
  kube::Service& service() { return changed = cluster.store.services.at("shop/web"); }
  void put() { cluster.writer.put(changed); }
  Cluster cluster;
  kube::Service changed;
  std::shared_ptr<const tables::ServiceTable> table;
};

TEST_F(Services, SlicesJoinByPortNameAndProtocolWithTheirOwnNumbers) {
  const Frontend* http = find("10.96.0.10", 80);
  ASSERT_NE(http, nullptr);
  EXPECT_EQ(text(http->service->cluster), "10.1.0.2:8080* 10.2.0.2:8080 10.2.0.3:9090");
  const Frontend* dns = find("10.96.0.10", 53, kUdp);
  ASSERT_NE(dns, nullptr);
  EXPECT_EQ(text(dns->service->cluster), "10.1.0.2:5353* 10.2.0.2:5353");
  EXPECT_EQ(find("10.96.0.10", 53, kTcp), nullptr);
  EXPECT_TRUE(table->is_cluster_ip(ip("10.96.0.10")));
  EXPECT_FALSE(table->is_cluster_ip(ip("203.0.113.5")));
}

TEST_F(Services, EachKindOfFrontendIsThereInItsFamily) {
  EXPECT_EQ(find("203.0.113.5", 80)->kind, FrontendKind::external_ip);
  EXPECT_EQ(find("203.0.113.9", 80)->kind, FrontendKind::load_balancer);
  EXPECT_EQ(find("0.0.0.0", 30080)->kind, FrontendKind::node_port);
  const Frontend* v6 = find("::", 30080);
  ASSERT_NE(v6, nullptr);
  EXPECT_TRUE(v6->service->cluster.empty());  // no slice of that family
  EXPECT_FALSE(v6->service->has_any_endpoint);
  EXPECT_NE(find("fd96::10", 80), nullptr);
  EXPECT_EQ(table->node_port_addresses, (std::vector{ip("169.254.1.2"), ip("192.168.0.1"),
                                                     ip("fd3b:7c41:9e02::1"), ip("fd99::1")}));
}

TEST_F(Services, SourceRangesBindTheLoadBalancersAddressOnly) {
  EXPECT_TRUE(find("203.0.113.9", 80)->restrict_sources);
  EXPECT_EQ(find("203.0.113.9", 80)->source_ranges, std::vector{prefix("198.51.100.0/24")});
  EXPECT_FALSE(find("203.0.113.5", 80)->restrict_sources);
  EXPECT_FALSE(find("0.0.0.0", 30080)->restrict_sources);
  service().source_ranges.push_back(prefix("192.168.0.0/16"));  // this node is inside
  put();
  EXPECT_EQ(find("203.0.113.9", 80)->source_ranges.back(), prefix("203.0.113.9/32"));
  service().source_ranges.push_back(prefix("0.0.0.0/0"));
  put();
  EXPECT_FALSE(find("203.0.113.9", 80)->restrict_sources);
}

TEST_F(Services, IdOutlivesEndpointsAndUnchangedServicesAreShared) {
  const auto before = find("10.96.0.10", 80)->service;
  const auto dns = find("10.96.0.10", 53, kUdp)->service;
  cluster.writer.remove(kube::Kind::endpoint_slice, "shop/web-b");
  const auto after = find("10.96.0.10", 80)->service;
  EXPECT_EQ(after->id, before->id);
  EXPECT_EQ(text(after->cluster), "10.1.0.2:8080* 10.2.0.2:8080");
  EXPECT_EQ(find("10.96.0.10", 53, kUdp)->service, dns);
  EXPECT_NE(dns->id, after->id);
}

TEST_F(Services, NonTerminatingTwinOfAnAddressCounts) {
  cluster.apply(R"(
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-0, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.2.0.2], nodeName: n2, conditions: {ready: false, serving: true, terminating: true}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-z, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.2.0.2], nodeName: n2, conditions: {ready: false, serving: true, terminating: true}}]
)");
  EXPECT_EQ(text(find("10.96.0.10", 80)->service->cluster),
            "10.1.0.2:8080* 10.2.0.2:8080 10.2.0.3:9090");
}

TEST_F(Services, HeadlessAndExternalNamesAreNotServed) {
  ASSERT_NE(find("10.96.0.10", 80), nullptr);
  service().type = kube::Service::Type::external_name;  // with its old address left in
  put();
  EXPECT_EQ(find("10.96.0.10", 80), nullptr);
  EXPECT_EQ(table->frontends.size(), 0U);
  EXPECT_EQ(table->cluster_ips.size(), 0U);
  service().type = kube::Service::Type::cluster_ip;
  changed.cluster_ips.clear();
  put();
  EXPECT_EQ(find("0.0.0.0", 30080), nullptr);
}

TEST_F(Services, FirstByNameKeepsAFrontendThatTwoAskFor) {
  kube::Service rival;
  rival.meta.ns = "lab";
  rival.meta.name = "rival";
  rival.cluster_ips = {ip("10.96.0.77")};
  rival.external_ips = {ip("203.0.113.5")};
  rival.ports = {{"x", kTcp, 80, 0, {}}};
  cluster.writer.put(rival);
  EXPECT_EQ(find("203.0.113.5", 80)->service->name, "lab/rival:x");
  EXPECT_EQ(cluster.problems(),
            "Service shop/web: is not served on 203.0.113.5:80/TCP: Service lab/rival has it too "
            "and keeps it\n");
  cluster.writer.remove(kube::Kind::service, "lab/rival");
  EXPECT_EQ(find("203.0.113.5", 80)->service->name, "shop/web:http");
  EXPECT_EQ(cluster.problems(), "");
}

TEST_F(Services, NobodyTakesAClusterIpByAnExternalAddress) {
  kube::Service thief;
  thief.meta.ns = "lab";  // before "shop"
  thief.meta.name = "thief";
  thief.cluster_ips = {ip("10.96.0.77")};
  thief.external_ips = {ip("10.96.0.10")};
  thief.ports = {{"x", kTcp, 80, 0, {}}};
  cluster.writer.put(thief);
  EXPECT_EQ(find("10.96.0.10", 80)->service->name, "shop/web:http");
  EXPECT_EQ(cluster.problems(),
            "Service lab/thief: is not served on 10.96.0.10:80/TCP: Service shop/web has it too "
            "and keeps it\n");
}

TEST_F(Services, SourceRangesBindAnAddressThatIsExternalToo) {
  service().external_ips = {ip("203.0.113.9")};
  put();
  EXPECT_EQ(find("203.0.113.9", 80)->kind, FrontendKind::load_balancer);
  EXPECT_TRUE(find("203.0.113.9", 80)->restrict_sources);
}

TEST_F(Services, WhatContradictsItselfIsNamedAndTheRestServed) {
  service().cluster_ips = {ip("10.96.0.10")};
  changed.external_ips = {ip("fd99::5")};
  changed.source_ranges = {prefix("2001:db8::/32")};
  put();
  EXPECT_EQ(find("fd99::5", 80), nullptr);
  EXPECT_FALSE(find("203.0.113.9", 80)->restrict_sources);  // as kube-proxy has it
  EXPECT_EQ(cluster.problems(),
            "Service shop/web: lets everybody reach its load balancer address 203.0.113.9: none "
            "of its loadBalancerSourceRanges is IPv4\n"
            "Service shop/web: is not served on its external address fd99::5: it has no IPv6 "
            "ClusterIP\n");
  cluster.writer.remove(kube::Kind::service, "shop/web");
  cluster.build();
  EXPECT_EQ(cluster.problems(), "");
}

TEST_F(Services, ServiceRangesAreTheConfigurationsAndTheClusters) {
  cluster.config.service_ranges = {prefix("10.96.0.0/16")};
  kube::ServiceCidr range;
  range.meta.name = "more";
  range.cidrs = {prefix("10.97.0.0/24"), prefix("fd97::/112")};
  cluster.writer.put(range);
  cluster.build();
  EXPECT_EQ(cluster.built.snapshot->services->service_ranges,
            (std::vector{prefix("10.96.0.0/16"), prefix("10.97.0.0/24"), prefix("fd97::/112")}));
  EXPECT_TRUE(cluster.built.snapshot->services->in_service_range(ip("10.97.0.9")));
  cluster.writer.remove(kube::Kind::service_cidr, "more");
  cluster.build();
  EXPECT_EQ(cluster.built.snapshot->services->service_ranges,
            (std::vector{prefix("10.96.0.0/16")}));
}

TEST_F(Services, NodePortAddressesFollowTheConfiguration) {
  cluster.config.node_port_addresses = {prefix("192.168.0.0/24")};
  cluster.linux_state.addresses.push_back({ip("192.168.0.200"), 24});
  cluster.linux_state.addresses.push_back({ip("10.9.9.9"), 24});
  cluster.build();
  EXPECT_EQ(cluster.built.snapshot->services->node_port_addresses,
            (std::vector{ip("169.254.1.2"), ip("192.168.0.1"), ip("192.168.0.200"),
                         ip("fd3b:7c41:9e02::1"), ip("fd99::1")}));
}

observe::FlowRow flow(const char* to, std::uint16_t port, const char* server,
                      std::uint16_t server_port, std::uint8_t protocol = kUdp) {
  observe::FlowRow row;
  row.protocol = protocol;
  row.source = ip("10.1.0.9");
  row.destination = ip(to);
  row.destination_port = net::be16(port);
  row.reply_source = ip(server);
  row.reply_source_port = net::be16(server_port);
  return row;
}

TEST_F(Services, UdpFlowsOfEndpointsThatServeNoMoreAreStale) {
  cluster.build();
  cluster.apply(R"(
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-a, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: dns, port: 5454, protocol: UDP}]
endpoints:
- {addresses: [10.2.0.2], nodeName: n2, conditions: {ready: false, serving: true, terminating: true}}
- {addresses: [10.2.0.8], nodeName: n2, conditions: {ready: false, serving: false}}
)");
  cluster.build();
  const auto& stale = cluster.built.stale_flows;
  ASSERT_TRUE(stale);
  EXPECT_TRUE(stale(flow("10.96.0.10", 53, "10.1.0.2", 5353)));
  EXPECT_TRUE(stale(flow("10.96.0.10", 53, "10.2.0.2", 5353)));   // the target port moved
  EXPECT_FALSE(stale(flow("10.96.0.10", 53, "10.2.0.2", 5454)));  // serving, though terminating
  EXPECT_TRUE(stale(flow("10.96.0.10", 53, "10.2.0.8", 5454)));   // not serving
  EXPECT_TRUE(stale(flow("10.96.0.10", 53, "10.96.0.10", 53)));   // never translated
  EXPECT_TRUE(stale(flow("203.0.113.5", 53, "10.1.0.2", 5353)));  // external address
  EXPECT_TRUE(stale(flow("203.0.113.9", 53, "10.1.0.2", 5353)));  // load balancer's
  EXPECT_TRUE(stale(flow("192.168.0.1", 30053, "10.1.0.2", 5353)));
  EXPECT_FALSE(stale(flow("10.96.0.10", 53, "10.1.0.2", 5353, kTcp)));
  EXPECT_FALSE(stale(flow("10.96.0.10", 54, "10.1.0.2", 5353)));
}

TEST_F(Services, UdpFlowsStayWhenNothingServesOrNothingChanged) {
  cluster.build();
  cluster.build();
  EXPECT_FALSE(cluster.built.stale_flows);
  cluster.writer.remove(kube::Kind::endpoint_slice, "shop/web-a");
  cluster.build();
  EXPECT_FALSE(cluster.built.stale_flows);
}

}  // namespace
}  // namespace podwire::control::build
