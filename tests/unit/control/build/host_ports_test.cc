#include <gtest/gtest.h>

#include "tests/lib/protocols.h"
#include "tests/unit/control/build/cluster.h"

namespace podwire::control::build {
namespace {

using tables::FrontendKind;

class HostPorts : public testing::Test {
 protected:
  const tables::Frontend* find(const std::string& address, std::uint16_t port) {
    table = cluster.build().services;
    return table->frontends.find({ip(address), net::be16(port), kTcp});
  }
  Cluster cluster;
  std::shared_ptr<const tables::ServiceTable> table;
};

TEST_F(HostPorts, AreFrontendsOfTheirPodAloneAndGoWithIt) {
  EXPECT_EQ(find("0.0.0.0", 8080), nullptr);
  cluster.attach("shop/a", {"10.1.0.2", "fd10::2"}).host_ports = {
      {std::nullopt, kTcp, 8080, 80}, {ip("127.0.0.1"), kTcp, 9090, 90}};
  const auto* any = find("0.0.0.0", 8080);
  ASSERT_NE(any, nullptr);
  EXPECT_EQ(any->kind, FrontendKind::node_port);
  const tables::Backend expected{ip("10.1.0.2"), net::be16(80), true};
  EXPECT_EQ(any->service->cluster, std::vector{expected});
  EXPECT_EQ(any->service->local, std::vector{expected});
  EXPECT_TRUE(any->service->external_local) << "clients keep their addresses";
  ASSERT_NE(find("::", 8080), nullptr);
  EXPECT_EQ(find("::", 8080)->service->cluster[0].address, ip("fd10::2"));
  ASSERT_NE(find("127.0.0.1", 9090), nullptr);
  EXPECT_EQ(find("127.0.0.1", 9090)->kind, FrontendKind::external_ip);
  EXPECT_EQ(find("0.0.0.0", 9090), nullptr);

  const auto id = find("0.0.0.0", 8080)->service->id;
  cluster.attach("shop/b", {"10.1.0.3"});
  EXPECT_EQ(find("0.0.0.0", 8080)->service->id, id) << "another pod's coming changes nothing";
  cluster.detach("shop/a");
  EXPECT_EQ(find("0.0.0.0", 8080), nullptr);
  EXPECT_EQ(find("127.0.0.1", 9090), nullptr);
  const auto without = table;
  cluster.attach("shop/c", {"10.1.0.4"});
  cluster.build();
  EXPECT_EQ(cluster.built.snapshot->services, without) << "pods without them cost no new table";
}

TEST_F(HostPorts, ServiceKeepsWhatBothAskFor) {
  cluster.apply(R"(
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: NodePort, clusterIP: 10.96.0.10, ports: [{port: 80, nodePort: 30080}]}
)");
  cluster.attach("shop/a", {"10.1.0.2"}).host_ports = {{std::nullopt, kTcp, 30080, 80}};
  EXPECT_EQ(find("0.0.0.0", 30080)->service->name, "shop/web:");
  EXPECT_EQ(cluster.problems().find("hostPort of Pod shop/a/eth0: is not served on node port "
                                    "30080/TCP: Service shop/web has it too and keeps it\n"),
            0U)
      << cluster.problems();
}

}  // namespace
}  // namespace podwire::control::build
