#include "control/ipam/addresses.h"

#include <gtest/gtest.h>

#include <optional>
#include <random>

#include "control/cni/attacher.h"
#include "tests/unit/control/fake_dataplane.h"
#include "tests/unit/control/ipam/fake_objects.h"

namespace podwire::control {
namespace {

using cni::Code;
using cni::Reply;

class FakeSource final : public ObjectSource {
 public:
  explicit FakeSource(ObjectClient& client) : client_(client) {}
  [[nodiscard]] std::string name() const override { return "API server"; }
  void start(ObjectSink&) override {}
  void stop() override {}
  [[nodiscard]] ObjectClient* client() const override { return &client_; }
  [[nodiscard]] std::vector<KindReport> report() const override {
    std::vector<KindReport> all(2);
    all[0].kind = kube::Kind::ipam_block;
    all[1].kind = kube::Kind::block_affinity;
    all[0].served = all[1].served = served;
    return all;
  }
  bool served = true;

 private:
  ObjectClient& client_;
};

// podwired with its records and notes on disk, on a server in memory.
class AddressesTest : public testing::Test {
 protected:
  AddressesTest() : client(server), source(client) {
    bench.state.object_source = &source;
    auto& pool = bench.state.store.ip_pools["pool"];
    pool.meta.name = "pool";
    pool.cidr = *net::Prefix::parse("10.9.0.0/27");
    pool.block_size = 30;
    start();
  }
  void start() {
    attacher = std::make_unique<Attacher>(
        bench.state, bench.hooks(),
        Attacher::PodSideActions{[](const PodSide&) -> Result<void> { return {}; },
                                 [](const PodSide&) -> Result<void> { return {}; }});
    const auto restored = attacher->restore();
    ASSERT_TRUE(restored) << restored.error().message;
  }
  void kill(bool last_is_done) {
    attacher.reset();
    client.crash(last_is_done);
    bench.waiting.clear();
    bench.state.attachments.clear();
    server.fill(bench.state.store);
    start();
  }
  static cni::Request request(const std::string& command, const std::string& id) {
    cni::Request r;
    r.command = command;
    r.network = "k8s-pod-network";
    r.container_id = id;
    r.interface = "eth0";
    r.netns = "/proc/self/ns/net";
    return r;
  }
  static cni::Request add_of_web() {
    cni::Request add = request("ADD", "c1");
    add.pod_namespace = "default";
    add.pod_name = "web";
    return add;
  }
  void annotate_web(const std::string& addresses) {
    bench.state.store.pods["default/web"].meta.annotations["cni.projectcalico.org/ipAddrs"] =
        addresses;
  }
  void settle() {
    while (client.waits() || !bench.waiting.empty()) {
      if (client.waits()) client.carry_out();
      bench.settle();
    }
  }
  Reply ask(cni::Request r) {
    std::optional<Reply> answer;
    attacher->handle(std::move(r), [&](Reply reply) { answer = std::move(reply); });
    settle();
    return answer.value_or(Reply{Code::internal, "no answer", nullptr});
  }
  std::size_t notes() const {
    const auto folder = std::filesystem::directory_iterator(bench.config.state_dir + "/addresses");
    return static_cast<std::size_t>(std::distance(begin(folder), end(folder)));
  }
  using ByHandle = std::map<std::string, std::set<net::Address>>;
  ByHandle at_the_server() {
    Store store;
    server.fill(store);
    ByHandle taken;
    for (const auto& [name, block] : store.ipam_blocks) {
      for (const auto& one : block.allocations) taken[one.handle].insert(one.address);
    }
    return taken;
  }
  ByHandle attached() const {
    ByHandle taken;
    for (const Attachment& one : bench.state.attachments) {
      taken[one.handle].insert(one.ips.begin(), one.ips.end());
    }
    return taken;
  }

  Bench bench;
  FakeObjects server;
  FakeClient client;
  FakeSource source;
  std::unique_ptr<Attacher> attacher;
};

TEST_F(AddressesTest, APodsAddressStandsAtTheServerUnderItsHandle) {
  cni::Request add = add_of_web();
  const Reply reply = ask(add);
  ASSERT_EQ(reply.code, Code::ok) << reply.message;
  ASSERT_EQ(bench.state.attachments.size(), 1U);
  EXPECT_EQ(bench.state.attachments[0].handle, "k8s-pod-network.c1");
  EXPECT_EQ(at_the_server(), attached());
  const auto& block = server.all.lower_bound({"ipamblocks", ""})->second;
  auto whose = block["spec"]["attributes"][0]["secondary"];
  EXPECT_TRUE(whose["timestamp"].get<std::string>().ends_with(" +0000 UTC"));
  whose.erase("timestamp");
  EXPECT_EQ(whose, nlohmann::json({{"node", "n1"}, {"namespace", "default"}, {"pod", "web"}}));
  EXPECT_EQ(notes(), 0U);
  kill(false);  // the record says where the address comes from
  EXPECT_EQ(ask(request("DEL", "c1")).code, Code::ok);
  EXPECT_TRUE(at_the_server().empty());
  EXPECT_EQ(notes(), 0U);
}

TEST_F(AddressesTest, WithoutTheKindsTheNodesRangeIsUsed) {
  source.served = false;
  EXPECT_EQ(ask(request("ADD", "c1")).result["ips"][0]["address"], "10.0.0.1/32");
  EXPECT_TRUE(server.all.empty());
}

TEST_F(AddressesTest, RefusesOnePodAndLeavesNothing) {
  annotate_web(R"(["10.9.0.5"])");
  cni::Request add = add_of_web();
  EXPECT_EQ(ask(add).result["ips"][0]["address"], "10.9.0.5/32");
  add.container_id = "c2";
  const Reply taken = ask(add);
  EXPECT_EQ(taken.code, Code::address_refused);
  EXPECT_EQ(taken.message, "Pod default/web: address 10.9.0.5 is taken by k8s-pod-network.c1");
  annotate_web(R"(["10.1.0.5"])");
  EXPECT_EQ(ask(add).message, "Pod default/web: address 10.1.0.5 is in no IPPool that is enabled");
  EXPECT_EQ(at_the_server(), attached());
  EXPECT_EQ(notes(), 0U);
}

TEST_F(AddressesTest, WhatTheCallerAsksForIsTakenFromBlocksUnlessAnotherPluginGaveIt) {
  annotate_web(R"(["10.9.0.5"])");
  cni::Request add = add_of_web();
  EXPECT_EQ(ask(add).result["ips"][0]["address"], "10.9.0.5/32");
  add.interface = "net1";  // the annotation is about the first
  const Reply second = ask(add);
  ASSERT_EQ(second.code, Code::ok) << second.message;
  EXPECT_NE(second.result["ips"][0]["address"], "10.9.0.5/32");
  add.interface = "net2";
  add.wishes.addresses = {"10.9.0.9"};
  EXPECT_EQ(ask(add).result["ips"][0]["address"], "10.9.0.9/32");
  EXPECT_EQ(at_the_server(), attached());
  add.interface = "net3";
  add.wishes.addresses = {"10.77.0.4"};
  add.wishes.delegated = true;
  EXPECT_EQ(ask(add).result["ips"][0]["address"], "10.77.0.4/32");
  EXPECT_EQ(bench.state.attachments.back().handle, "");
  EXPECT_EQ(at_the_server().size(), 3U);
}

TEST_F(AddressesTest, APodThatGoesWhileItsAddressIsFetchedKeepsNone) {
  cni::Request add = add_of_web();
  std::optional<Reply> answer;
  attacher->handle(add, [&](Reply reply) { answer = std::move(reply); });
  ASSERT_TRUE(client.waits());
  client.carry_out();
  ASSERT_FALSE(answer);
  bench.state.store.pods.erase("default/web");
  settle();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->code, Code::try_later);
  EXPECT_EQ(answer->message, "Pod default/web is not known to podwired yet");
  EXPECT_TRUE(bench.state.attachments.empty());
  EXPECT_TRUE(at_the_server().empty());
  EXPECT_EQ(notes(), 0U);
}

TEST_F(AddressesTest, AHostPortThatAnotherGotMeanwhileGivesTheAddressBack) {
  const auto with_port = [](const char* id) {
    cni::Request add = request("ADD", id);
    add.wishes.port_mappings = {{"", "tcp", 8080, 80}};
    return add;
  };
  std::vector<Reply> replies;
  for (const char* id : {"c1", "c2"}) {
    attacher->handle(with_port(id), [&](Reply reply) { replies.push_back(std::move(reply)); });
  }
  settle();
  ASSERT_EQ(replies.size(), 2U);
  EXPECT_EQ((replies[0].code == Code::ok) + (replies[1].code == Code::ok), 1);
  EXPECT_EQ(bench.state.attachments.size(), 1U);
  EXPECT_EQ(at_the_server(), attached());
  EXPECT_EQ(notes(), 0U);
}

TEST_F(AddressesTest, ADelOfCalicosOwnFreesByHandle) {
  ASSERT_EQ(ask(request("ADD", "c1")).code, Code::ok);
  std::filesystem::remove_all(bench.config.state_dir);
  kill(false);
  EXPECT_FALSE(at_the_server().empty());
  EXPECT_EQ(ask(request("DEL", "c1")).code, Code::ok);
  EXPECT_TRUE(at_the_server().empty());
}

TEST_F(AddressesTest, CollectsWhatNobodyHas) {
  cni::Request add = add_of_web();
  ASSERT_EQ(ask(add).code, Code::ok);
  std::filesystem::remove_all(bench.config.state_dir);  // a new disk
  kill(false);
  Addresses addresses(bench.state, bench.hooks(), [](const net::Address&) { return false; });
  const auto address = *at_the_server()["k8s-pod-network.c1"].begin();
  bench.state.store.pods["default/web"].ips = {address};
  addresses.collect_leaks({});
  settle();
  EXPECT_EQ(at_the_server().size(), 1U);  // its Pod says that it has it
  bench.state.store.pods.erase("default/web");
  addresses.collect_leaks(std::chrono::hours(1));
  settle();
  EXPECT_EQ(at_the_server().size(), 1U);  // not for long yet
  addresses.collect_leaks({});
  settle();
  EXPECT_TRUE(at_the_server().empty());
}

// kill -9 before or after any write, to the server or to the disk's next.
TEST_F(AddressesTest, NothingLeaksAndNothingIsGivenTwiceOverKills) {
  for (unsigned seed = 1; seed <= 12; ++seed) {
    std::mt19937 random(seed);
    for (int step = 0; step < 150; ++step) {
      const std::string id = "c" + std::to_string(random() % 12);
      switch (random() % 8) {
        case 0:
          attacher->handle(request("ADD", id), [](const Reply&) {});
          break;
        case 1:
          attacher->handle(request("DEL", id), [](const Reply&) {});
          break;
        case 2:
          bench.publish();
          break;
        case 3:
          if (random() % 4 == 0) kill(random() % 2 == 0);
          break;
        default:
          if (client.waits()) client.carry_out();
      }
      // What a pod uses is its own at the server, at every moment.
      const ByHandle there = at_the_server();
      for (const auto& [handle, ips] : attached()) {
        const auto found = there.find(handle);
        ASSERT_NE(found, there.end()) << handle << " seed " << seed << " step " << step;
        for (const auto& ip : ips) ASSERT_TRUE(found->second.contains(ip)) << handle;
      }
    }
    settle();
    kill(false);
    settle();
    ASSERT_EQ(at_the_server(), attached()) << "seed " << seed;
    ASSERT_EQ(notes(), 0U) << "seed " << seed;
    for (int i = 0; i < 12; ++i) ask(request("DEL", "c" + std::to_string(i)));
    ASSERT_TRUE(at_the_server().empty()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace podwire::control
