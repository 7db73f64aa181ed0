// What bird is told, read back as statements and compared with what the objects mean: a case for
// each field. Each case is a cluster of three nodes with one change, and what that change adds to
// bird's configuration and takes away from it, with nothing else moving.
#include "control/bgp/render.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "control/kube/decode.h"
#include "control/store_writer.h"
#include "tests/unit/control/bgp/bird_syntax.h"

namespace podwire::control::bgp {
namespace {

using Statements = std::multiset<std::string>;

struct Cluster {
  Config config;
  Store store;
  StoreWriter writer{store};
  LinuxState linux_state;
  std::set<net::Prefix> service_routes;
  std::vector<build::Problem> problems;

  explicit Cluster(const std::string& self = "n2") {
    config.node_name = self;
    linux_state.host_tap_addresses = {{*net::Address::parse("10.0.0.2"), 24}};
    for (
        const char* node : {
            R"({"metadata":{"name":"n1","labels":{"rack":"r1"}},"spec":{"podCIDRs":["10.244.1.0/24"]},
                 "status":{"addresses":[{"type":"InternalIP","address":"10.0.0.1"}]}})",
            R"({"metadata":{"name":"n2","labels":{"rack":"r2"}},
                 "spec":{"podCIDRs":["10.244.2.0/24","fd00:2::/64"]},"status":{"addresses":[
                   {"type":"InternalIP","address":"10.0.0.2"},
                   {"type":"InternalIP","address":"fd00::2"}]}})",
            R"({"metadata":{"name":"n3","labels":{"rack":"r3"}},
                 "spec":{"podCIDRs":["10.244.3.0/24","fd00:3::/64"]},"status":{"addresses":[
                   {"type":"InternalIP","address":"10.1.0.3"},
                   {"type":"InternalIP","address":"fd00::3"}]}})"}) {
      put("v1", "Node", node);
    }
    calico("IPPool", R"({"metadata":{"name":"v4"},"spec":{"cidr":"10.244.0.0/16"}})");
  }
  void put(const char* version, const char* kind, const std::string& text) {
    auto json = nlohmann::json::parse(text);
    json["apiVersion"] = version;
    json["kind"] = kind;
    auto object = kube::decode(json);
    ASSERT_TRUE(object) << object.error().message;
    writer.put(std::move(*object));
  }
  void calico(const char* kind, const std::string& text) {
    put("projectcalico.org/v3", kind, text);
  }
  std::string text() {
    const auto self = store.nodes.find(config.node_name);
    const auto intent = intend({.config = config,
                                .store = store,
                                .linux_state = linux_state,
                                .own = self->second.pod_cidrs,
                                .service_routes = service_routes},
                               problems);
    return intent ? render(*intent) : "";
  }
  std::vector<std::string> sentences() {
    std::vector<std::string> all;
    for (const auto& problem : problems) all.push_back(problem.object + ": " + problem.sentence);
    return all;
  }
};

void configuration(Cluster& c, const std::string& spec) {
  c.calico("BGPConfiguration", R"({"metadata":{"name":"default"},"spec":)" + spec + "}");
}
void peer(Cluster& c, const std::string& spec, const char* name = "tor") {
  c.calico("BGPPeer",
           R"({"metadata":{"name":")" + std::string(name) + R"("},"spec":)" + spec + "}");
}
void filter(Cluster& c, const std::string& spec) {
  c.calico("BGPFilter", R"({"metadata":{"name":"f"},"spec":)" + spec + "}");
}
void secret(Cluster& c) {
  c.put("v1", "Secret",
        R"({"metadata":{"name":"bgp","namespace":"kube-system"},"data":{"tor":"czNjcmV0"}})");
}
void annotate(Cluster& c, const char* node, const char* annotations) {
  kube::Node changed = c.store.nodes.at(node);
  const auto json = nlohmann::json::parse(annotations);
  nlohmann::json object{{"apiVersion", "v1"}, {"kind", "Node"}, {"metadata", {{"name", node}}}};
  object["metadata"]["annotations"] = json;
  const auto read = kube::decode(object);
  ASSERT_TRUE(read) << read.error().message;
  const auto& given = std::get<kube::Node>(*read);
  changed.bgp_v4 = given.bgp_v4;
  changed.as_number = given.as_number;
  changed.tunnel_v4 = given.tunnel_v4;
  changed.reflector = given.reflector;
  c.writer.put(changed);
}

// The peer of most cases, and what it is told where a case does not say otherwise.
constexpr const char* kTor = R"({"peerIP":"192.0.2.1","asNumber":65001)";
constexpr const char* kIbgp = R"({"peerIP":"192.0.2.1","asNumber":64512)";
std::string tor(const std::string& more) {
  return kTor + ("," + more) + "}";
}
Statements tor_statements(const char* as_number = "65001", const char* name = "Global_192_0_2_1") {
  const std::string in = std::string("protocol bgp ") + name;
  const std::string channel = in + " / ipv4";
  return {in,
          in + " / description \"BGPPeer tor\"",
          in + " / local 10.0.0.2 as 64512",
          in + " / neighbor 192.0.2.1 as " + as_number,
          in + " / multihop",
          in + " / connect delay time 1",
          in + " / connect retry time 5",
          in + " / error wait time 5, 30",
          in + " / graceful restart on",
          channel,
          channel + " / gateway recursive",
          channel + " / add paths on",
          channel + " / import filter",
          channel + " / import filter / accept",
          channel + " / export filter",
          channel + " / export filter / podwire_export_v4()",
          channel + " / export filter / reject"};
}

struct Case {
  const char* name;
  std::function<void(Cluster&)> base;  // what is there before
  std::function<void(Cluster&)> change;
  Statements added, removed;
};
const auto kNothing = [](Cluster&) {};
const auto kWithTor = [](Cluster& c) { peer(c, tor(R"("keepOriginalNextHop":false)")); };
const auto kWithIbgp = [](Cluster& c) { peer(c, std::string(kIbgp) + "}"); };

const std::string kIn = "protocol bgp Global_192_0_2_1";
const std::string kChannel = kIn + " / ipv4";
const std::string kMesh1 = "protocol bgp Mesh_10_0_0_1", kMesh3 = "protocol bgp Mesh_10_1_0_3",
                  kMesh6 = "protocol bgp Mesh_fd00__3";

// Of a rule of a BGPFilter.
Case rule(const char* name, const char* list, const char* text, const char* statement,
          const char* after) {
  const std::string function =
      std::string("function '") +
      (std::string_view(list).starts_with("import") ? "import" : "export") + "_f_v" + list[7] +
      "'(bool outside)";
  const std::string spec = std::string("{\"") + list + "\":[" + text + "]}";
  return {name,
          [](Cluster& c) {
            filter(c, "{}");
            peer(c, tor(R"("filters":["f"])"));
          },
          [spec](Cluster& c) { filter(c, spec); },
          {function + " / " + statement, function + " / " + statement + " / " + after},
          {function + " / if false then reject"}};
}

const std::vector<Case>& cases() {
  static const std::vector<Case> kCases = [] {
    std::vector<Case> all{
        {"BGPPeer for all nodes", kNothing, kWithTor, tor_statements(), {}},
        {"BGPPeer for this node",
         kNothing,
         [](Cluster& c) { peer(c, tor(R"("node":"n2")")); },
         tor_statements("65001", "Node_192_0_2_1"),
         {}},
        {"BGPPeer for another node",
         kNothing,
         [](Cluster& c) { peer(c, tor(R"("node":"n1")")); },
         {},
         {}},
        {"BGPPeer whose selector has this node",
         kNothing,
         [](Cluster& c) { peer(c, tor(R"("nodeSelector":"rack == 'r2'")")); },
         tor_statements("65001", "Node_192_0_2_1"),
         {}},
        {"BGPPeer whose selector has another",
         kNothing,
         [](Cluster& c) { peer(c, tor(R"("nodeSelector":"rack != 'r2'")")); },
         {},
         {}},
        {"peer of this node's own address",
         kNothing,
         [](Cluster& c) { peer(c, R"({"peerIP":"10.0.0.2","asNumber":65001})"); },
         {},
         {}},
        {"localASNumber",
         kWithTor,
         [](Cluster& c) { peer(c, tor(R"("localASNumber":65010)")); },
         {kIn + " / local 10.0.0.2 as 65010"},
         {kIn + " / local 10.0.0.2 as 64512"}},
        {"password",
         [](Cluster& c) {
           secret(c);
           kWithTor(c);
         },
         [](Cluster& c) {
           peer(c, tor(R"("password":{"secretKeyRef":{"name":"bgp","key":"tor"}})"));
         },
         {kIn + " / password \"s3cret\""},
         {}},
        {"sourceAddress None",
         kWithTor,
         [](Cluster& c) { peer(c, tor(R"("sourceAddress":"None")")); },
         {kIn + " / local as 64512"},
         {kIn + " / local 10.0.0.2 as 64512"}},
        {"keepaliveTime",
         kWithTor,
         [](Cluster& c) { peer(c, tor(R"("keepaliveTime":"20s")")); },
         {kIn + " / keepalive time 20"},
         {}},
        {"maxRestartTime",
         kWithTor,
         [](Cluster& c) { peer(c, tor(R"("maxRestartTime":"2m1s")")); },
         {kIn + " / graceful restart time 121"},
         {}},
        {"nextHopMode Self",
         kWithTor,
         [](Cluster& c) { peer(c, tor(R"("nextHopMode":"Self")")); },
         {kChannel + " / next hop self"},
         {}},
        {"nextHopMode Keep",
         kWithTor,
         [](Cluster& c) { peer(c, tor(R"("nextHopMode":"Keep")")); },
         {kChannel + " / next hop keep"},
         {}},
        {"keepOriginalNextHop, another AS",
         kWithTor,
         [](Cluster& c) { peer(c, tor(R"("keepOriginalNextHop":true)")); },
         {kChannel + " / next hop keep"},
         {}},
        {"keepOriginalNextHop, the same AS",
         kWithIbgp,
         [](Cluster& c) { peer(c, std::string(kIbgp) + R"(,"keepOriginalNextHop":true})"); },
         {},
         {}},
        {"numAllowedLocalASNumbers",
         kWithTor,
         [](Cluster& c) { peer(c, tor(R"("numAllowedLocalASNumbers":2)")); },
         {kIn + " / allow local as 2"},
         {}},
        {"ttlSecurity",
         kWithTor,
         [](Cluster& c) { peer(c, tor(R"("ttlSecurity":3)")); },
         {kIn + " / ttl security on", kIn + " / multihop 3"},
         {kIn + " / multihop"}},
        {"reachableBy",
         kWithTor,
         [](Cluster& c) { peer(c, tor(R"("reachableBy":"10.0.0.254")")); },
         {"protocol static podwire_reach_v4 / route 192.0.2.1/32 via 10.0.0.254"},
         {}},
        {"failureDetectionMode, peer not on a network of the node",
         kWithTor,
         [](Cluster& c) { peer(c, tor(R"("failureDetectionMode":"BFDIfDirectlyConnected")")); },
         {},
         {}},
        {"failureDetectionMode",
         [](Cluster& c) { peer(c, R"({"peerIP":"10.0.0.254","asNumber":65001})"); },
         [](Cluster& c) {
           c.config.bgp_bfd_interval_ms = 50;
           peer(c, R"({"peerIP":"10.0.0.254","asNumber":65001,
                       "failureDetectionMode":"BFDIfDirectlyConnected"})");
         },
         {"protocol bgp Global_10_0_0_254 / direct", "protocol bgp Global_10_0_0_254 / bfd on",
          "protocol bfd podwire_bfd", "protocol bfd podwire_bfd / interface \"*\"",
          "protocol bfd podwire_bfd / interface \"*\" / min rx interval 50 ms",
          "protocol bfd podwire_bfd / interface \"*\" / min tx interval 50 ms",
          "protocol bfd podwire_bfd / interface \"*\" / idle tx interval 1 s",
          "protocol bfd podwire_bfd / interface \"*\" / multiplier 3"},
         {"protocol bgp Global_10_0_0_254 / multihop"}},
        {"peer's port",
         [](Cluster& c) { c.config.node_name = "n2"; },
         [](Cluster& c) { peer(c, R"({"peerIP":"192.0.2.1:178","asNumber":65001})"); },
         [] {
           Statements all;
           for (std::string one : tor_statements("65001", "Global_192_0_2_1_port_178")) {
             if (const auto at = one.find("192.0.2.1 as"); at != std::string::npos) {
               one.insert(at + 9, " port 178");
             }
             all.insert(one);
           }
           return all;
         }(),
         {}},
        {"filters, in their order",
         kWithTor,
         [](Cluster& c) {
           filter(c, "{}");
           peer(c, tor(R"("filters":["f"])"));
         },
         {"function 'import_f_v4'(bool outside)", "function 'import_f_v6'(bool outside)",
          "function 'export_f_v4'(bool outside)", "function 'export_f_v6'(bool outside)",
          "function 'import_f_v4'(bool outside) / if false then reject",
          "function 'import_f_v6'(bool outside) / if false then reject",
          "function 'export_f_v4'(bool outside) / if false then reject",
          "function 'export_f_v6'(bool outside) / if false then reject",
          kChannel + " / import filter / 'import_f_v4'(true)",
          kChannel + " / export filter / 'export_f_v4'(true)"},
         {}},
        {"a filter that is not there",
         kWithTor,
         [](Cluster& c) { peer(c, tor(R"("filters":["f"])")); },
         {kChannel + " / import none", kChannel + " / export none"},
         {kChannel + " / import filter", kChannel + " / import filter / accept",
          kChannel + " / export filter", kChannel + " / export filter / podwire_export_v4()",
          kChannel + " / export filter / reject"}},
        {"peerSelector",
         [](Cluster& c) { configuration(c, R"({"nodeToNodeMeshEnabled":false})"); },
         [](Cluster& c) {
           peer(c, R"({"nodeSelector":"rack == 'r2'","peerSelector":"rack == 'r1'"})");
         },
         [] {
           Statements all;
           for (std::string one : tor_statements("64512", "Node_10_0_0_1")) {
             if (const auto at = one.find("192.0.2.1"); at != std::string::npos) {
               one.replace(at, 9, "10.0.0.1");
             }
             if (one.ends_with("\"BGPPeer tor\"")) one.insert(one.size() - 1, ", node n1");
             all.insert(one);
           }
           return all;
         }(),
         {}},
        {"reversePeering, and who waits",
         [](Cluster& c) {
           configuration(c, R"({"nodeToNodeMeshEnabled":false})");
           peer(c, R"({"nodeSelector":"rack == 'r3'","peerSelector":"rack == 'r2'",
                       "reversePeering":"Manual"})");
         },
         [](Cluster& c) {
           peer(c, R"({"nodeSelector":"rack == 'r3'","peerSelector":"rack == 'r2'"})");
         },
         [] {
           Statements all;
           for (const bool v6 : {false, true}) {
             const std::string name = v6 ? "Node_fd00__3" : "Node_10_1_0_3";
             for (std::string one : tor_statements("64512", name.c_str())) {
               if (const auto at = one.find("192.0.2.1"); at != std::string::npos) {
                 one.replace(at, 9, v6 ? "fd00::3" : "10.1.0.3");
               }
               if (const auto at = one.find("10.0.0.2"); at != std::string::npos && v6) {
                 one.replace(at, 8, "fd00::2");
               }
               if (const auto at = one.find("ipv4"); at != std::string::npos && v6) {
                 one.replace(at, 4, "ipv6");
               }
               if (const auto at = one.find("_v4"); at != std::string::npos && v6) {
                 one.replace(at, 3, "_v6");
               }
               if (one.ends_with("\"BGPPeer tor\"")) one.insert(one.size() - 1, ", node n3");
               all.insert(one);
             }
             all.insert("protocol bgp " + name + " / passive on");
           }
           return all;
         }(),
         {}},
        {"asNumber of BGPConfiguration",
         kWithTor,
         [](Cluster& c) { configuration(c, R"({"asNumber":"1.10"})"); },
         {kIn + " / local 10.0.0.2 as 65546", kMesh1 + " / local 10.0.0.2 as 65546",
          kMesh1 + " / neighbor 10.0.0.1 as 65546", kMesh3 + " / local 10.0.0.2 as 65546",
          kMesh3 + " / neighbor 10.1.0.3 as 65546", kMesh6 + " / local fd00::2 as 65546",
          kMesh6 + " / neighbor fd00::3 as 65546"},
         {kIn + " / local 10.0.0.2 as 64512", kMesh1 + " / local 10.0.0.2 as 64512",
          kMesh1 + " / neighbor 10.0.0.1 as 64512", kMesh3 + " / local 10.0.0.2 as 64512",
          kMesh3 + " / neighbor 10.1.0.3 as 64512", kMesh6 + " / local fd00::2 as 64512",
          kMesh6 + " / neighbor fd00::3 as 64512"}},
        {"listenPort",
         kNothing,
         [](Cluster& c) { configuration(c, R"({"listenPort":178})"); },
         {kMesh1 + " / local 10.0.0.2 port 178 as 64512",
          kMesh1 + " / neighbor 10.0.0.1 port 178 as 64512",
          kMesh3 + " / local 10.0.0.2 port 178 as 64512",
          kMesh3 + " / neighbor 10.1.0.3 port 178 as 64512",
          kMesh6 + " / local fd00::2 port 178 as 64512",
          kMesh6 + " / neighbor fd00::3 port 178 as 64512"},
         {kMesh1 + " / local 10.0.0.2 as 64512", kMesh1 + " / neighbor 10.0.0.1 as 64512",
          kMesh3 + " / local 10.0.0.2 as 64512", kMesh3 + " / neighbor 10.1.0.3 as 64512",
          kMesh6 + " / local fd00::2 as 64512", kMesh6 + " / neighbor fd00::3 as 64512"}},
        {"listenPort of another node's BGPConfiguration",
         kNothing,
         [](Cluster& c) {
           c.calico("BGPConfiguration",
                    R"({"metadata":{"name":"node.n1"},"spec":{"listenPort":178}})");
         },
         {kMesh1 + " / neighbor 10.0.0.1 port 178 as 64512"},
         {kMesh1 + " / neighbor 10.0.0.1 as 64512"}},
        {"nodeMeshPassword",
         secret,
         [](Cluster& c) {
           configuration(c, R"({"nodeMeshPassword":{"secretKeyRef":{"name":"bgp","key":"tor"}}})");
         },
         {kMesh1 + " / password \"s3cret\"", kMesh3 + " / password \"s3cret\"",
          kMesh6 + " / password \"s3cret\""},
         {}},
        {"nodeMeshMaxRestartTime",
         kNothing,
         [](Cluster& c) { configuration(c, R"({"nodeMeshMaxRestartTime":"90s"})"); },
         {kMesh1 + " / graceful restart time 90", kMesh3 + " / graceful restart time 90",
          kMesh6 + " / graceful restart time 90"},
         {}},
        {"bindMode",
         kWithTor,
         [](Cluster& c) { configuration(c, R"({"bindMode":"NodeIP"})"); },
         {kIn + " / strict bind on", kMesh1 + " / strict bind on", kMesh3 + " / strict bind on",
          kMesh6 + " / strict bind on"},
         {}},
        {"ignoredInterfaces",
         kNothing,
         [](Cluster& c) { configuration(c, R"({"ignoredInterfaces":["docker*","eth9"]})"); },
         {"protocol direct podwire_direct / interface -\"docker*\", -\"eth9\", \"*\""},
         {"protocol direct podwire_direct / interface \"*\""}},
        {"logSeverityScreen",
         kNothing,
         [](Cluster& c) { configuration(c, R"({"logSeverityScreen":"Fatal"})"); },
         {"log stderr / fatal, bug"},
         {"log stderr / info, remote, warning, error, auth, fatal, bug", "debug protocols",
          "debug protocols / states"}},
        {"prefixAdvertisements, by value and by name",
         kNothing,
         [](Cluster& c) {
           configuration(c, R"({"communities":[{"name":"site","value":"65000:1:2"}],
             "prefixAdvertisements":[{"cidr":"10.244.0.0/16","communities":["site","65000:7"]}]})");
         },
         {"function podwire_export_v4() / if net ~ 10.244.0.0/16 then",
          "function podwire_export_v4() / if net ~ 10.244.0.0/16 then / "
          "bgp_large_community.add((65000, 1, 2))",
          "function podwire_export_v4() / if net ~ 10.244.0.0/16 then / "
          "bgp_community.add((65000, 7))"},
         {}},
        {"ranges of Services are not learned",
         kNothing,
         [](Cluster& c) {
           configuration(c, R"({"serviceClusterIPs":[{"cidr":"10.96.0.0/12"}],
             "serviceExternalIPs":[{"cidr":"203.0.113.0/24"}],
             "serviceLoadBalancerIPs":[{"cidr":"fd00:99::/64"}]})");
         },
         {"filter podwire_to_linux_v4 / if net ~ [ 10.96.0.0/12+, 203.0.113.0/24+ ] then reject",
          "filter podwire_to_linux_v6 / if net ~ [ fd00:99::/64+ ] then reject"},
         {}},
        {"routes of Services",
         kNothing,
         [](Cluster& c) {
           c.service_routes = {*net::Prefix::parse("10.96.0.0/12"),
                               *net::Prefix::parse("fd00:99::1/128")};
         },
         {"protocol static podwire_services_v4 / route 10.96.0.0/12 blackhole",
          "protocol static podwire_services_v6 / route fd00:99::1/128 blackhole"},
         {}},
        {"disableBGPExport",
         kNothing,
         [](Cluster& c) {
           c.calico("IPPool", R"({"metadata":{"name":"v4"},
             "spec":{"cidr":"10.244.0.0/16","disableBGPExport":true}})");
         },
         {"function podwire_export_v4() / if net ~ [ 10.244.0.0/16+ ] then reject"},
         {"function podwire_export_v4() / if net ~ [ 10.244.0.0/16+ ] then accept"}},
        {"a tunnel address: the source of Linux's routes into pools that encapsulate",
         [](Cluster& c) {
           c.calico("IPPool",
                    R"({"metadata":{"name":"v4"},
                      "spec":{"cidr":"10.244.0.0/16","ipipMode":"CrossSubnet"}})");
           annotate(c, "n2", R"({"projectcalico.org/IPv4IPIPTunnelAddr":"10.244.2.9"})");
         },
         // Once Linux has it; Linux refuses a source that is not its own.
         [](Cluster& c) {
           c.linux_state.host_tap_addresses.push_back({*net::Address::parse("10.244.2.9"), 32});
         },
         {"filter podwire_to_linux_v4 / if net ~ [ 10.244.0.0/16+ ] then krt_prefsrc = "
          "10.244.2.9"},
         {}},
        {"a pool that is disabled",
         kNothing,
         [](Cluster& c) {
           c.calico("IPPool", R"({"metadata":{"name":"v4"},
             "spec":{"cidr":"10.244.0.0/16","disabled":true}})");
         },
         {},
         {"function podwire_export_v4() / if net ~ [ 10.244.0.0/16+ ] then accept"}},
        {"ASNumber of another node",
         kNothing,
         [](Cluster& c) { annotate(c, "n1", R"({"projectcalico.org/ASNumber":"65009"})"); },
         {kMesh1 + " / neighbor 10.0.0.1 as 65009"},
         {kMesh1 + " / neighbor 10.0.0.1 as 64512"}},
        {"IPv4Address of another node", kNothing,
         [](Cluster& c) {
           annotate(c, "n1", R"({"projectcalico.org/IPv4Address":"10.0.9.1/24"})");
         },
         [] {
           Statements all;
           for (std::string one : tor_statements("64512", "Mesh_10_0_9_1")) {
             if (const auto at = one.find("192.0.2.1"); at != std::string::npos) {
               one.replace(at, 9, "10.0.9.1");
             }
             if (const auto at = one.find("BGPPeer tor"); at != std::string::npos) {
               one.replace(at, 11, "node mesh, node n1");
             }
             all.insert(one);
           }
           // "10.0.9.1" is more than "10.0.0.2": it is the other that connects.
           all.insert("protocol bgp Mesh_10_0_9_1 / passive on");
           return all;
         }(),
         [] {
           Statements all;
           for (std::string one : tor_statements("64512", "Mesh_10_0_0_1")) {
             if (const auto at = one.find("192.0.2.1"); at != std::string::npos) {
               one.replace(at, 9, "10.0.0.1");
             }
             if (const auto at = one.find("BGPPeer tor"); at != std::string::npos) {
               one.replace(at, 11, "node mesh, node n1");
             }
             all.insert(one);
           }
           return all;
         }()},
        {"bgp-mesh-bfd: peers on a network of the node",
         kNothing,
         [](Cluster& c) { c.config.bgp_mesh_bfd = true; },
         {kMesh1 + " / direct", kMesh1 + " / bfd on", "protocol bfd podwire_bfd",
          "protocol bfd podwire_bfd / interface \"*\"",
          "protocol bfd podwire_bfd / interface \"*\" / min rx interval 300 ms",
          "protocol bfd podwire_bfd / interface \"*\" / min tx interval 300 ms",
          "protocol bfd podwire_bfd / interface \"*\" / idle tx interval 1 s",
          "protocol bfd podwire_bfd / interface \"*\" / multiplier 3"},
         {kMesh1 + " / multihop"}},
        {"route reflector: its clients, and what it hands on",
         [](Cluster& c) {
           configuration(c, R"({"nodeToNodeMeshEnabled":false,
             "serviceLoadBalancerIPs":[{"cidr":"203.0.113.0/24"}]})");
           peer(c, std::string(kIbgp) + "}");
         },
         [](Cluster& c) {
           annotate(c, "n2", R"({"projectcalico.org/RouteReflectorClusterID":"244.0.0.1"})");
         },
         {kIn + " / rr client", kIn + " / rr cluster id 244.0.0.1",
          "function podwire_export_v4() / if net ~ [ 203.0.113.0/24+ ] then accept"},
         {}},
    };
    const char* in = R"({"cidr":"10.0.0.0/8","matchOperator":"In","action":"Accept"})";
    all.push_back(rule("cidr In", "importV4", in, "if net ~ [ 10.0.0.0/8{8,32} ] then", "accept"));
    all.push_back(rule("cidr NotIn", "exportV6",
                       R"({"cidr":"fd00::/8","matchOperator":"NotIn","action":"Reject"})",
                       "if net !~ [ fd00::/8{8,128} ] then", "reject"));
    all.push_back(rule("cidr Equal", "importV4",
                       R"({"cidr":"10.0.0.0/8","matchOperator":"Equal","action":"Accept"})",
                       "if net = 10.0.0.0/8 then", "accept"));
    all.push_back(rule("cidr NotEqual", "importV4",
                       R"({"cidr":"10.0.0.0/8","matchOperator":"NotEqual","action":"Accept"})",
                       "if net != 10.0.0.0/8 then", "accept"));
    all.push_back(rule("prefixLength", "exportV4",
                       R"({"cidr":"10.0.0.0/8","matchOperator":"In","action":"Reject",
                           "prefixLength":{"min":16,"max":24}})",
                       "if net ~ [ 10.0.0.0/8{16,24} ] then", "reject"));
    all.push_back(rule("source", "exportV4", R"({"source":"RemotePeers","action":"Reject"})",
                       "if source = RTS_BGP then", "reject"));
    all.push_back(rule("interface", "exportV4", R"({"interface":"eth*","action":"Reject"})",
                       "if ifname ~ \"eth*\" then", "reject"));
    all.push_back(rule("peerType eBGP", "importV4", R"({"peerType":"eBGP","action":"Accept"})",
                       "if outside then", "accept"));
    all.push_back(rule("peerType iBGP", "importV4", R"({"peerType":"iBGP","action":"Accept"})",
                       "if !outside then", "accept"));
    all.push_back(rule("communities", "importV4",
                       R"({"communities":{"values":["65000:9"]},"action":"Reject"})",
                       "if (65000, 9) ~ bgp_community then", "reject"));
    all.push_back(rule("large communities", "importV4",
                       R"({"communities":{"values":["70000:9:1"]},"action":"Reject"})",
                       "if (70000, 9, 1) ~ bgp_large_community then", "reject"));
    all.push_back(rule("asPathPrefix", "importV4",
                       R"({"asPathPrefix":[65001,"65002"],"action":"Accept"})",
                       "if bgp_path ~ [= 65001 65002 * =] then", "accept"));
    all.push_back(rule("priority", "exportV4", R"({"priority":512,"action":"Accept"})",
                       "if defined(krt_metric) && krt_metric = 512 then", "accept"));
    all.push_back(rule("several conditions", "exportV4",
                       R"({"cidr":"10.0.0.0/8","matchOperator":"Equal","source":"RemotePeers",
                           "action":"Accept"})",
                       "if net = 10.0.0.0/8 && source = RTS_BGP then", "accept"));
    all.push_back(
        rule("no condition", "importV6", R"({"action":"Reject"})", "if true then", "reject"));
    Case operations = rule("operations", "exportV4", R"({"action":"Accept","operations":[
        {"addCommunity":{"value":"65000:1"}},{"addCommunity":{"value":"1:2:3"}},
        {"prependASPath":{"prefix":[65001,65002]}},{"setPriority":{"value":100}}]})",
                           "if true then", "accept");
    for (const char* one :
         {"bgp_community.add((65000, 1))", "bgp_large_community.add((1, 2, 3))",
          "bgp_path.prepend(65002)", "bgp_path.prepend(65001)", "krt_metric = 100"}) {
      operations.added.insert("function 'export_f_v4'(bool outside) / if true then / " +
                              std::string(one));
    }
    all.push_back(operations);
    return all;
  }();
  return kCases;
}

std::string text_of(const Statements& statements) {
  std::string text;
  for (const auto& one : statements) text += "  " + one + "\n";
  return text;
}

Statements without(Statements all, const Statements& taken) {
  for (const auto& one : taken) {
    if (const auto found = all.find(one); found != all.end()) all.erase(found);
  }
  return all;
}

TEST(Render, SaysWhatEachFieldMeansAndNothingElse) {
  for (const Case& c : cases()) {
    Cluster cluster;
    c.base(cluster);
    const Statements before = tests::bird_statements(cluster.text());
    c.change(cluster);
    const Statements after = tests::bird_statements(cluster.text());
    EXPECT_EQ(text_of(without(after, before)), text_of(c.added)) << c.name;
    EXPECT_EQ(text_of(without(before, after)), text_of(c.removed)) << c.name;
  }
}

// What no case changes, in whole.
TEST(Render, TellsANodeOfTheMesh) {
  Cluster cluster;
  const Statements all = tests::bird_statements(cluster.text());
  for (const char* one : {
           "router id 10.0.0.2",
           "protocol kernel podwire_kernel_v4 / ipv4 / import where krt_source != 112",
           "protocol kernel podwire_kernel_v4 / ipv4 / export filter podwire_to_linux_v4",
           "protocol kernel podwire_kernel_v6 / merge paths on",
           "protocol kernel podwire_kernel_v4 / persist",
           "protocol kernel podwire_kernel_v4 / learn",
           "filter podwire_to_linux_v4 / if source = RTS_BGP then accept",
           "filter podwire_to_linux_v4 / reject",
           "protocol static podwire_own_v4 / route 10.244.2.0/24 blackhole",
           "protocol static podwire_own_v6 / route fd00:2::/64 blackhole",
           "function podwire_export_v4() / if net = 10.244.2.0/24 then accept",
           "function podwire_export_v4() / if net ~ 10.244.2.0/24 then reject",
           "function podwire_export_v4() / if source = RTS_STATIC && "
           "proto = \"podwire_services_v4\" then accept",
           "function podwire_export_v4() / reject",
           "protocol bgp Mesh_10_1_0_3 / passive on",
           "protocol bgp Mesh_fd00__3 / passive on",
       }) {
    EXPECT_EQ(all.count(one), 1U) << one;
  }
  EXPECT_EQ(all.count("protocol bgp Mesh_10_0_0_1 / passive on"), 0U);
}

TEST(Render, KeepsTheOrderThatDecides) {
  Cluster cluster;
  cluster.calico("IPPool", R"({"metadata":{"name":"a"},
    "spec":{"cidr":"10.244.128.0/17","disableBGPExport":true}})");
  filter(cluster, R"({"exportV4":[{"cidr":"10.1.0.0/16","matchOperator":"In","action":"Accept"},
    {"action":"Reject"}]})");
  cluster.calico("BGPFilter", R"({"metadata":{"name":"a"},"spec":{}})");
  peer(cluster, tor(R"("filters":["f","a"])"));
  const std::string text = cluster.text();
  std::size_t last = 0;
  for (const char* part : {"then { accept; }", "if true then { reject; }", "10.244.128.0/17+ ]",
                           "net = 10.244.2.0/24", "net ~ 10.244.2.0/24", "RTS_STATIC",
                           "[ 10.244.0.0/16+ ]", "'import_f_v4'(true)", "'import_a_v4'(true)",
                           "'export_f_v4'(true)", "'export_a_v4'(true)", "podwire_export_v4();"}) {
    const auto at = text.find(part, last);
    ASSERT_NE(at, std::string::npos) << part << " is not behind what stands before it:\n" << text;
    last = at;
  }
}

TEST(Render, RouteReflectorIsInNoMesh) {
  Cluster cluster;
  annotate(cluster, "n1", R"({"projectcalico.org/RouteReflectorClusterID":"244.0.0.1"})");
  EXPECT_EQ(cluster.text().find("Mesh_10_0_0_1"), std::string::npos);
  EXPECT_NE(cluster.text().find("Mesh_10_1_0_3"), std::string::npos);
  Cluster reflector("n1");
  annotate(reflector, "n1", R"({"projectcalico.org/RouteReflectorClusterID":"244.0.0.1"})");
  EXPECT_EQ(reflector.text().find("Mesh_"), std::string::npos);
}

TEST(Render, ReflectorsOfOneClusterAreNoClientsOfEachOther) {
  Cluster cluster;
  for (const char* node : {"n1", "n2"}) {
    annotate(cluster, node, R"({"projectcalico.org/RouteReflectorClusterID":"244.0.0.1"})");
  }
  peer(cluster, R"({"peerSelector":"rack != 'r9'"})");
  const Statements all = tests::bird_statements(cluster.text());
  EXPECT_EQ(all.count("protocol bgp Node_10_0_0_1 / rr client"), 0U);
  EXPECT_EQ(all.count("protocol bgp Node_10_1_0_3 / rr client"), 1U);
}

TEST(Render, PeerThatANodeIsHasTheObjectsWordBeforeTheMesh) {
  Cluster cluster;
  peer(cluster, R"({"peerIP":"10.0.0.1","asNumber":64512})");
  const std::string text = cluster.text();
  EXPECT_EQ(text.find("Mesh_10_0_0_1"), std::string::npos);
  EXPECT_NE(text.find("Global_10_0_0_1"), std::string::npos);
}

TEST(Render, SaysWhatIsMissing) {
  Cluster cluster;
  peer(cluster, tor(R"("password":{"secretKeyRef":{"name":"bgp","key":"tor"}})"));
  peer(cluster, R"({"peerIP":"192.0.2.2","asNumber":1,"filters":["f"]})", "b");
  peer(cluster, R"({"peerIP":"192.0.2.2","asNumber":2})", "c");
  configuration(cluster, R"({"prefixAdvertisements":[
    {"cidr":"10.244.0.0/16","communities":["site"]}]})");
  EXPECT_EQ(cluster.text().find("192.0.2.1"), std::string::npos);
  const std::vector<std::string> wanted{
      "BGPConfiguration default: spec.prefixAdvertisements[0].communities: \"site\" is neither a "
      "community nor the name of one in spec.communities; 10.244.0.0/16 goes without it",
      "BGPPeer b: spec.filters: there is no BGPFilter f; no route passes until there is",
      "BGPPeer c: peers with 192.0.2.2, which BGPPeer b does too and keeps",
      "BGPPeer tor: spec.password: there is no Secret kube-system/bgp; the peering waits for it"};
  EXPECT_EQ(cluster.sentences(), wanted);
}

TEST(Render, FunctionNamesAreShortAndTheirOwn) {
  const std::string a = filter_function(std::string(200, 'a') + "1", true, net::Family::v4);
  const std::string b = filter_function(std::string(200, 'a') + "2", true, net::Family::v4);
  EXPECT_NE(a, b);
  EXPECT_LE(a.size(), 64U + 2);
}

// The real one reads every case's text.
TEST(Render, IsUnderstoodByBird) {
  constexpr const char* kBird = "/usr/sbin/bird";
  if (access(kBird, X_OK) != 0) GTEST_SKIP() << "there is no " << kBird;
  const std::string file = testing::TempDir() + "podwire-render-" + std::to_string(getpid());
  for (const Case& c : cases()) {
    Cluster cluster;
    c.base(cluster);
    c.change(cluster);
    std::ofstream(file) << cluster.text();
    const std::string command = std::string(kBird) + " -p -c " + file + " 2>&1";
    FILE* const bird = popen(command.c_str(), "r");
    ASSERT_NE(bird, nullptr);
    char said[512] = "";
    const auto count = fread(said, 1, sizeof said - 1, bird);
    EXPECT_EQ(pclose(bird), 0) << c.name << ": " << std::string(said, count);
  }
  std::remove(file.c_str());
}

}  // namespace
}  // namespace podwire::control::bgp
