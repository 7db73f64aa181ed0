#include "control/cni/port_kind.h"

#include <gtest/gtest.h>

namespace podwire::control {
namespace {

using nlohmann::json;

cni::PortWish wish_of(const std::string& text) {
  cni::PortWish wish;
  std::string error;
  cni::read_port_wish(json::parse(text), "port", wish, error);
  EXPECT_EQ(error, "");
  return wish;
}

const PortPlace kPlace{.folder = "/run/podwire/ports/", .pod = "uid", .interface = "net1"};

std::string refusal(const std::string& text) {
  const auto chosen = choose_port(wish_of(text), kPlace);
  return chosen ? "" : chosen.error().message;
}

PodPort chosen(const std::string& text) {
  const auto port = choose_port(wish_of(text), kPlace);
  EXPECT_TRUE(port) << port.error().message;
  return port.value_or(PodPort{});
}

Attachment attachment(const std::string& text) {
  Attachment a;
  a.interface = "net1";
  a.network = "fast";
  a.mac = *net::Mac::parse("0a:58:0a:00:00:01");
  a.kind = chosen(text);
  return a;
}

TEST(PortKind, DefaultsAreATapAndSocketsOfThePodsOwn) {
  EXPECT_EQ(chosen("{}").kind, PortKind::tap);
  const PodPort memif = chosen(R"("memif")");
  EXPECT_EQ(memif.socket, "@podwire/net1");
  EXPECT_EQ(memif.queues, 1U);
  EXPECT_FALSE(memif.client);
  const PodPort vhost = chosen(R"({"kind": "vhost-user"})");
  EXPECT_EQ(vhost.socket, "/run/podwire/ports/uid/net1.sock");
  EXPECT_EQ(vhost.folder, "/run/podwire/ports/uid");
  EXPECT_EQ(vhost.queues, 0U) << "one a worker";
  EXPECT_TRUE(vhost.client);
  const PodPort file = chosen(R"({"kind": "memif", "socket": "/run/one.sock", "mode": "600"})");
  EXPECT_EQ(file.folder, "") << "the operator's";
  EXPECT_EQ(file.mode, 0600);
  EXPECT_EQ(chosen(R"({"kind": "memif", "socket": "/run/m/"})").socket, "/run/m/uid/net1.sock");
}

TEST(PortKind, RefusalsNameTheOption) {
  const std::pair<const char*, const char*> cases[] = {
      {R"("veth")", "port.kind: \"veth\" is none of tap, vhost-user, memif"},
      {R"({"mtu": 1279})", "port.mtu: 1279 is not from 1280 to 65000"},
      {R"({"ringSize": 64})", "port.ringSize: has no meaning for a tap"},
      {R"({"kind": "vhost-user", "queues": 65})", "port.queues: 65; a vhost-user port has 1 to 64"},
      {R"({"kind": "vhost-user", "ringSize": 64})",
       "port.ringSize: a vhost-user port's rings are the pod's to size"},
      {R"({"kind": "memif", "ringSize": 1000})",
       "port.ringSize: 1000 is no power of two up to 16384"},
      {R"({"kind": "memif", "role": "master"})",
       "port.role: \"master\" is neither server nor client"},
      {R"({"kind": "vhost-user", "socket": "@x"})",
       "port.socket: @x: a vhost-user socket is never abstract"},
      {R"({"kind": "memif", "socket": "@"})", "port.socket: \"@\" names nothing"},
      {R"({"kind": "memif", "socket": "x"})",
       "port.socket: \"x\" is neither \"@name\" nor an absolute path"},
      {R"({"kind": "memif", "mode": "0660"})",
       "port.socket: @podwire/net1 is no file: it has no mode, owner or group"},
      {R"({"kind": "memif", "socket": "/x", "mode": "0661"})",
       "port.mode: 0661 lets everybody in; give port.owner or port.group"},
      {R"({"kind": "memif", "socket": "/x", "mode": "77777777777777"})",
       "port.mode: \"77777777777777\" is no mode of a socket, as \"0660\" is"}};
  for (const auto& [text, sentence] : cases) EXPECT_EQ(refusal(text), sentence);
  const std::string longest = "/" + std::string(106, 'x');
  EXPECT_EQ(refusal(R"({"kind": "memif", "socket": ")" + longest + "\"}"), "");
  EXPECT_EQ(refusal(R"({"kind": "memif", "socket": ")" + longest + "x\"}"),
            "port.socket: " + longest + "x has 108 bytes, the path of a socket at most 107");
}

TEST(PortKind, AnnotationOfTheInterfaceGoesBeforeTheNetworks) {
  Attachment of;
  of.interface = "net1";
  of.network = "fast";
  const auto merged = [&](const kube::Labels& annotations, const char* configured) {
    const auto wish = with_annotations(wish_of(configured), annotations, of);
    return wish ? cni::to_json(*wish)["kind"].get<std::string>() + "/" +
                      std::to_string(wish->queues) + "/" + wish->socket
                : wish.error().message;
  };
  const char* memif = R"({"kind": "memif", "queues": 4, "socket": "/run/m/"})";
  EXPECT_EQ(merged({}, memif), "memif/4//run/m/");
  EXPECT_EQ(merged({{"podwire.io/port.eth0", "tap"}}, memif), "memif/4//run/m/");
  EXPECT_EQ(merged({{"podwire.io/port.fast", R"({"queues": 2})"}}, memif), "memif/2//run/m/");
  EXPECT_EQ(merged({{"podwire.io/port.net1", "vhost-user"}}, memif), "vhost-user/0/");
  EXPECT_EQ(merged({{"podwire.io/port.fast", "tap"},
                    {"podwire.io/port.net1", R"({"kind": "memif", "socket": "@mine"})"}},
                   memif),
            "memif/0/@mine");
  const std::string start = "annotation podwire.io/port.net1: ";
  EXPECT_EQ(merged({{"podwire.io/port.net1", "{"}}, memif),
            start + "is neither a kind of port nor a JSON object");
  EXPECT_EQ(merged({{"podwire.io/port.net1", R"({"quees": 1})"}}, memif),
            start + "port.quees is no option of a port");
  EXPECT_EQ(merged({{"podwire.io/port.net1", R"({"socket": "/run/containerd/x"})"}}, memif),
            start + "port.socket: a pod may choose an abstract one (\"@name\") only");
  EXPECT_EQ(
      merged({{"podwire.io/port.net1", R"({"owner": 1000})"}}, memif),
      start + "port.mode, port.owner and port.group are for the network's configuration alone");
}

TEST(PortKind, RecordsGiveBackWhatTheyTook) {
  for (const char* text : {R"("tap")", R"({"kind": "vhost-user", "queues": 3, "owner": 7})",
                           R"({"kind": "memif", "role": "client", "ringSize": 64})"}) {
    const json kept = to_json(chosen(text));
    const auto read = read_pod_port(kept);
    ASSERT_TRUE(read) << text;
    EXPECT_EQ(to_json(*read), kept);
  }
  json bad = to_json(chosen(R"("memif")"));
  bad["socket"] = "x";
  EXPECT_FALSE(read_pod_port(bad));
  bad = to_json(chosen(R"("vhost-user")"));
  bad["folder"] = "/etc";
  EXPECT_FALSE(read_pod_port(bad)) << "a folder that would be removed";
  EXPECT_FALSE(read_pod_port(7));
}

TEST(PortKind, DeviceInfoDescribesThePodsSide) {
  EXPECT_TRUE(device_info(chosen("{}")).is_null());
  EXPECT_EQ(
      device_info(chosen(R"({"kind": "memif", "role": "client", "socket": "/x"})")).dump(),
      R"({"memif":{"mode":"ethernet","path":"/x","role":"master"},"type":"memif","version":"1.1.0"})");
  EXPECT_EQ(device_info(chosen(R"("vhost-user")"))["vhost-user"].dump(),
            R"({"mode":"server","path":"/run/podwire/ports/uid/net1.sock"})");
}

TEST(PortKind, LinesForPeersAreReady) {
  EXPECT_TRUE(peer_lines(attachment("{}")).empty());
  const auto memif = peer_lines(attachment(R"({"kind": "memif", "queues": 2})"));
  ASSERT_EQ(memif.size(), 3U);
  EXPECT_EQ(memif[0].line,
            "dpdk-testpmd --no-pci --vdev=net_memif0,role=client,id=0,socket=podwire/net1,"
            "socket-abstract=yes,mac=0a:58:0a:00:00:01 -- --rxq=2 --txq=2");
  EXPECT_EQ(memif[1].line,
            "create memif socket id 1 filename @podwire/net1; create interface memif socket-id 1 "
            "id 0 slave hw-addr 0a:58:0a:00:00:01 rx-queues 2 tx-queues 2");
  const auto vhost = peer_lines(attachment(R"({"kind": "vhost-user", "queues": 2})"));
  ASSERT_EQ(vhost.size(), 3U);
  EXPECT_EQ(vhost[2].program, "qemu");
  EXPECT_NE(vhost[2].line.find("queues=2 -device virtio-net-pci,netdev=podwire0,"
                               "mac=0a:58:0a:00:00:01,mq=on,vectors=6"),
            std::string::npos)
      << vhost[2].line;
}

}  // namespace
}  // namespace podwire::control
