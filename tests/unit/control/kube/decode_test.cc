#include "control/kube/decode.h"

#include <gtest/gtest.h>

namespace podwire::control::kube {
namespace {

using nlohmann::json;

const std::map<std::string, json>& bases() {
  static const std::map<std::string, json> kBases{
      {"Node", json::parse(R"({"apiVersion":"v1","kind":"Node",
        "metadata":{"name":"n1","labels":{"topology.kubernetes.io/zone":"z1"},
          "annotations":{"projectcalico.org/IPv4Address":"10.0.0.2/24"}},
        "spec":{"podCIDRs":["10.244.1.0/24","fd00:1::/64"]},
        "status":{"addresses":[{"type":"Hostname","address":"n1"},
          {"type":"InternalIP","address":"10.0.0.2"},{"type":"InternalIP","address":"fd00::2"}]}})")},
      {"Namespace", json::parse(R"({"apiVersion":"v1","kind":"Namespace",
        "metadata":{"name":"shop","labels":{"team":"a"}}})")},
      {"Pod", json::parse(R"({"apiVersion":"v1","kind":"Pod",
        "metadata":{"name":"web-0","namespace":"shop","uid":"u1","labels":{"app":"web"}},
        "spec":{"nodeName":"n1","containers":[{"name":"c","ports":[
          {"name":"http","containerPort":8080},{"name":"dns","containerPort":53,"protocol":"UDP"}]}],
          "initContainers":[{"name":"i","ports":[{"containerPort":1}]},
            {"name":"s","restartPolicy":"Always","ports":[{"name":"side","containerPort":9}]}]},
        "status":{"phase":"Running","podIPs":[{"ip":"10.244.1.5"},{"ip":"fd00:1::5"}],
          "conditions":[{"type":"Initialized","status":"True"},{"type":"Ready","status":"True"}]}})")},
      {"Service", json::parse(R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},
        "spec":{"type":"LoadBalancer","clusterIP":"10.96.0.10","clusterIPs":["10.96.0.10","fd00:96::a"],
          "selector":{"app":"web"},"externalIPs":["192.0.2.7"],
          "loadBalancerSourceRanges":[" 203.0.113.0/24 "],"sessionAffinity":"ClientIP",
          "internalTrafficPolicy":"Cluster","externalTrafficPolicy":"Local",
          "ports":[{"name":"http","port":80,"targetPort":"http","nodePort":30080},
            {"name":"dns","port":53,"protocol":"UDP"}]},
        "status":{"loadBalancer":{"ingress":[{"ip":"198.51.100.1"},
          {"ip":"198.51.100.2","ipMode":"Proxy"},{"ip":"198.51.100.3","ipMode":"VIP"},
          {"hostname":"lb"}]}}})")},
      {"EndpointSlice", json::parse(R"({"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice",
        "metadata":{"name":"web-abc","namespace":"shop",
          "labels":{"kubernetes.io/service-name":"web"}},
        "addressType":"IPv4","ports":[{"name":"http","port":8080},{"name":"all"}],
        "endpoints":[{"addresses":["10.244.1.5"],"nodeName":"n1","conditions":{},
            "targetRef":{"kind":"Pod","name":"web-0","namespace":"shop"},
            "hints":{"forZones":[{"name":"z1"}],"forNodes":[{"name":"n1"}]}},
          {"addresses":["10.244.2.5"],
            "conditions":{"ready":false,"serving":true,"terminating":true}}]})")},
      {"NetworkPolicy", json::parse(R"({"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy",
        "metadata":{"name":"web","namespace":"shop"},
        "spec":{"podSelector":{"matchLabels":{"app":"web"},"matchExpressions":[
            {"key":"tier","operator":"NotIn","values":["x","y"]}]},
          "ingress":[{"from":[{"podSelector":{}},{"namespaceSelector":{"matchLabels":{"team":"a"}}},
              {"ipBlock":{"cidr":"10.0.0.0/8","except":["10.1.0.0/16"]}}],
            "ports":[{"port":8080,"endPort":8090},{"protocol":"UDP","port":"dns"},
              {"protocol":"SCTP"}]}]}})")},
      {"IPPool", json::parse(R"({"apiVersion":"projectcalico.org/v3","kind":"IPPool",
        "metadata":{"name":"default"},"spec":{"cidr":"10.244.0.0/16","ipipMode":"CrossSubnet",
          "natOutgoing":true,"blockSize":26,"vxlanMode":"Never"}})")}};
  return kBases;
}

// The base object of a kind with one place changed; "-" removes it.
json changed(const std::string& kind, const char* pointer, const char* value) {
  json object = bases().at(kind);
  const json::json_pointer place(pointer);
  if (std::string_view(value) == "-") {
    object.at(place.parent_pointer()).erase(place.back());
  } else {
    object[place] = json::parse(value);
  }
  return object;
}

template <typename T>
T decoded(const json& object) {
  auto result = decode(object);
  EXPECT_TRUE(result) << result.error().message;
  return result ? std::get<T>(*result) : T{};
}
template <typename T>
T decoded(const char* pointer, const char* value) {
  static const std::string kName = kind_name(kind(Object(T{})));
  return decoded<T>(changed(kName, pointer, value));
}
net::Address ip(const char* text) {
  return *net::Address::parse(text);
}

struct Refusal {
  const char* kind;
  const char* pointer;
  const char* value;
  const char* message;
};

// The table of what is refused, and how it is said.
const Refusal kRefusals[] = {
    {"Node", "/metadata/name", "-", "Node: metadata.name: is not given"},
    {"Node", "/metadata/name", R"("N1")",
     R"(Node N1: metadata.name: "N1" is not a name (a-z, 0-9, '-', '.', at most 253))"},
    {"Node", "/metadata/namespace", R"("x")",
     "Node n1: metadata.namespace: is given, but a Node has no namespace"},
    {"Node", "/spec/podCIDRs/0", R"("10.244.1.0/33")",
     R"(Node n1: spec.podCIDRs[0]: "10.244.1.0/33" is not a CIDR such as 10.0.0.0/8)"},
    {"Node", "/spec/podCIDRs/0", R"("10.244.1.0")",
     R"(Node n1: spec.podCIDRs[0]: "10.244.1.0" is not a CIDR such as 10.0.0.0/8)"},
    {"Node", "/spec/podCIDRs/1", R"("10.245.0.0/24")",
     R"(Node n1: spec.podCIDRs[1]: "10.245.0.0/24" is a second CIDR of its family)"},
    {"Node", "/spec/podCIDRs", R"("10.245.0.0/24")",
     R"(Node n1: spec.podCIDRs: "10.245.0.0/24" is not a list)"},
    {"Node", "/status/addresses/1/address", R"("10.0.0.256")",
     R"(Node n1: status.addresses[1].address: "10.0.0.256" is not an IP address)"},
    {"Node", "/metadata/annotations/projectcalico.org~1IPv4Address", R"("fd00::2/64")",
     "Node n1: metadata.annotations.projectcalico.org/IPv4Address: \"fd00::2/64\" is not an "
     "address "
     "with its subnet's length, such as 10.0.0.2/24"},
    {"Node", "/metadata/annotations/projectcalico.org~1IPv4IPIPTunnelAddr", R"("fd00::2")",
     "Node n1: metadata.annotations.projectcalico.org/IPv4IPIPTunnelAddr: \"fd00::2\" is not an "
     "IPv4 address"},
    {"Node", "/apiVersion", R"("v2")",
     R"(Node n1: apiVersion: "v2" is not v1, the version of Node that podwire reads)"},
    {"Node", "/apiVersion", "-", "Node n1: apiVersion: is not given"},
    {"Node", "/kind", "-", "object n1: kind: is not given"},
    {"Node", "/kind", R"("Knode")",
     "Knode n1: kind: \"Knode\" is not a kind podwire reads (Node, Namespace, Pod, Service, "
     "EndpointSlice, NetworkPolicy, IPPool, ServiceCIDR, ClusterNetworkPolicy, "
     "Secret, BGPConfiguration, BGPPeer, BGPFilter, BlockAffinity, IPAMBlock, IPAMConfig, "
     "IPReservation)"},
    {"Node", "/metadata", "[]", "Node: metadata: [...] is not a set of fields"},
    {"Namespace", "/metadata/labels/team", "1.1",
     "Namespace shop: metadata.labels.team: 1.1 is not a string; put it in quotes"},
    {"Namespace", "/metadata/labels/team", R"("a b")",
     "Namespace shop: metadata.labels.team: \"a b\" is not a label's value (at most 63 letters, "
     "digits, '-', '_', '.')"},
    {"Namespace", "/metadata/labels/-team", R"("a")",
     "Namespace shop: metadata.labels.-team: the key is not a label's name"},
    {"Namespace", "/metadata/name", R"("a.b")",
     R"(Namespace a.b: metadata.name: "a.b" is not a name (a-z, 0-9, '-', at most 63))"},
    {"Pod", "/metadata/namespace", R"("a.b")",
     R"(Pod a.b/web-0: metadata.namespace: "a.b" is not a name (a-z, 0-9, '-', at most 63))"},
    {"Pod", "/status/podIPs/0/ip", R"("10.244.1")",
     R"(Pod shop/web-0: status.podIPs[0].ip: "10.244.1" is not an IP address)"},
    {"Pod", "/status/podIPs/1/ip", R"("10.244.1.6")",
     R"(Pod shop/web-0: status.podIPs[1].ip: "10.244.1.6" is a second address of its family)"},
    {"Pod", "/spec/containers/0/ports/0/containerPort", "70000",
     "Pod shop/web-0: spec.containers[0].ports[0].containerPort: 70000 is not between 1 and 65535"},
    {"Pod", "/spec/containers/0/ports/0/containerPort", "-",
     "Pod shop/web-0: spec.containers[0].ports[0].containerPort: is not given"},
    {"Pod", "/spec/containers/0/ports/0/name", R"("HTTP")",
     "Pod shop/web-0: spec.containers[0].ports[0].name: \"HTTP\" is not a port's name (at most 15 "
     "of a-z 0-9 -, one a letter)"},
    {"Pod", "/spec/containers/0/ports/1/name", R"("http")",
     "Pod shop/web-0: spec.containers[0].ports[1].name: \"http\" is given twice in this container"},
    {"Pod", "/spec/containers/0/ports/1/protocol", R"("udp")",
     "Pod shop/web-0: spec.containers[0].ports[1].protocol: \"udp\" is not TCP, UDP or SCTP"},
    {"Pod", "/spec/hostNetwork", R"("yes")",
     R"(Pod shop/web-0: spec.hostNetwork: "yes" is not true or false)"},
    {"Pod", "/status/phase", R"("Done")",
     "Pod shop/web-0: status.phase: \"Done\" is not Pending, Running, Succeeded, Failed or "
     "Unknown"},
    {"Service", "/metadata/name", R"("web.x")",
     "Service default/web.x: metadata.name: \"web.x\" is not a name (a-z, 0-9, '-', at most 63)"},
    {"Service", "/spec", "-", "Service default/web: spec: is not given"},
    {"Service", "/spec/type", R"("Cluster")",
     "Service default/web: spec.type: \"Cluster\" is not ClusterIP, NodePort, LoadBalancer or "
     "ExternalName"},
    {"Service", "/spec/clusterIP", R"("10.96.0.11")",
     R"(Service default/web: spec.clusterIP: "10.96.0.11" is not clusterIPs[0], "10.96.0.10")"},
    {"Service", "/spec/clusterIPs/1", R"("10.96.0.11")",
     R"(Service default/web: spec.clusterIPs[1]: "10.96.0.11" is a second address of its family)"},
    {"Service", "/spec/clusterIPs/1", R"("fe80::1")",
     R"(Service default/web: spec.clusterIPs[1]: "fe80::1" is a link-local address)"},
    {"Service", "/spec/clusterIPs/1", R"("None")",
     R"(Service default/web: spec.clusterIPs[1]: "None" is not an IP address)"},
    {"Service", "/spec/externalIPs/0", R"("127.0.0.1")",
     R"(Service default/web: spec.externalIPs[0]: "127.0.0.1" is a loopback address)"},
    {"Service", "/spec/externalIPs/0", R"("1.2.3")",
     R"(Service default/web: spec.externalIPs[0]: "1.2.3" is not an IP address)"},
    {"Service", "/spec/loadBalancerSourceRanges/0", R"("10.0.0.0/40")",
     "Service default/web: spec.loadBalancerSourceRanges[0]: \"10.0.0.0/40\" is not a CIDR such as "
     "10.0.0.0/8"},
    {"Service", "/status/loadBalancer/ingress/0/ip", R"("x")",
     R"(Service default/web: status.loadBalancer.ingress[0].ip: "x" is not an IP address)"},
    {"Service", "/status/loadBalancer/ingress/0/ipMode", R"("vip")",
     R"(Service default/web: status.loadBalancer.ingress[0].ipMode: "vip" is not VIP or Proxy)"},
    {"Service", "/spec/ports", "[]", "Service default/web: spec.ports: none is given"},
    {"Service", "/spec/ports/0/port", "70000",
     "Service default/web: spec.ports[0].port: 70000 is not between 1 and 65535"},
    {"Service", "/spec/ports/0/port", "0",
     "Service default/web: spec.ports[0].port: 0 is not between 1 and 65535"},
    {"Service", "/spec/ports/0/port", "-", "Service default/web: spec.ports[0].port: is not given"},
    {"Service", "/spec/ports/0/port", R"("80")",
     "Service default/web: spec.ports[0].port: \"80\" is not a whole number; write it without "
     "quotes"},
    {"Service", "/spec/ports/0/port", "80.5",
     "Service default/web: spec.ports[0].port: 80.5 is not a whole number"},
    {"Service", "/spec/ports/0/port", "18446744073709551615",
     "Service default/web: spec.ports[0].port: 18446744073709551615 is not between 1 and 65535"},
    {"Service", "/spec/ports/0/targetPort", "65536",
     "Service default/web: spec.ports[0].targetPort: 65536 is not between 1 and 65535"},
    {"Service", "/spec/ports/0/targetPort", R"("80")",
     "Service default/web: spec.ports[0].targetPort: \"80\" is a name without a letter; write the "
     "number without quotes"},
    {"Service", "/spec/ports/0/nodePort", "-1",
     "Service default/web: spec.ports[0].nodePort: -1 is not between 0 and 65535"},
    {"Service", "/spec/type", R"("ClusterIP")",
     "Service default/web: spec.ports[0].nodePort: 30080 is given, but the Service is not of type "
     "NodePort or LoadBalancer"},
    {"Service", "/spec/ports/0/name", "-",
     "Service default/web: spec.ports[0].name: is not given, but must be where there are several "
     "ports"},
    {"Service", "/spec/ports/1/name", R"("http")",
     R"(Service default/web: spec.ports[1].name: "http" is given twice)"},
    {"Service", "/spec/ports/1", R"({"name":"x","port":80})",
     "Service default/web: spec.ports[1].port: 80 is given twice for its protocol"},
    {"Service", "/spec/ports/1", R"({"name":"x","port":81,"nodePort":30080})",
     "Service default/web: spec.ports[1].nodePort: 30080 is given twice for its protocol"},
    {"Service", "/spec/ports/0/protocol", R"("ICMP")",
     R"(Service default/web: spec.ports[0].protocol: "ICMP" is not TCP, UDP or SCTP)"},
    {"Service", "/spec/selector/app", "7",
     "Service default/web: spec.selector.app: 7 is not a string; put it in quotes"},
    {"Service", "/spec/sessionAffinity", R"("Client")",
     R"(Service default/web: spec.sessionAffinity: "Client" is not None or ClientIP)"},
    {"Service", "/spec/sessionAffinityConfig", R"({"clientIP":{"timeoutSeconds":86401}})",
     "Service default/web: spec.sessionAffinityConfig.clientIP.timeoutSeconds: 86401 is not "
     "between "
     "1 and 86400"},
    {"Service", "/spec/internalTrafficPolicy", R"("local")",
     R"(Service default/web: spec.internalTrafficPolicy: "local" is not Cluster or Local)"},
    {"Service", "/spec/externalTrafficPolicy", "true",
     "Service default/web: spec.externalTrafficPolicy: true is not Cluster or Local"},
    {"Service", "/spec/publishNotReadyAddresses", "1",
     "Service default/web: spec.publishNotReadyAddresses: 1 is not true or false"},
    {"EndpointSlice", "/addressType", "-", "EndpointSlice shop/web-abc: addressType: is not given"},
    {"EndpointSlice", "/addressType", R"("ipv4")",
     R"(EndpointSlice shop/web-abc: addressType: "ipv4" is not IPv4, IPv6 or FQDN)"},
    {"EndpointSlice", "/endpoints/0/addresses", "[]",
     "EndpointSlice shop/web-abc: endpoints[0].addresses: none is given"},
    {"EndpointSlice", "/endpoints/0/addresses/0", R"("fd00::1")",
     "EndpointSlice shop/web-abc: endpoints[0].addresses[0]: \"fd00::1\" is not of the slice's "
     "addressType"},
    {"EndpointSlice", "/endpoints/0/addresses/0", R"("224.0.0.1")",
     "EndpointSlice shop/web-abc: endpoints[0].addresses[0]: \"224.0.0.1\" is a multicast address"},
    {"EndpointSlice", "/endpoints/1/conditions/ready", R"("no")",
     R"(EndpointSlice shop/web-abc: endpoints[1].conditions.ready: "no" is not true or false)"},
    {"EndpointSlice", "/ports/0/port", "65536",
     "EndpointSlice shop/web-abc: ports[0].port: 65536 is not between 0 and 65535"},
    {"EndpointSlice", "/ports/1/name", R"("http")",
     R"(EndpointSlice shop/web-abc: ports[1].name: "http" is given twice)"},
    {"NetworkPolicy", "/spec/podSelector/matchExpressions/0/operator", R"("Not")",
     "NetworkPolicy shop/web: spec.podSelector.matchExpressions[0].operator: \"Not\" is not In, "
     "NotIn, Exists or DoesNotExist"},
    {"NetworkPolicy", "/spec/podSelector/matchExpressions/0/values", "-",
     "NetworkPolicy shop/web: spec.podSelector.matchExpressions[0].values: none is given, but In "
     "and "
     "NotIn need some"},
    {"NetworkPolicy", "/spec/podSelector/matchExpressions/0/operator", R"("Exists")",
     "NetworkPolicy shop/web: spec.podSelector.matchExpressions[0].values: are given, but Exists "
     "and "
     "DoesNotExist take none"},
    {"NetworkPolicy", "/spec/podSelector/matchLabels/app", "true",
     "NetworkPolicy shop/web: spec.podSelector.matchLabels.app: true is not a string; put it in "
     "quotes"},
    {"NetworkPolicy", "/spec/policyTypes", R"(["ingress"])",
     "NetworkPolicy shop/web: spec.policyTypes[0]: \"ingress\" is not Ingress or Egress"},
    {"NetworkPolicy", "/spec/ingress/0/from/0", "{}",
     "NetworkPolicy shop/web: spec.ingress[0].from[0]: gives none of podSelector, "
     "namespaceSelector "
     "and ipBlock"},
    {"NetworkPolicy", "/spec/ingress/0/from/2/podSelector", "{}",
     "NetworkPolicy shop/web: spec.ingress[0].from[2].ipBlock: is given beside a selector; a peer "
     "is "
     "one or the other"},
    {"NetworkPolicy", "/spec/ingress/0/from/2/ipBlock/cidr", R"("10.0.0.0")",
     "NetworkPolicy shop/web: spec.ingress[0].from[2].ipBlock.cidr: \"10.0.0.0\" is not a CIDR "
     "such "
     "as 10.0.0.0/8"},
    {"NetworkPolicy", "/spec/ingress/0/from/2/ipBlock/except/0", R"("11.0.0.0/16")",
     "NetworkPolicy shop/web: spec.ingress[0].from[2].ipBlock.except[0]: \"11.0.0.0/16\" is not a "
     "part of \"10.0.0.0/8\""},
    {"NetworkPolicy", "/spec/ingress/0/from/2/ipBlock/except/0", R"("fd00::/64")",
     "NetworkPolicy shop/web: spec.ingress[0].from[2].ipBlock.except[0]: \"fd00::/64\" is not a "
     "part "
     "of \"10.0.0.0/8\""},
    {"NetworkPolicy", "/spec/ingress/0/from/2/ipBlock/except/0", R"("10.0.0.0/8")",
     "NetworkPolicy shop/web: spec.ingress[0].from[2].ipBlock.except[0]: \"10.0.0.0/8\" is not a "
     "part of \"10.0.0.0/8\""},
    {"NetworkPolicy", "/spec/ingress/0/ports/0/endPort", "8079",
     "NetworkPolicy shop/web: spec.ingress[0].ports[0].endPort: 8079 is less than port, 8080"},
    {"NetworkPolicy", "/spec/ingress/0/ports/1/endPort", "54",
     "NetworkPolicy shop/web: spec.ingress[0].ports[1].endPort: is given with a named port; a "
     "range "
     "has numbers only"},
    {"NetworkPolicy", "/spec/ingress/0/ports/2/endPort", "54",
     "NetworkPolicy shop/web: spec.ingress[0].ports[2].endPort: is given without port"},
    {"NetworkPolicy", "/spec/ingress/0/ports/0/port", "0",
     "NetworkPolicy shop/web: spec.ingress[0].ports[0].port: 0 is not between 1 and 65535"},
    {"NetworkPolicy", "/spec/egress", R"([{"to":[{"ipBlock":{}}]}])",
     "NetworkPolicy shop/web: spec.egress[0].to[0].ipBlock.cidr: is not given"},
    {"IPPool", "/spec/cidr", R"("10.244.0.0")",
     R"(IPPool default: spec.cidr: "10.244.0.0" is not a CIDR such as 10.0.0.0/8)"},
    {"IPPool", "/spec/cidr", "-", "IPPool default: spec.cidr: is not given"},
    {"IPPool", "/spec/cidr", R"("10.244.1.0/16")",
     "IPPool default: spec.cidr: \"10.244.1.0/16\" has bits set past its length; the network is "
     "10.244.0.0/16"},
    {"IPPool", "/spec/blockSize", "33",
     "IPPool default: spec.blockSize: 33 is not between 20 and 32"},
    {"IPPool", "/spec/cidr", R"("10.244.0.0/28")",
     "IPPool default: spec.blockSize: 26 is a larger block than the pool 10.244.0.0/28"},
    {"IPPool", "/spec/ipipMode", R"("On")",
     R"(IPPool default: spec.ipipMode: "On" is not Never, Always or CrossSubnet)"},
    {"IPPool", "/spec", R"({"cidr":"fd00::/48","ipipMode":"Always"})",
     "IPPool default: spec.ipipMode: \"Always\" is given for an IPv6 pool; IPIP carries IPv4 only"},
    {"IPPool", "/spec/vxlanMode", R"("Always")",
     "IPPool default: spec.vxlanMode: \"Always\" is given, but podwire carries no VXLAN; use "
     "ipipMode"},
    {"IPPool", "/spec/natOutgoing", R"("true")",
     R"(IPPool default: spec.natOutgoing: "true" is not true or false)"},
};

TEST(Decode, RefusesWithOneSentenceThatNamesObjectAndField) {
  for (const Refusal& refusal : kRefusals) {
    const auto result = decode(changed(refusal.kind, refusal.pointer, refusal.value));
    ASSERT_FALSE(result) << "accepted: " << refusal.message;
    EXPECT_EQ(result.error().message, refusal.message);
  }
}

TEST(Decode, RefusesWhatIsNoObject) {
  for (const char* text : {"null", "7", "[]", R"("Service")"}) {
    const auto result = decode(json::parse(text));
    ASSERT_FALSE(result) << text;
    EXPECT_EQ(result.error().message, "object: is not a set of fields");
  }
}

TEST(Decode, TellsWhichObjectAnErrorIsAbout) {
  const auto result = decode_object(changed("Service", "/spec/ports/0/port", "70000"));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, Kind::service);
  EXPECT_EQ(result.error().full_name, "default/web");
  EXPECT_EQ(result.error().problem.field, "spec.ports[0].port");
  EXPECT_EQ(decode_object(changed("Node", "/kind", R"("Knode")")).error().kind, std::nullopt);
}

TEST(Decode, AcceptsEveryBase) {
  for (const auto& [name, object] : bases()) {
    const auto result = decode(object);
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(kind_name(kind(*result)), name);
  }
}

TEST(Decode, IgnoresFieldsItDoesNotRead) {
  EXPECT_TRUE(decode(changed("Service", "/spec/newField", R"({"a":[1,null]})")));
  EXPECT_TRUE(decode(changed("Pod", "/spec/volumes", "7")));
}

TEST(Decode, TakesNullAsAbsent) {
  EXPECT_EQ(decoded<Service>("/spec/selector", "null").selector, std::nullopt);
  EXPECT_EQ(decoded<Service>("/spec/sessionAffinity", "null").affinity_seconds, 0);
  EXPECT_TRUE(decoded<NetworkPolicy>("/spec/ingress", "null").ingress.empty());
}

TEST(DecodeMeta, FillsNamespaceAndMarksDeletion) {
  EXPECT_EQ(decoded<Service>(bases().at("Service")).meta.full_name(), "default/web");
  EXPECT_FALSE(decoded<Pod>(bases().at("Pod")).meta.deleting);
  EXPECT_TRUE(
      decoded<Pod>("/metadata/deletionTimestamp", R"("2026-11-22T10:00:00Z")").meta.deleting);
  EXPECT_EQ(decoded<Pod>(bases().at("Pod")).meta.uid, "u1");
}

TEST(DecodeNode, ReadsAddressesAndSubnet) {
  const auto node = decoded<Node>(bases().at("Node"));
  EXPECT_EQ(node.internal_ips, (std::vector{ip("10.0.0.2"), ip("fd00::2")}));
  EXPECT_EQ(node.ipv4_subnet->to_string(), "10.0.0.0/24");
  EXPECT_EQ(node.zone, "z1");
  ASSERT_EQ(node.pod_cidrs.size(), 2);
  EXPECT_EQ(node.pod_cidrs[1].to_string(), "fd00:1::/64");
  EXPECT_FALSE(node.leaving);
  EXPECT_TRUE(
      decoded<Node>("/spec/taints", R"([{"key":"a"},{"key":"ToBeDeletedByClusterAutoscaler"}])")
          .leaving);
}

TEST(DecodeNode, TakesAddressFromAnnotationWhereStatusGivesNone) {
  const auto node = decoded<Node>("/status", "-");
  EXPECT_EQ(node.internal_ips, std::vector{ip("10.0.0.2")});
}

TEST(DecodeNode, TakesTheSinglePodCidr) {
  const auto node = decoded<Node>("/spec", R"({"podCIDR":"10.244.7.0/24"})");
  ASSERT_EQ(node.pod_cidrs.size(), 1);
  EXPECT_EQ(node.pod_cidrs[0].to_string(), "10.244.7.0/24");
}

TEST(DecodeNamespace, CarriesItsNameAsLabel) {
  const auto ns = decoded<Namespace>(bases().at("Namespace"));
  EXPECT_EQ(ns.meta.labels, (Labels{{"kubernetes.io/metadata.name", "shop"}, {"team", "a"}}));
}

TEST(DecodePod, ReadsPortsOfContainersAndSidecars) {
  const auto pod = decoded<Pod>(bases().at("Pod"));
  EXPECT_EQ(pod.ports,
            (std::vector<ContainerPort>{{"http", 8080, 6}, {"dns", 53, 17}, {"side", 9, 6}}));
  EXPECT_EQ(pod.ips, (std::vector{ip("10.244.1.5"), ip("fd00:1::5")}));
  EXPECT_TRUE(pod.ready);
  EXPECT_FALSE(pod.finished);
}

TEST(DecodePod, TakesAddressesInOrderOfTrust) {
  json object = changed("Pod", "/metadata/annotations",
                        R"({"cni.projectcalico.org/ipAddrs":"[\"10.244.1.9\", \"fd00:1::9\"]"})");
  EXPECT_EQ(decoded<Pod>(object).ips[0], ip("10.244.1.5"));
  object["status"].erase("podIPs");
  EXPECT_EQ(decoded<Pod>(object).ips, (std::vector{ip("10.244.1.9"), ip("fd00:1::9")}));
  object["status"]["podIP"] = "10.244.1.7";
  EXPECT_EQ(decoded<Pod>(object).ips, std::vector{ip("10.244.1.7")});
}

TEST(DecodePod, RefusesABadAddressAnnotation) {
  json object = changed("Pod", "/status/podIPs", "-");
  for (const char* bad : {"10.244.1.9", "[1]", R"(["x"])", R"(["10.0.0.1","10.0.0.2"])"}) {
    object["metadata"]["annotations"]["cni.projectcalico.org/ipAddrs"] = bad;
    EXPECT_FALSE(decode(object)) << bad;
  }
}

TEST(DecodePod, KnowsReadyAndFinished) {
  struct Case {
    const char* status;
    bool ready, finished;
  };
  for (const Case& c :
       {Case{"null", true, false}, Case{R"({"phase":"Running"})", true, false},
        Case{R"({"phase":"Pending"})", false, false}, Case{R"({"phase":"Succeeded"})", false, true},
        Case{R"({"phase":"Failed"})", false, true},
        Case{R"({"phase":"Running","conditions":[]})", false, false},
        Case{R"({"conditions":[{"type":"Ready","status":"False"}]})", false, false},
        Case{R"({"conditions":[{"type":"Ready","status":"True"}]})", true, false}}) {
    const auto pod = decoded<Pod>("/status", c.status);
    EXPECT_EQ(pod.ready, c.ready) << c.status;
    EXPECT_EQ(pod.finished, c.finished) << c.status;
  }
}

TEST(DecodeService, HasAHealthCheckOnlyWhereLoadBalancersAskForIt) {
  json object = changed("Service", "/spec/healthCheckNodePort", "32000");
  EXPECT_EQ(decoded<Service>(object).health_check_port, 32000);
  object["spec"]["externalTrafficPolicy"] = "Cluster";
  EXPECT_EQ(decoded<Service>(object).health_check_port, 0);
  object["spec"]["externalTrafficPolicy"] = "Local";
  object["spec"]["type"] = "NodePort";
  EXPECT_EQ(decoded<Service>(object).health_check_port, 0);
}

TEST(DecodeService, ReadsEveryField) {
  const auto service = decoded<Service>(bases().at("Service"));
  EXPECT_EQ(service.type, Service::Type::load_balancer);
  EXPECT_EQ(service.cluster_ips, (std::vector{ip("10.96.0.10"), ip("fd00:96::a")}));
  EXPECT_EQ(service.external_ips, std::vector{ip("192.0.2.7")});
  EXPECT_EQ(service.load_balancer_ips, (std::vector{ip("198.51.100.1"), ip("198.51.100.3")}));
  ASSERT_EQ(service.source_ranges.size(), 1);
  EXPECT_EQ(service.source_ranges[0].to_string(), "203.0.113.0/24");
  EXPECT_EQ(service.selector, (Labels{{"app", "web"}}));
  EXPECT_EQ(service.internal_policy, TrafficPolicy::cluster);
  EXPECT_EQ(service.external_policy, TrafficPolicy::local);
  EXPECT_EQ(service.affinity_seconds, 10800);
  ASSERT_EQ(service.ports.size(), 2);
  EXPECT_EQ(service.ports[0], (ServicePort{"http", 6, 80, 30080, {0, "http"}}));
  EXPECT_EQ(service.ports[1], (ServicePort{"dns", 17, 53, 0, {53, ""}}));
}

TEST(DecodeService, KnowsHeadlessAndExternalName) {
  const auto headless = decoded<Service>("/spec", R"({"clusterIP":"None","selector":{"a":"b"}})");
  EXPECT_TRUE(headless.cluster_ips.empty());
  const auto external = decoded<Service>(
      "/spec", R"({"type":"ExternalName","externalName":"x.example","clusterIP":"10.96.0.9"})");
  EXPECT_TRUE(external.cluster_ips.empty());
  EXPECT_EQ(external.type, Service::Type::external_name);
}

TEST(DecodeService, TakesTargetPortZeroAsThePort) {
  for (const char* none : {"0", R"("")", "-", "null"}) {
    EXPECT_EQ(decoded<Service>("/spec/ports/0/targetPort", none).ports[0].target_port,
              (IntOrString{80, ""}))
        << none;
  }
}

TEST(DecodeService, ParsesAddressesSloppily) {
  const auto service = decoded<Service>("/spec/externalIPs", R"(["192.000.02.010"])");
  EXPECT_EQ(service.external_ips, std::vector{ip("192.0.2.10")});
  EXPECT_EQ(decoded<Service>("/spec/loadBalancerSourceRanges", R"(["010.0.0.0/8"])")
                .source_ranges[0]
                .to_string(),
            "10.0.0.0/8");
  EXPECT_EQ(parse_sloppy_address("0.0.0.0"), ip("0.0.0.0"));
  EXPECT_EQ(parse_sloppy_address("010.1.2"), std::nullopt);
  EXPECT_EQ(parse_sloppy_address("000"), std::nullopt);
}

TEST(DecodeService, LabelsMakeItVanish) {
  EXPECT_TRUE(concerns_us(*decode(bases().at("Service"))));
  EXPECT_FALSE(concerns_us(*decode(changed("Service", "/metadata/labels",
                                           R"({"service.kubernetes.io/service-proxy-name":""})"))));
  EXPECT_FALSE(concerns_us(*decode(
      changed("EndpointSlice", "/metadata/labels/service.kubernetes.io~1headless", R"("")"))));
}

TEST(DecodeEndpointSlice, FillsConditionsAndHints) {
  const auto slice = decoded<EndpointSlice>(bases().at("EndpointSlice"));
  EXPECT_EQ(slice.service, "web");
  EXPECT_EQ(slice.ports, (std::vector<EndpointPort>{{"http", 6, 8080}}));
  ASSERT_EQ(slice.endpoints.size(), 2);
  const Endpoint& first = slice.endpoints[0];
  EXPECT_TRUE(first.ready && first.serving && !first.terminating);
  EXPECT_EQ(first.pod, "shop/web-0");
  EXPECT_EQ(first.node_name, "n1");
  EXPECT_EQ(first.zone_hints, std::vector<std::string>{"z1"});
  EXPECT_EQ(first.node_hints, std::vector<std::string>{"n1"});
  const Endpoint& second = slice.endpoints[1];
  EXPECT_TRUE(!second.ready && second.serving && second.terminating);
}

TEST(DecodeEndpointSlice, OfNamesHasNoEndpoints) {
  EXPECT_TRUE(decoded<EndpointSlice>("/addressType", R"("FQDN")").endpoints.empty());
}

TEST(DecodeNetworkPolicy, KeepsEmptyAndAbsentApart) {
  const auto policy = decoded<NetworkPolicy>(bases().at("NetworkPolicy"));
  ASSERT_EQ(policy.ingress.size(), 1);
  const PolicyRule& rule = policy.ingress[0];
  ASSERT_EQ(rule.peers.size(), 3);
  EXPECT_TRUE(rule.peers[0].pod_selector && rule.peers[0].pod_selector->empty());
  EXPECT_FALSE(rule.peers[0].namespace_selector);
  EXPECT_FALSE(rule.peers[1].pod_selector);
  EXPECT_TRUE(rule.peers[1].namespace_selector);
  EXPECT_EQ(rule.peers[2].ip_block->except[0].to_string(), "10.1.0.0/16");
  EXPECT_EQ(rule.ports, (std::vector<PolicyPort>{{6, IntOrString{8080, ""}, 8090},
                                                 {17, IntOrString{0, "dns"}, 0},
                                                 {132, std::nullopt, 0}}));
  EXPECT_TRUE(decoded<NetworkPolicy>("/spec/ingress", "[]").ingress.empty());
  const auto all = decoded<NetworkPolicy>("/spec/ingress", "[{}]");
  ASSERT_EQ(all.ingress.size(), 1);
  EXPECT_TRUE(all.ingress[0].peers.empty() && all.ingress[0].ports.empty());
  EXPECT_TRUE(decoded<NetworkPolicy>("/spec", "-").pod_selector.empty());
}

TEST(DecodeNetworkPolicy, DefaultsItsTypes) {
  struct Case {
    const char* spec;
    bool ingress, egress;
  };
  for (const Case& c :
       {Case{"{}", true, false}, Case{R"({"egress":[{}]})", true, true},
        Case{R"({"egress":[]})", true, false}, Case{R"({"policyTypes":[]})", true, false},
        Case{R"({"policyTypes":["Egress"]})", false, true},
        Case{R"({"policyTypes":["Egress"],"ingress":[{}]})", false, true},
        Case{R"({"policyTypes":["Ingress"],"egress":[{}]})", true, false},
        Case{R"({"policyTypes":["Ingress","Egress"]})", true, true}}) {
    const auto policy = decoded<NetworkPolicy>("/spec", c.spec);
    EXPECT_EQ(policy.isolates_ingress, c.ingress) << c.spec;
    EXPECT_EQ(policy.isolates_egress, c.egress) << c.spec;
  }
}

TEST(DecodeIpPool, ReadsBothGroupsAndDefaults) {
  const auto pool = decoded<IpPool>("/apiVersion", R"("crd.projectcalico.org/v1")");
  EXPECT_EQ(pool.cidr.to_string(), "10.244.0.0/16");
  EXPECT_EQ(pool.ipip, TunnelMode::cross_subnet);
  EXPECT_TRUE(pool.nat_outgoing);
  const auto bare = decoded<IpPool>("/spec", R"({"cidr":"fd00::/48"})");
  EXPECT_EQ(bare.block_size, 122);
  EXPECT_EQ(bare.ipip, TunnelMode::never);
  EXPECT_FALSE(bare.nat_outgoing || bare.disabled);
}

TEST(Selector, MatchesAsTheApiDefinesIt) {
  using Op = Requirement::Operator;
  struct Case {
    Requirement requirement;
    Labels labels;
    bool matches;
  };
  const Labels a{{"k", "a"}};
  for (const Case& c :
       {Case{{"k", Op::in, {"a", "b"}}, a, true}, Case{{"k", Op::in, {"b"}}, a, false},
        Case{{"k", Op::in, {"a"}}, {}, false}, Case{{"k", Op::not_in, {"b"}}, a, true},
        Case{{"k", Op::not_in, {"a"}}, a, false}, Case{{"k", Op::not_in, {"a"}}, {}, true},
        Case{{"k", Op::exists, {}}, a, true}, Case{{"k", Op::exists, {}}, {}, false},
        Case{{"k", Op::does_not_exist, {}}, a, false},
        Case{{"k", Op::does_not_exist, {}}, {}, true}}) {
    EXPECT_EQ((Selector{{}, {c.requirement}}).matches(c.labels), c.matches);
  }
  EXPECT_TRUE(Selector{}.matches({}));
  const Selector both{{{"k", "a"}}, {{"x", Op::exists, {}}}};
  EXPECT_FALSE(both.matches(a));
  EXPECT_TRUE(both.matches({{"k", "a"}, {"x", ""}}));
}

TEST(Meta, EqualityLeavesOutThePlace) {
  Meta a;
  a.name = "y";
  a.origin = "a.yaml:1";
  Meta b = a;
  b.origin = "b.yaml:9";
  EXPECT_EQ(a, b);
  b.labels["k"] = "v";
  EXPECT_NE(a, b);
}

}  // namespace
}  // namespace podwire::control::kube
