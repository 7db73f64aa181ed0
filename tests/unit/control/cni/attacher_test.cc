#include "control/cni/attacher.h"

#include <gtest/gtest.h>

#include <fstream>
#include <optional>
#include <random>

#include "tests/unit/control/fake_dataplane.h"

namespace podwire::control {
namespace {

using cni::Code;
using cni::Reply;

cni::Request request(const std::string& command, const std::string& id = "c1",
                     const std::string& pod = "web") {
  cni::Request r;
  r.command = command;
  r.network = "podwire";
  r.container_id = id;
  r.interface = "eth0";
  r.netns = "/proc/self/ns/net";
  if (!pod.empty()) {
    r.pod_namespace = "default";
    r.pod_name = pod;
  }
  return r;
}

class AttacherTest : public testing::Test {
 protected:
  AttacherTest() { start(); }

  void start() {
    attacher.reset();
    attacher = std::make_unique<Attacher>(bench.state, bench.hooks(), actions());
    const auto restored = attacher->restore();
    ASSERT_TRUE(restored) << restored.error().message;
  }
  Attacher::PodSideActions actions() {
    return {[this](const PodSide& pod) -> Result<void> {
              if (!set_up_error.empty()) return fail(set_up_error);
              set_up.push_back(pod);
              return {};
            },
            [this](const PodSide&) -> Result<void> {
              if (!check_error.empty()) return fail(check_error);
              return {};
            },
            [this](const PodSide& pod) { cleared.push_back(pod); }};
  }
  // podwired is stopped and started again.
  void restart() {
    bench.state.attachments.clear();
    bench.publish();
    start();
    bench.publish();
  }
  std::optional<Reply> begin(const cni::Request& r) {
    answered.reset();
    attacher->handle(r, [this](Reply reply) {
      EXPECT_FALSE(answered) << "answered twice";
      answered = std::move(reply);
    });
    return answered;
  }
  Reply ask(const cni::Request& r) {
    begin(r);
    bench.settle();
    EXPECT_TRUE(answered);
    return answered.value_or(Reply{Code::internal, "no answer", nullptr});
  }
  std::size_t records() const {
    std::size_t count = 0;
    std::error_code none;
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::directory_iterator(bench.config.state_dir + "/attachments", none)) {
      ++count;
    }
    return count;
  }
  void expect_nothing_left() {
    EXPECT_TRUE(bench.state.attachments.empty());
    EXPECT_TRUE(bench.dataplane.taps.empty());
    EXPECT_EQ(records(), 0U);
  }

  Bench bench;
  std::string set_up_error, check_error;
  std::vector<PodSide> set_up, cleared;
  std::optional<Reply> answered;
  std::unique_ptr<Attacher> attacher;
};

TEST_F(AttacherTest, AddAnswersOnlyOnceThePortIsInForce) {
  EXPECT_FALSE(begin(request("ADD")));
  EXPECT_TRUE(bench.changed);
  EXPECT_EQ(records(), 1U);
  bench.publish();
  ASSERT_TRUE(answered);
  ASSERT_EQ(answered->code, Code::ok) << answered->message;
  EXPECT_EQ(answered->result["ips"][0]["address"], "10.0.0.1/32");
  EXPECT_EQ(answered->result["ips"][1]["address"], "fd00::1/128");
  EXPECT_EQ(answered->result["interfaces"][0]["name"], "eth0");
  EXPECT_EQ(answered->result["interfaces"][0]["mac"], "0a:58:0a:00:00:01");
  EXPECT_EQ(answered->result["routes"][0]["gw"], "169.254.1.1");
  ASSERT_EQ(set_up.size(), 1U);
  EXPECT_EQ(set_up[0].mac.to_string(), "0a:58:0a:00:00:01");
  EXPECT_EQ(bench.state.attachments[0].pod, "default/web");
}

// What waits for kernel and disk is done when the test says so.
class SlowTest : public AttacherTest {
 protected:
  SlowTest() {
    LoopHooks hooks = bench.hooks();
    hooks.elsewhere = [this](std::function<void()> job, std::function<void()> then) {
      jobs.emplace_back(std::move(job), std::move(then));
    };
    attacher = std::make_unique<Attacher>(bench.state, hooks, actions());
    EXPECT_TRUE(attacher->restore());
  }
  std::size_t work() {
    const auto all = std::exchange(jobs, {});
    for (const auto& [job, then] : all) {
      job();
      then();
    }
    return all.size();
  }
  std::vector<std::pair<std::function<void()>, std::function<void()>>> jobs;
};

// Its namespace ends while its record is on its way to the disk, or while it waits to be in force.
TEST_F(SlowTest, AddWhosePodGotAnotherSandboxMeanwhileIsToldSo) {
  for (const bool synced : {false, true}) {
    std::vector<Reply> first, second;
    attacher->handle(request("ADD"), [&](Reply reply) { first.push_back(std::move(reply)); });
    if (synced) work();
    ASSERT_EQ(bench.state.attachments.size(), 1U);
    dynamic_cast<FakePort&>(*bench.state.attachments[0].port).is_up = false;
    attacher->handle(request("ADD", "c2"),
                     [&](Reply reply) { second.push_back(std::move(reply)); });
    for (int round = 0; round < 8; ++round) {
      bench.publish();
      work();
    }
    ASSERT_EQ(first.size(), 1U);
    EXPECT_EQ(first[0].code, Code::try_later);
    EXPECT_EQ(first[0].message, "another sandbox of the Pod took its place");
    ASSERT_EQ(second.size(), 1U);
    EXPECT_EQ(second[0].code, Code::ok) << second[0].message;
    ASSERT_EQ(bench.state.attachments.size(), 1U);
    EXPECT_EQ(bench.state.attachments[0].container_id, "c2");
    attacher->handle(request("DEL", "c2"), [](const Reply&) {});
    for (int round = 0; round < 8; ++round) {
      bench.publish();
      work();
    }
    EXPECT_TRUE(bench.state.attachments.empty());
  }
}

TEST_F(SlowTest, AddAnswersOnlyOnceItsRecordIsOnTheDisk) {
  bench.add_pod("other");
  bench.add_pod("third");
  unsigned answers = 0;
  for (const char* name : {"web", "other", "third"}) {
    attacher->handle(request("ADD", name, name), [&](const Reply& reply) {
      EXPECT_EQ(reply.code, Code::ok) << reply.message;
      ++answers;
    });
  }
  bench.publish();
  EXPECT_EQ(answers, 0U);
  EXPECT_EQ(records(), 3U);
  // Those that came while one was under way go together.
  EXPECT_EQ(work(), 1U);
  bench.settle();
  EXPECT_EQ(answers, 1U);
  EXPECT_EQ(work(), 1U);
  bench.settle();
  EXPECT_EQ(answers, 3U);
  EXPECT_TRUE(jobs.empty());
}

TEST_F(SlowTest, RecordThatDoesNotReachTheDiskUndoesItsAdd) {
  EXPECT_FALSE(begin(request("ADD")));
  bench.publish();
  std::filesystem::remove(bench.config.state_dir + "/attachments/c1-eth0.json");
  work();
  bench.settle();
  EXPECT_EQ(bench.dataplane.taps.size(), 1U);
  work();  // the tap's end
  ASSERT_TRUE(answered);
  EXPECT_EQ(answered->code, Code::io);
  EXPECT_EQ(answered->message, bench.config.state_dir +
                                   "/attachments/c1-eth0.json: cannot be written: "
                                   "No such file or directory");
  expect_nothing_left();
}

TEST_F(SlowTest, AddressIsFreeOnlyAfterTheEndOfItsTap) {
  attacher->handle(request("ADD"), [](const Reply&) {});
  work();
  bench.settle();
  EXPECT_FALSE(begin(request("DEL")));
  bench.settle();
  EXPECT_FALSE(answered);
  EXPECT_EQ(records(), 1U);
  bench.state.store.pods["default/web"].ips = {ip("10.0.0.1")};
  std::optional<Reply> second;
  attacher->handle(request("ADD", "c2"), [&](const Reply& reply) { second = reply; });
  ASSERT_TRUE(second);
  EXPECT_EQ(second->message, "Pod default/web: address 10.0.0.1 is taken by another pod");
  work();
  ASSERT_TRUE(answered);
  EXPECT_EQ(answered->code, Code::ok);
  expect_nothing_left();
}

TEST_F(SlowTest, WhatEndsAfterTheAttacherDoesNothing) {
  EXPECT_FALSE(begin(request("ADD")));
  bench.publish();
  attacher.reset();
  EXPECT_EQ(work(), 1U);
  EXPECT_FALSE(answered);
}

TEST_F(AttacherTest, AddOfTheSameAgainGivesTheSame) {
  const Reply first = ask(request("ADD"));
  const Reply second = ask(request("ADD"));
  EXPECT_EQ(second.code, Code::ok);
  EXPECT_EQ(first.result, second.result);
  EXPECT_EQ(bench.state.attachments.size(), 1U);
}

TEST_F(AttacherTest, AddTakesTheAddressesThePodNames) {
  bench.state.store.pods["default/web"].ips = {ip("10.0.0.5")};
  bench.add_pod("other");
  EXPECT_EQ(ask(request("ADD")).result["ips"][0]["address"], "10.0.0.5/32");
  EXPECT_EQ(bench.state.attachments[0].ips.size(), 1U);
}

TEST_F(AttacherTest, AddRefusesANamedAddressThatIsTakenOrElsewhere) {
  ASSERT_EQ(ask(request("ADD", "c1", "")).code, Code::ok);  // has 10.0.0.1
  bench.state.store.pods["default/web"].ips = {ip("fd00::4"), ip("10.0.0.1")};
  Reply reply = ask(request("ADD", "c2"));
  EXPECT_EQ(reply.code, Code::address_refused);
  EXPECT_EQ(reply.message, "Pod default/web: address 10.0.0.1 is taken by another pod");
  bench.state.store.pods["default/web"].ips = {ip("10.9.9.9")};
  reply = ask(request("ADD", "c2"));
  EXPECT_EQ(
      reply.message,
      "Pod default/web: address 10.9.9.9 is neither in this node's podCIDRs nor in an IPPool");
  bench.state.store.ip_pools["pool"].cidr = *net::Prefix::parse("10.9.0.0/16");
  EXPECT_EQ(ask(request("ADD", "c2")).code, Code::ok);
  // What the refused one had taken before it failed is free.
  bench.state.store.pods["default/web"].ips = {ip("fd00::4")};
  EXPECT_EQ(ask(request("ADD", "c3")).code, Code::ok);
}

TEST_F(AttacherTest, AddLeavesAddressesThatOtherPodsName) {
  bench.add_pod("other").ips = {ip("10.0.0.1"), ip("fd00::1")};
  bench.state.linux_state.addresses = {{ip("10.0.0.2"), 32}};
  const Reply reply = ask(request("ADD"));
  EXPECT_EQ(reply.result["ips"][0]["address"], "10.0.0.3/32");
  EXPECT_EQ(reply.result["ips"][1]["address"], "fd00::2/128");
}

TEST_F(AttacherTest, NewSandboxOfAPodGetsAnotherAddressWhileTheOldOneIsThere) {
  const Reply first = ask(request("ADD"));
  bench.state.store.pods["default/web"].ips = bench.state.attachments[0].ips;
  const Reply second = ask(request("ADD", "c2"));
  ASSERT_EQ(second.code, Code::ok) << second.message;
  EXPECT_NE(first.result["ips"], second.result["ips"]);
}

TEST_F(AttacherTest, AddWaitsForItsPodToBeKnown) {
  EXPECT_EQ(ask(request("ADD", "c1", "unknown")).code, Code::try_later);
  auto named = request("ADD");
  named.pod_uid = "new";
  bench.state.store.pods["default/web"].meta.uid = "old";
  EXPECT_EQ(ask(named).code, Code::try_later);
  bench.state.store.synced = false;
  EXPECT_EQ(ask(request("ADD")).message, "podwired has not read all objects yet");
  expect_nothing_left();
}

TEST_F(AttacherTest, AddRefusesPodsThatAreNotItsOwn) {
  bench.state.store.pods["default/web"].node_name = "n2";
  EXPECT_EQ(ask(request("ADD")).message, "Pod default/web: spec.nodeName is n2, this node is n1");
  bench.state.store.pods["default/web"].node_name = "n1";
  bench.state.store.pods["default/web"].host_network = true;
  EXPECT_EQ(ask(request("ADD")).message, "Pod default/web: spec.hostNetwork is true");
  expect_nothing_left();
}

TEST_F(AttacherTest, FailedAddLeavesNothing) {
  bench.dataplane.open_error = "no tap";
  EXPECT_EQ(ask(request("ADD")).message, "no tap");
  expect_nothing_left();
  bench.dataplane.open_error.clear();
  set_up_error = "no address";
  EXPECT_EQ(ask(request("ADD")).message, "no address");
  expect_nothing_left();
  set_up_error.clear();
  bench.port_table_full = true;
  EXPECT_EQ(ask(request("ADD")).message, "the port table is full; see podwirectl status");
  expect_nothing_left();
  bench.port_table_full = false;
  std::filesystem::remove_all(bench.config.state_dir);
  EXPECT_EQ(ask(request("ADD")).code, Code::io);
  EXPECT_TRUE(bench.dataplane.taps.empty());
  EXPECT_EQ(bench.state.attachments.size(), 0U);
}

TEST_F(AttacherTest, AddSaysWhenTheRangeIsFull) {
  for (int i = 0; i < 6; ++i) {
    ASSERT_EQ(ask(request("ADD", "c" + std::to_string(i), "")).code, Code::ok);
  }
  EXPECT_EQ(ask(request("STATUS")).message, "no free address is left in 10.0.0.0/29");
  const Reply reply = ask(request("ADD", "c9", ""));
  EXPECT_EQ(reply.code, Code::try_later);
  EXPECT_EQ(reply.message, "Node n1: no free address is left in 10.0.0.0/29");
  ask(request("DEL", "c3", ""));
  EXPECT_EQ(ask(request("STATUS")).code, Code::ok);
  EXPECT_EQ(ask(request("ADD", "c9", "")).code, Code::ok);
}

TEST_F(AttacherTest, DelFreesOnlyWhenNoWorkerSeesThePort) {
  ask(request("ADD"));
  observe::FlowRow to, reply_from, other;
  to.destination = ip("10.0.0.1");
  reply_from.reply_source = ip("fd00::1");
  other.source = ip("10.0.0.2");
  bench.dataplane.rows = {to, reply_from, other};
  EXPECT_FALSE(begin(request("DEL")));
  EXPECT_TRUE(bench.state.attachments.empty());
  EXPECT_EQ(bench.dataplane.taps.size(), 1U);
  EXPECT_EQ(bench.dataplane.rows.size(), 3U);
  bench.publish();
  ASSERT_TRUE(answered);
  EXPECT_EQ(answered->code, Code::ok);
  ASSERT_EQ(bench.dataplane.rows.size(), 1U);
  EXPECT_EQ(bench.dataplane.rows[0].source, ip("10.0.0.2"));
  expect_nothing_left();
}

TEST_F(AttacherTest, DelIsIdempotentAndNeedsNoNamespace) {
  EXPECT_EQ(ask(request("DEL")).code, Code::ok);
  ask(request("ADD"));
  auto removal = request("DEL");
  removal.netns.clear();
  EXPECT_EQ(ask(removal).code, Code::ok);
  EXPECT_EQ(ask(removal).code, Code::ok);
  expect_nothing_left();
}

TEST_F(AttacherTest, DelWorksWhenTheNamespaceIsGone) {
  auto gone = request("ADD");
  gone.netns = bench.folder.path + "/gone";
  ask(gone);
  EXPECT_EQ(ask(request("DEL")).code, Code::ok);
  EXPECT_TRUE(bench.state.attachments.empty());
  EXPECT_EQ(records(), 0U);
}

TEST_F(AttacherTest, DelDuringAddWaitsForIt) {
  std::vector<std::string> order;
  attacher->handle(request("ADD"), [&](const Reply&) { order.push_back("ADD"); });
  attacher->handle(request("DEL"), [&](const Reply&) { order.push_back("DEL"); });
  bench.settle();
  EXPECT_EQ(order, (std::vector<std::string>{"ADD", "DEL"}));
  expect_nothing_left();
}

TEST_F(AttacherTest, AddressesAndPortsComeBackAfterARestart) {
  const Reply before = ask(request("ADD"));
  restart();
  ASSERT_EQ(bench.state.attachments.size(), 1U);
  EXPECT_NE(bench.state.attachments[0].port, nullptr);
  EXPECT_EQ(bench.state.attachments[0].pod, "default/web");
  EXPECT_EQ(bench.state.attachments[0].network, "podwire");
  EXPECT_EQ(ask(request("ADD")).result, before.result);
  EXPECT_NE(ask(request("ADD", "c2", "")).result["ips"], before.result["ips"]);
}

TEST_F(AttacherTest, TheNodesOwnAddressIsNoPods) {
  bench.state.store.nodes["n1"].tunnel_v4 = ip("10.0.0.1");
  bench.state.store.pods["default/web"].ips = {ip("10.0.0.1")};
  const Reply named = ask(request("ADD"));
  EXPECT_EQ(named.code, Code::address_refused);
  EXPECT_EQ(named.message, "Pod default/web: address 10.0.0.1 is the node's own");
  EXPECT_EQ(ask(request("ADD", "c2", "")).result["ips"][0]["address"], "10.0.0.2/32");
}

TEST_F(AttacherTest, PodWithoutNamespaceStaysWithoutPortUntilItsDel) {
  ask(request("ADD"));
  bench.dataplane.open_error = "namespace is gone";
  restart();
  ASSERT_EQ(bench.state.attachments.size(), 1U);
  EXPECT_EQ(bench.state.attachments[0].port, nullptr);
  EXPECT_EQ(ask(request("CHECK")).code, Code::check_failed);
  bench.dataplane.open_error.clear();
  EXPECT_NE(ask(request("ADD", "c2", "")).result["ips"][0]["address"], "10.0.0.1/32");
  EXPECT_EQ(ask(request("DEL")).code, Code::ok);
  EXPECT_EQ(records(), 1U);
}

TEST_F(AttacherTest, NewSandboxTakesOverFromOneWhoseNamespaceIsGone) {
  bench.state.store.pods["default/web"].ips = {ip("10.0.0.5")};
  ask(request("ADD"));
  bench.dataplane.open_error = "namespace is gone";
  restart();
  bench.dataplane.open_error.clear();
  const Reply reply = ask(request("ADD", "c2"));
  ASSERT_EQ(reply.code, Code::ok) << reply.message;
  EXPECT_EQ(reply.result["ips"][0]["address"], "10.0.0.5/32");
  EXPECT_EQ(bench.state.attachments.size(), 1U);
  EXPECT_EQ(records(), 1U);
  EXPECT_EQ(ask(request("DEL")).code, Code::ok);  // of the old one, late
  EXPECT_EQ(bench.state.attachments.size(), 1U);
}

TEST_F(AttacherTest, BadRecordsAreNamedAndLeftAlone) {
  ask(request("ADD"));
  const std::string folder = bench.config.state_dir + "/attachments/";
  std::ofstream(folder + "bad.json") << R"({"version":1,"ips":["10.0.0.300"]})";
  std::ofstream(folder + "half.json.new") << "{";
  std::ofstream(folder + "cut-off.json") << "";  // by the machine's end, before its ADD's answer
  restart();
  ASSERT_EQ(attacher->problems().size(), 1U);
  EXPECT_EQ(attacher->problems()[0],
            folder + "bad.json: is no attachment of podwire; remove it, or the pod again");
  EXPECT_EQ(bench.state.attachments.size(), 1U);
  EXPECT_FALSE(std::filesystem::exists(folder + "half.json.new"));
  EXPECT_FALSE(std::filesystem::exists(folder + "cut-off.json"));
  EXPECT_TRUE(std::filesystem::exists(folder + "bad.json"));
}

TEST_F(AttacherTest, PendingDeletesAreCarriedOut) {
  ask(request("ADD"));
  const std::string folder = bench.config.state_dir + "/pending-deletes/";
  std::ofstream(folder + "c1-eth0.json") << cni::to_json(request("DEL")).dump();
  std::ofstream(folder + "bad.json") << cni::to_json(request("ADD")).dump();
  attacher->carry_out_pending();
  bench.settle();
  expect_nothing_left();
  EXPECT_FALSE(std::filesystem::exists(folder + "c1-eth0.json"));
  ASSERT_EQ(attacher->problems().size(), 1U);
  EXPECT_EQ(attacher->problems()[0], folder + "bad.json: is no pending delete: command is ADD");
}

TEST_F(AttacherTest, CheckComparesWithWhatIsThere) {
  auto check = request("CHECK");
  EXPECT_EQ(ask(check).code, Code::unknown_container);
  ask(request("ADD"));
  check.addresses = {"10.0.0.1/32", "fd00::1/128"};
  EXPECT_EQ(ask(check).code, Code::ok);
  check.addresses = {"10.0.0.2/32"};
  EXPECT_EQ(ask(check).message,
            "prevResult names address 10.0.0.2/32, which this attachment has not");
  check.addresses.clear();
  check_error = "eth0: is down";
  EXPECT_EQ(ask(check).message, "eth0: is down");
}

TEST_F(AttacherTest, AddTakesWhatTheCallerAsksFor) {
  auto add = request("ADD");
  add.wishes.addresses = {"10.0.0.4", "fd00::6"};
  add.wishes.mac = "02:00:00:00:00:09";
  const Reply reply = ask(add);
  ASSERT_EQ(reply.code, Code::ok) << reply.message;
  EXPECT_EQ(reply.result["ips"][0]["address"], "10.0.0.4/32");
  EXPECT_EQ(reply.result["interfaces"][0]["mac"], "02:00:00:00:00:09");
  add.container_id = "c2";
  EXPECT_EQ(ask(add).message, "Pod default/web: address 10.0.0.4 is taken by another pod");
  add.wishes.addresses = {"10.77.0.4"};
  EXPECT_EQ(ask(add).code, Code::address_refused) << "of no range of podwire's";
  add.wishes.delegated = true;
  add.wishes.routes = {{"10.0.0.0/8", 1400, 0, 0, 0}};
  const Reply delegated = ask(add);
  ASSERT_EQ(delegated.code, Code::ok) << delegated.message;
  EXPECT_EQ(delegated.result["routes"].dump(),
            R"([{"dst":"10.0.0.0/8","gw":"169.254.1.1","mtu":1400}])");
  restart();
  EXPECT_EQ(ask(add).result, delegated.result) << "what was asked for outlives podwired";
  EXPECT_EQ(ask(request("ADD")).result, reply.result);
  add.container_id = "c3";
  EXPECT_EQ(ask(add).message, "address 10.77.0.4 is taken by another pod still");
}

TEST_F(AttacherTest, SecondInterfaceOfAPodHasAddressesOfItsOwn) {
  bench.state.store.pods["default/web"].ips = {ip("10.0.0.5")};
  bench.state.store.pods["default/web"].meta.annotations["cni.projectcalico.org/ipAddrs"] =
      R"(["10.0.0.5"])";
  EXPECT_EQ(ask(request("ADD")).result["ips"][0]["address"], "10.0.0.5/32");
  auto second = request("ADD");
  second.interface = "net1";
  const Reply reply = ask(second);
  ASSERT_EQ(reply.code, Code::ok) << reply.message;
  EXPECT_EQ(reply.result["interfaces"][0]["name"], "net1");
  EXPECT_NE(reply.result["ips"][0]["address"], "10.0.0.5/32");
  second.command = "DEL";
  EXPECT_EQ(ask(second).code, Code::ok);
  EXPECT_EQ(bench.state.attachments.size(), 1U);
}

TEST_F(AttacherTest, AddNamesWhatCannotBe) {
  const auto refused = [&](auto&& change) {
    auto add = request("ADD");
    change(add.wishes);
    const Reply reply = ask(add);
    EXPECT_EQ(reply.code, Code::config) << reply.message;
    expect_nothing_left();
    return reply.message;
  };
  EXPECT_EQ(refused([](auto& w) { w.addresses = {"10.0.0.300"}; }),
            "ips: \"10.0.0.300\" is not an address");
  EXPECT_EQ(refused([](auto& w) { w.addresses = {"224.0.0.1"}; }),
            "ips: 224.0.0.1 cannot be a pod's");
  EXPECT_EQ(refused([](auto& w) {
              w.addresses = {"10.0.0.1", "10.0.0.2"};
            }),
            "ips: 10.0.0.1 and 10.0.0.2 are of one family: a port has one address of each");
  EXPECT_EQ(refused([](auto& w) { w.mac = "01:00:5e:00:00:01"; }),
            "mac 01:00:5e:00:00:01 is no interface's");
  EXPECT_EQ(refused([](auto& w) { w.mac = "x"; }), "mac \"x\" is not an Ethernet address");
  EXPECT_EQ(refused([](auto& w) { w.routes = {{"10.0.0.0/40"}}; }),
            "routes: dst \"10.0.0.0/40\" is not a prefix");
  EXPECT_EQ(refused([](auto& w) {
              w.port_mappings = {{"", "ftp", 80, 80}};
            }),
            "portMappings: hostPort 80: protocol \"ftp\" is none of tcp, udp, sctp");
  EXPECT_EQ(refused([](auto& w) {
              w.port_mappings = {{"", "tcp", 80, 0}};
            }),
            "portMappings: hostPort 80: containerPort 0 is not a port");
  EXPECT_EQ(refused([](auto& w) {
              w.port_mappings = {{"here", "tcp", 80, 80}};
            }),
            "portMappings: hostPort 80: hostIP \"here\" is not an address");
}

TEST_F(AttacherTest, BandwidthStaysWithThePort) {
  auto add = request("ADD");
  add.wishes.bandwidth = {8'000'000, 80'000, 0, 0};
  ASSERT_EQ(ask(add).code, Code::ok);
  const auto limits = bench.state.attachments.at(0).limits;
  ASSERT_NE(limits, nullptr);
  ASSERT_NE(limits->to_pod, nullptr);
  EXPECT_EQ(limits->from_pod, nullptr);
  // The FakeDataplane's clock: a byte in 1,000 cycles.
  EXPECT_TRUE(limits->to_pod->admit(10'000, 1'000'000'000));
  EXPECT_FALSE(limits->to_pod->admit(1, 1'000'000'000));
  EXPECT_TRUE(limits->to_pod->admit(1'000, 1'001'000'000));
  // Another ADD of it, and a port made anew, fill no bucket.
  ASSERT_EQ(ask(add).code, Code::ok);
  EXPECT_EQ(bench.state.attachments.at(0).limits, limits);
  restart();
  ASSERT_EQ(bench.state.attachments.size(), 1U);
  EXPECT_EQ(bench.state.attachments[0].wishes.bandwidth, add.wishes.bandwidth);
  ASSERT_NE(bench.state.attachments[0].limits, nullptr);
  EXPECT_FALSE(bench.state.attachments[0].limits->to_pod->admit(10'001, 1'000'000'000) &&
               bench.state.attachments[0].limits->to_pod->admit(1, 1'000'000'000));
  ASSERT_EQ(ask(request("ADD", "c2", "")).code, Code::ok);
  EXPECT_EQ(bench.state.attachments.at(1).limits, nullptr);
}

TEST_F(AttacherTest, BandwidthThatCannotBeIsNamed) {
  const auto refused = [&](const cni::Bandwidth& bandwidth) {
    auto add = request("ADD");
    add.wishes.bandwidth = bandwidth;
    const Reply reply = ask(add);
    EXPECT_EQ(reply.code, Code::config);
    EXPECT_EQ(records(), 0U);
    return reply.message;
  };
  EXPECT_EQ(refused({1'000'000, 0, 0, 0}),
            "bandwidth.ingressRate: 1000000 without bandwidth.ingressBurst");
  EXPECT_EQ(refused({0, 0, 0, 800}), "bandwidth.egressBurst: 800 without bandwidth.egressRate");
  EXPECT_EQ(refused({0, 0, 999, 800}),
            "bandwidth.egressRate: 999 bits a second; the least is 1000");
  EXPECT_EQ(refused({1000, 34'359'738'360, 0, 0}),
            "bandwidth.ingressBurst: 34359738360 bits; it has to be less than 34359738360");
}

TEST_F(AttacherTest, BandwidthBeyondAnyPortIsNone) {
  auto add = request("ADD");
  add.wishes.bandwidth = {~std::uint64_t{0}, 34'359'738'359, 1000, 34'359'738'359};
  ASSERT_EQ(ask(add).code, Code::ok);
  const auto& limits = *bench.state.attachments.at(0).limits;
  for (unsigned i = 0; i < 10'000; ++i) EXPECT_TRUE(limits.to_pod->admit(65'535, 1 + i));
}

TEST_F(AttacherTest, PortsWithoutAPeerAreNoDeadOnes) {
  auto add = request("ADD");
  add.wishes.port.kind = "memif";
  const Reply first = ask(add);
  ASSERT_EQ(first.code, Code::ok) << first.message;
  EXPECT_EQ(first.result["interfaces"][0]["socketPath"], "@podwire/eth0");
  EXPECT_EQ(first.device_info["memif"]["role"], "slave");
  EXPECT_TRUE(bench.dataplane.taps.empty());
  EXPECT_TRUE(set_up.empty());
  ASSERT_EQ(bench.dataplane.memifs.size(), 1U);
  EXPECT_EQ(bench.dataplane.memifs[0].netns, "/proc/self/ns/net");
  // Once more: the same, on the same port. Another sandbox of the Pod does not push it out.
  EXPECT_EQ(ask(add).result, first.result);
  EXPECT_EQ(bench.dataplane.memifs.size(), 1U);
  EXPECT_EQ(ask(request("ADD", "c2")).code, Code::ok);
  EXPECT_EQ(bench.state.attachments.size(), 2U);
  EXPECT_EQ(ask(request("CHECK")).code, Code::ok);
  restart();
  EXPECT_EQ(bench.dataplane.memifs.size(), 2U);
  EXPECT_EQ(ask(add).result, first.result);
  EXPECT_EQ(ask(request("DEL")).code, Code::ok);
  EXPECT_EQ(ask(request("DEL", "c2")).code, Code::ok);
  expect_nothing_left();
}

TEST_F(AttacherTest, DeviceStandsForAPortThatIsNoKernelInterface) {
  auto add = request("ADD");
  add.wishes.device = "0:1f.6";
  EXPECT_EQ(ask(add).message,
            "deviceID: \"0:1f.6\" has no meaning: a tap is no device of the node");
  expect_nothing_left();
  EXPECT_EQ(ask(add).code, Code::unsupported_field);
  add.wishes.port.kind = "memif";
  EXPECT_EQ(ask(add).code, Code::ok);
}

TEST_F(AttacherTest, AbstractSocketIsOnePortsInItsNamespace) {
  auto add = request("ADD");
  add.wishes.port.kind = "memif";
  add.wishes.port.socket = "@x";
  ASSERT_EQ(ask(add).code, Code::ok);
  add.container_id = "c2";
  const Reply reply = ask(add);
  EXPECT_EQ(reply.code, Code::try_later);
  EXPECT_EQ(reply.message, "port.socket: @x is taken by default/web/eth0");
  add.netns = "/proc/self/ns/mnt";  // as if it were another
  EXPECT_EQ(ask(add).code, Code::ok);
}

TEST_F(AttacherTest, PodsFolderComesAndGoesWithItsSockets) {
  bench.state.store.pods["default/web"].meta.annotations["podwire.io/port.net1"] =
      R"({"kind": "memif", "queues": 2})";
  std::filesystem::create_directories(bench.config.run_dir);
  auto add = request("ADD");
  add.pod_uid = "u1";
  add.wishes.port.kind = "vhost-user";
  add.wishes.port.queues = 4;
  add.wishes.port.mtu = 9000;
  const Reply reply = ask(add);
  ASSERT_EQ(reply.code, Code::ok) << reply.message;
  const std::string folder = bench.config.run_dir + "/ports/u1";
  EXPECT_EQ(reply.result["interfaces"][0]["socketPath"], folder + "/eth0.sock");
  EXPECT_EQ(reply.result["interfaces"][0]["mtu"], 9000);
  EXPECT_EQ(reply.device_info["vhost-user"]["mode"], "server");
  EXPECT_TRUE(bench.dataplane.vhost_users.contains(folder + "/eth0.sock"));
  EXPECT_EQ(std::filesystem::status(folder).permissions(), std::filesystem::perms(0770));
  auto second = add;
  second.interface = "net1";
  second.wishes.port.mtu = 0;
  EXPECT_EQ(ask(second).result["interfaces"][0]["socketPath"], "@podwire/net1")
      << "the annotation goes before the network";
  EXPECT_EQ(bench.dataplane.memifs.at(0).queues, 2U);
  second.interface = "net2";
  ASSERT_EQ(ask(second).code, Code::ok);
  std::ofstream(folder + "/of-the-pod") << "x";
  add.command = second.command = "DEL";
  EXPECT_EQ(ask(second).code, Code::ok);
  EXPECT_TRUE(std::filesystem::exists(folder + "/of-the-pod")) << "the other port's folder too";
  EXPECT_EQ(ask(add).code, Code::ok);
  EXPECT_FALSE(std::filesystem::exists(folder));
  second.interface = "net1";
  EXPECT_EQ(ask(second).code, Code::ok);
  expect_nothing_left();
}

TEST_F(AttacherTest, PortThatCannotBeOpenedLeavesNothing) {
  std::filesystem::create_directories(bench.config.run_dir);
  bench.dataplane.open_error = "no more";
  auto add = request("ADD");
  add.wishes.port.kind = "vhost-user";
  EXPECT_EQ(ask(add).message, "no more");
  EXPECT_FALSE(std::filesystem::exists(bench.config.run_dir + "/ports/c1"));
  expect_nothing_left();
  bench.dataplane.open_error.clear();
  bench.state.store.pods["default/web"].meta.annotations["podwire.io/port.podwire"] = "memfi";
  const Reply reply = ask(request("ADD"));
  EXPECT_EQ(reply.code, Code::pod_refused);
  EXPECT_EQ(reply.message,
            "Pod default/web: annotation podwire.io/port.podwire: port.kind: \"memfi\" is none of "
            "tap, vhost-user, memif");
  expect_nothing_left();
}

TEST_F(AttacherTest, SocketWhereEverybodyMayWriteIsNoPlace) {
  const std::string open = bench.folder.path + "/open", closed = bench.folder.path + "/closed";
  for (const auto& folder : {open, closed}) std::filesystem::create_directories(folder);
  std::filesystem::permissions(open, std::filesystem::perms::all);
  std::ofstream(bench.folder.path + "/file") << "x";
  const auto answer = [&](const std::string& socket) {
    auto add = request("ADD");
    add.wishes.port.kind = "memif";
    add.wishes.port.socket = socket;
    return ask(add);
  };
  for (const char* within : {"/m.sock", "/"}) {
    const Reply reply = answer(open + within);
    EXPECT_EQ(reply.code, Code::config);
    EXPECT_EQ(reply.message,
              "port.socket: everybody may write to " + open + "; choose another folder");
    expect_nothing_left();
  }
  EXPECT_TRUE(std::filesystem::is_empty(open));
  EXPECT_EQ(answer(bench.folder.path + "/file/m.sock").code, Code::config);
  // What is not there may come: another time.
  EXPECT_EQ(answer(bench.folder.path + "/later/m.sock").code, Code::try_later);
  expect_nothing_left();
  EXPECT_EQ(answer(closed + "/m.sock").code, Code::ok);
}

TEST_F(AttacherTest, HostPortIsOnePods) {
  auto add = request("ADD", "c1", "");
  add.wishes.port_mappings = {{"127.0.0.1", "TCP", 8080, 80}};
  ASSERT_EQ(ask(add).code, Code::ok);
  auto other = request("ADD", "c2", "");
  other.wishes.port_mappings = {{"", "tcp", 8080, 80}};
  EXPECT_EQ(ask(other).message, "hostPort 8080/tcp is taken by pod c1");
  other.wishes.port_mappings = {{"10.1.1.1", "tcp", 8080, 80}, {"127.0.0.1", "udp", 8080, 80}};
  EXPECT_EQ(ask(other).code, Code::ok);
  ask(request("DEL", "c2", ""));
  ask(request("DEL", "c1", ""));
  other.wishes.port_mappings = {{"0.0.0.0", "tcp", 8080, 80}};
  EXPECT_EQ(ask(other).code, Code::ok);
}

TEST_F(AttacherTest, GarbageIsWhatIsNotValidInItsNetwork) {
  ask(request("ADD", "c1"));
  ask(request("ADD", "c2", ""));
  auto foreign = request("ADD", "c3", "");
  foreign.network = "another";
  ask(foreign);
  cni::Request gc;
  gc.command = "GC";
  gc.network = "podwire";
  gc.valid = {{"c2", "eth0"}};
  EXPECT_EQ(ask(gc).code, Code::ok);
  ASSERT_EQ(bench.state.attachments.size(), 2U);
  EXPECT_EQ(bench.state.attachments[0].container_id, "c2");
  EXPECT_EQ(bench.state.attachments[1].container_id, "c3");
}

TEST_F(AttacherTest, StatusSaysWhyPodsCannotBeAttached) {
  EXPECT_EQ(ask(request("STATUS")).code, Code::ok);
  bench.state.store.nodes.clear();
  EXPECT_EQ(ask(request("STATUS")).code, Code::not_available);
  bench.state.store.synced = false;
  EXPECT_EQ(ask(request("STATUS")).message, "podwired has not read all objects yet");
}

// Random histories of everything at once: no address twice, records and taps as attachments.
TEST_F(AttacherTest, KeepsItsBooksInRandomHistories) {
  std::mt19937 random(7);
  unsigned answers = 0, asked = 0;
  for (int step = 0; step < 400; ++step) {
    const std::string id = "c" + std::to_string(random() % 9);
    auto r = request(random() % 2 == 0 ? "ADD" : "DEL", id, "");
    r.netns = "/proc/self/ns/net";
    bench.dataplane.open_error = random() % 10 == 0 ? "no" : "";
    ++asked;
    attacher->handle(r, [&](const Reply&) { ++answers; });
    if (random() % 3 == 0) bench.publish();
    if (random() % 50 == 0) {
      bench.settle();
      bench.dataplane.open_error.clear();
      restart();
    }
    std::set<net::Address> seen;
    for (const auto& attachment : bench.state.attachments) {
      for (const auto& address : attachment.ips) ASSERT_TRUE(seen.insert(address).second);
    }
  }
  bench.settle();
  EXPECT_EQ(answers, asked);
  EXPECT_EQ(records(), bench.state.attachments.size());
  for (int i = 0; i < 9; ++i) ask(request("DEL", "c" + std::to_string(i), ""));
  EXPECT_EQ(records(), 0U);
  for (int i = 0; i < 6; ++i) {  // all six are free again
    EXPECT_EQ(ask(request("ADD", "d" + std::to_string(i), "")).code, Code::ok);
  }
}

}  // namespace
}  // namespace podwire::control
