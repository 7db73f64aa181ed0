// Calico's objects about BGP and Secrets: what is refused, and with which words.
#include <gtest/gtest.h>

#include "control/kube/decode.h"

namespace podwire::control::kube {
namespace {

using nlohmann::json;

json object(const char* kind, const char* spec, const char* version = "projectcalico.org/v3") {
  return {{"apiVersion", version},
          {"kind", kind},
          {"metadata", {{"name", "x"}}},
          {"spec", json::parse(spec)}};
}

struct BgpRefusal {
  const char* kind;
  const char* spec;
  const char* sentence;
};
const BgpRefusal kBgpRefusals[] = {
    {"BGPConfiguration", R"({"asNumber":"64x"})",
     R"(spec.asNumber: "64x" is not an AS number such as 64512 or 1.10)"},
    {"BGPConfiguration", R"({"asNumber":4294967296})",
     "spec.asNumber: 4294967296 is not between 0 and 4294967295"},
    {"BGPConfiguration", R"({"asNumber":"1.65536"})",
     R"(spec.asNumber: "1.65536" is not an AS number such as 64512 or 1.10)"},
    {"BGPConfiguration", R"({"listenPort":0})", "spec.listenPort: 0 is not between 1 and 65535"},
    {"BGPConfiguration", R"({"logSeverityScreen":"Loud"})",
     R"(spec.logSeverityScreen: "Loud" is not Debug, Info, Warning, Error or Fatal)"},
    {"BGPConfiguration", R"({"bindMode":"Any"})", R"(spec.bindMode: "Any" is not None or NodeIP)"},
    {"BGPConfiguration", R"({"nodeMeshPassword":{"secretKeyRef":{"name":"a"}}})",
     "spec.nodeMeshPassword.secretKeyRef.key: is not given"},
    {"BGPConfiguration", R"({"nodeMeshMaxRestartTime":"120"})",
     "spec.nodeMeshMaxRestartTime: \"120\" is not a duration up to 65535s, such as 120s or 2m"},
    {"BGPConfiguration", R"({"nodeMeshMaxRestartTime":"100h"})",
     "spec.nodeMeshMaxRestartTime: \"100h\" is not a duration up to 65535s, such as 120s or 2m"},
    {"BGPConfiguration", R"({"ignoredInterfaces":["a\";"]})",
     R"(spec.ignoredInterfaces[0]: "a\";" is not an interface's name or pattern)"},
    {"BGPConfiguration", R"({"serviceClusterIPs":[{"cidr":"10.96.0.0"}]})",
     R"(spec.serviceClusterIPs[0].cidr: "10.96.0.0" is not a CIDR such as 10.0.0.0/8)"},
    {"BGPConfiguration", R"({"communities":[{"name":"a","value":"1:2:3:4"}]})",
     "spec.communities[0].value: \"1:2:3:4\" is not a community: two numbers up to 65535 or three "
     "up to 4294967295, such as 65000:100 or 65000:1:2"},
    {"BGPConfiguration", R"({"communities":[{"name":"a","value":"70000:1"}]})",
     "spec.communities[0].value: \"70000:1\" is not a community: two numbers up to 65535 or three "
     "up to 4294967295, such as 65000:100 or 65000:1:2"},
    {"BGPPeer", "{}", "spec.peerIP: is not given; it or spec.peerSelector says who the peer is"},
    {"BGPPeer", R"({"peerIP":"192.0.2.1"})", "spec.asNumber: is not given, or 0"},
    {"BGPPeer", R"({"peerIP":"192.0.2.1:0","asNumber":1})",
     "spec.peerIP: \"192.0.2.1:0\" is not an address, or an address and a port, such as 192.0.2.1, "
     "192.0.2.1:178 or [2001:db8::1]:178"},
    {"BGPPeer", R"({"peerIP":"tor","asNumber":1})",
     "spec.peerIP: \"tor\" is not an address, or an address and a port, such as 192.0.2.1, "
     "192.0.2.1:178 or [2001:db8::1]:178"},
    {"BGPPeer", R"({"peerSelector":"a == 'b'","peerIP":"192.0.2.1"})",
     "spec.peerIP: is given although spec.peerSelector is"},
    {"BGPPeer", R"({"peerSelector":"a == 'b'","asNumber":1})",
     "spec.asNumber: is given although spec.peerSelector is"},
    {"BGPPeer", R"({"peerSelector":"rack = 'a'"})",
     "spec.peerSelector: at character 6 a comparison (==, !=, in, not in, contains, starts with) "
     "is expected"},
    {"BGPPeer", R"({"node":"a","nodeSelector":"a == 'b'","peerSelector":"a == 'b'"})",
     "spec.nodeSelector: is given although spec.node is; one of them says which nodes"},
    {"BGPPeer", R"({"localWorkloadSelector":"a == 'b'","asNumber":1})",
     "spec.localWorkloadSelector: \"a == 'b'\" is given, but podwire's bird does not speak BGP "
     "with pods"},
    {"BGPPeer", R"({"peerIP":"192.0.2.1","asNumber":1,"ttlSecurity":0})",
     "spec.ttlSecurity: 0 is not between 1 and 255"},
    {"BGPPeer", R"({"peerIP":"192.0.2.1","asNumber":1,"reachableBy":"fd00::1"})",
     R"(spec.reachableBy: "fd00::1" is of the other family than spec.peerIP)"},
    {"BGPPeer",
     R"({"peerIP":"192.0.2.1","asNumber":1,"keepOriginalNextHop":true,"nextHopMode":"Self"})",
     "spec.nextHopMode: is \"Self\" although spec.keepOriginalNextHop is true"},
    {"BGPPeer", R"({"peerIP":"192.0.2.1","asNumber":1,"failureDetectionMode":"Ping"})",
     R"(spec.failureDetectionMode: "Ping" is not None or BFDIfDirectlyConnected)"},
    {"BGPFilter", R"({"importV4":[{}]})", "spec.importV4[0].action: is not given"},
    {"BGPFilter", R"({"importV4":[{"cidr":"10.0.0.0/8","action":"Accept"}]})",
     "spec.importV4[0].matchOperator: is not given"},
    {"BGPFilter", R"({"importV4":[{"matchOperator":"In","action":"Accept"}]})",
     "spec.importV4[0].matchOperator: is given without a cidr"},
    {"BGPFilter", R"({"importV4":[{"cidr":"10.1.0.0/8","matchOperator":"In","action":"Accept"}]})",
     "spec.importV4[0].cidr: \"10.1.0.0/8\" has bits set past its length; the network is "
     "10.0.0.0/8"},
    {"BGPFilter", R"({"importV4":[{"cidr":"fd00::/8","matchOperator":"In","action":"Accept"}]})",
     R"(spec.importV4[0].cidr: "fd00::/8" is of the other family than its list of rules)"},
    {"BGPFilter",
     R"({"exportV4":[{"cidr":"10.0.0.0/8","matchOperator":"In","action":"Accept",
         "prefixLength":{"min":24,"max":16}}]})",
     "spec.exportV4[0].prefixLength: min 24 is more than max 16; no prefix is both"},
    {"BGPFilter",
     R"({"exportV4":[{"cidr":"10.1.0.0/16","matchOperator":"In","action":"Accept",
         "prefixLength":{"max":8}}]})",
     "spec.exportV4[0].prefixLength: max 8 is shorter than 10.1.0.0/16; no prefix in it is"},
    {"BGPFilter",
     R"({"exportV4":[{"cidr":"10.0.0.0/8","matchOperator":"In","action":"Accept",
         "prefixLength":{"min":33}}]})",
     "spec.exportV4[0].prefixLength.min: 33 is not between 0 and 32"},
    {"BGPFilter", R"({"importV6":[{"source":"RemotePeers","action":"Accept"}]})",
     "spec.importV6[0].source: is given for an import; all that is imported is from peers"},
    {"BGPFilter", R"({"importV4":[{"interface":"e\"","action":"Accept"}]})",
     R"(spec.importV4[0].interface: "e\"" is not an interface's name or pattern)"},
    {"BGPFilter", R"({"importV4":[{"communities":{"values":["1:2","1:3"]},"action":"Accept"}]})",
     "spec.importV4[0].communities.values[1]: is a second community; Calico allows one"},
    {"BGPFilter", R"({"importV4":[{"priority":0,"action":"Accept"}]})",
     "spec.importV4[0].priority: 0 is not between 1 and 2147483646"},
    {"BGPFilter",
     R"({"importV4":[{"action":"Reject","operations":[{"setPriority":{"value":1}}]}]})",
     "spec.importV4[0].operations[0]: is given for a rule that rejects"},
    {"BGPFilter", R"({"importV4":[{"action":"Accept","operations":[{}]}]})",
     "spec.importV4[0].operations[0]: is not one of addCommunity, prependASPath and setPriority"},
};

TEST(DecodeBgp, RefusesWithOneSentence) {
  for (const BgpRefusal& refusal : kBgpRefusals) {
    const auto result = decode(object(refusal.kind, refusal.spec));
    ASSERT_FALSE(result) << refusal.kind << " " << refusal.spec;
    EXPECT_EQ(result.error().message, std::string(refusal.kind) + " x: " + refusal.sentence);
  }
}

TEST(DecodeBgp, ReadsBothGroupsAndDefaults) {
  for (const char* version : {"projectcalico.org/v3", "crd.projectcalico.org/v1"}) {
    const auto read = decode(object("BGPPeer", R"({"peerSelector":"a == 'b'"
  })",
                                    version));
    ASSERT_TRUE(read) << read.error().message;
    const auto& peer = std::get<BgpPeer>(*read);
    EXPECT_TRUE(peer.reverse && peer.source_address);
    EXPECT_FALSE(peer.bfd || peer.keep_original_next_hop || peer.password);
  }
  const auto read = decode(object("BGPConfiguration", "{}"));
  ASSERT_TRUE(read);
  const auto& configuration = std::get<BgpConfiguration>(*read);
  EXPECT_FALSE(configuration.node_mesh.has_value());
  EXPECT_TRUE(configuration.aggregate_load_balancer_ips);
}

TEST(DecodeBgp, ReadsPeersAddressesWithAndWithoutPorts) {
  struct Case {
    const char* text;
    const char* address;
    std::uint16_t port;
  };
  for (const Case& c :
       {Case{"192.0.2.1", "192.0.2.1", 0}, Case{"192.0.2.1:178", "192.0.2.1", 178},
        Case{"2001:db8::1", "2001:db8::1", 0}, Case{"[2001:db8::1]:178", "2001:db8::1", 178}}) {
    const auto read = decode(
        object("BGPPeer", (R"({"asNumber":1,"peerIP":")" + std::string(c.text) + "\"}").c_str()));
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(std::get<BgpPeer>(*read).peer_ip->to_string(), c.address);
    EXPECT_EQ(std::get<BgpPeer>(*read).peer_port, c.port);
  }
}

TEST(DecodeBgp, RoundsDurationsUp) {
  for (const auto& [text, seconds] :
       {std::pair{"120s", 120U}, {"1m30s", 90U}, {"1h", 3600U}, {"500ms", 1U}, {"1s1ms", 2U}}) {
    const auto read = decode(object(
        "BGPPeer",
        (R"({"peerSelector":"a == 'b'","maxRestartTime":")" + std::string(text) + "\"}").c_str()));
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(std::get<BgpPeer>(*read).restart_seconds, seconds) << text;
  }
}

json secret(const char* field, const char* values) {
  json made{{"apiVersion", "v1"}, {"kind", "Secret"}, {"metadata", {{"name", "s"}}}};
  made[field] = json::parse(values);
  return made;
}

TEST(DecodeSecret, ReadsBothFields) {
  for (const auto& made :
       {secret("data", R"({"k":"aHVzaA=="})"), secret("stringData", R"({"k":"hush"})")}) {
    const auto read = decode(made);
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(std::get<Secret>(*read).values.at("k"), "hush");
  }
}

TEST(DecodeSecret, NeverShowsAValue) {
  for (const auto& made :
       {secret("data", R"({"k":"hush!"})"), secret("data", R"({"k":31337})"),
        secret("stringData", R"({"k":31337})"), secret("stringData", R"({"k":["hush!"]})")}) {
    const auto read = decode(made);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().message.find("hush"), std::string::npos) << read.error().message;
    EXPECT_EQ(read.error().message.find("31337"), std::string::npos) << read.error().message;
    EXPECT_NE(read.error().message.find("Secret default/s: "), std::string::npos);
  }
}

TEST(DecodeNode, ReadsWhatItSpeaksBgpWith) {
  const auto read = decode(json::parse(R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"n",
    "annotations":{"projectcalico.org/IPv4Address":"10.0.0.2/24",
      "projectcalico.org/IPv6Address":"fd00::2/64","projectcalico.org/ASNumber":"65009",
      "projectcalico.org/RouteReflectorClusterID":"244.0.0.1"}}})"));
  ASSERT_TRUE(read) << read.error().message;
  const auto& node = std::get<Node>(*read);
  EXPECT_EQ(node.bgp_v4->to_string(), "10.0.0.2");
  EXPECT_EQ(node.bgp_v6->to_string(), "fd00::2");
  EXPECT_EQ(node.as_number, 65009U);
  EXPECT_EQ(node.reflector->to_string(), "244.0.0.1");
  const auto wrong = decode(json::parse(R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"n",
    "annotations":{"projectcalico.org/RouteReflectorClusterID":"fd00::1"}}})"));
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().message,
            "Node n: metadata.annotations.projectcalico.org/RouteReflectorClusterID: \"fd00::1\" "
            "is not a cluster ID such as 244.0.0.1");
}

}  // namespace
}  // namespace podwire::control::kube
