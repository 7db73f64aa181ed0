#include "control/publish/publisher.h"

#include <gtest/gtest.h>

#include <deque>

namespace podwire::control {
namespace {

using namespace std::chrono_literals;

// A dataplane without packets: its workers move on when a test says so.
class QuietDataplane final : public DataplaneLink {
 public:
  void publish(std::unique_ptr<const tables::Snapshot> snapshot) override {
    published.push_back(std::move(snapshot));
  }
  std::size_t reclaim() override {
    ++reclaims;
    while (moved_on && published.size() > 1) published.pop_front();
    return published.empty() ? 0 : published.size() - 1;
  }
  Result<std::shared_ptr<io::Port>> open_tap(const TapRequest& /*request*/) override {
    return fail("no taps here");
  }
  Result<void> remove_tap(const std::string& /*netns*/, const std::string& /*name*/) override {
    return {};
  }
  Result<std::shared_ptr<io::Port>> open_memif(const MemifRequest& /*request*/) override {
    return fail("no memif here");
  }
  Result<std::shared_ptr<io::Port>> open_vhost_user(const VhostUserRequest& /*request*/) override {
    return fail("no vhost-user sockets here");
  }
  std::shared_ptr<io::Port> uplink() override { return nullptr; }
  std::shared_ptr<io::Port> host_tap() override { return nullptr; }
  net::Mac uplink_mac() override { return {}; }
  std::string uplink_kernel_device() override { return {}; }
  std::uint16_t uplink_largest_mtu() override { return 65521; }
  unsigned workers() override { return 0; }
  const observe::WorkerCounters& counters(unsigned /*worker*/) override { std::abort(); }
  void poll_events(const std::function<void(const observe::Event&)>& /*each*/) override {}
  std::uint64_t events_lost() override { return 0; }
  std::uint32_t now_seconds() override { return 0; }
  std::uint64_t cycles_per_second() override { return 1; }
  std::vector<observe::FlowRow> flows(
      std::size_t /*limit*/,
      const std::function<bool(const observe::FlowRow&)>& /*wanted*/) override {
    return {};
  }
  void erase_flows(observe::FlowCursor& at,
                   const std::function<bool(const observe::FlowRow&)>& ends) override {
    ++erasures;
    for (const observe::FlowRow& flow : rows) ended.push_back(ends(flow));
    at.at_end = true;
  }
  std::vector<TableFill> fills() override { return {}; }

  std::deque<std::unique_ptr<const tables::Snapshot>> published;
  bool moved_on = true;
  int reclaims = 0, erasures = 0;
  std::vector<observe::FlowRow> rows;
  std::vector<bool> ended;  // of each row, by the last calls of erase_flows
};

kube::Pod pod(const char* name) {
  kube::Pod p;
  p.meta.ns = "default";
  p.meta.name = name;
  return p;
}

observe::FlowRow flow(const char* from, const char* to, std::uint16_t port) {
  observe::FlowRow row;
  row.protocol = 6;
  row.source = *net::Address::parse(from);
  row.destination = *net::Address::parse("10.96.0.1");  // a Service's: no policy is about it
  row.reply_source = *net::Address::parse(to);
  row.reply_source_port = net::be16(port);
  return row;
}

class PublisherTest : public testing::Test {
 protected:
  template <typename Condition>
  bool wait_for(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + 20s;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      io.run_one_for(1s);
      io.restart();
    }
    return true;
  }

  boost::asio::io_context io;
  Config config;
  QuietDataplane dataplane;
  State state{config, dataplane};
  StoreWriter store{state.store};
  int told_published = 0;
  Publisher publisher{io, state, store, [this](const auto& /*changes*/, const auto& /*wanted*/) {
                        ++told_published;
                      }};
};

TEST_F(PublisherTest, PublishesBeforeTheFirstSync) {
  publisher.build();
  ASSERT_EQ(dataplane.published.size(), 1);
  EXPECT_FALSE(dataplane.published.back()->synced);
  EXPECT_EQ(state.snapshot, dataplane.published.back().get());
  publisher.synced();
  ASSERT_TRUE(wait_for([&] { return told_published == 2; }));
  EXPECT_TRUE(dataplane.published.back()->synced);
  EXPECT_EQ(state.publishes, 2);
}

TEST_F(PublisherTest, GathersABurstIntoOneBuild) {
  for (const char* name : {"a", "b", "c"}) {
    store.put(pod(name));
    publisher.objects_changed();
  }
  EXPECT_EQ(told_published, 0);
  ASSERT_TRUE(wait_for([&] { return told_published == 1; }));
  ASSERT_TRUE(wait_for([&] { return dataplane.reclaims > 0; }));
  io.poll();
  EXPECT_EQ(told_published, 1);
  EXPECT_FALSE(store.pending().pods.contains("default/a"));
}

TEST_F(PublisherTest, ASecondBuildWaitsForTheSyncPeriod) {
  config.min_sync_period_ms = 50;
  publisher.build();
  const auto began = std::chrono::steady_clock::now();
  store.put(pod("a"));
  publisher.objects_changed();
  ASSERT_TRUE(wait_for([&] { return told_published == 2; }));
  EXPECT_GE(std::chrono::steady_clock::now() - began, 45ms);
}

TEST_F(PublisherTest, ABuildWaitsAsLongAsTheLastOneTook) {
  config.min_sync_period_ms = 0;
  publisher.build();
  state.last_build_time = 50ms;
  const auto began = std::chrono::steady_clock::now();
  publisher.objects_changed();
  ASSERT_TRUE(wait_for([&] { return told_published == 2; }));
  EXPECT_GE(std::chrono::steady_clock::now() - began, 45ms);
}

TEST_F(PublisherTest, AnAttachmentDoesNotWaitForTheSyncPeriod) {
  config.min_sync_period_ms = 3'600'000;
  publisher.build();
  told_published = 0;
  store.put(pod("a"));
  publisher.objects_changed();
  Attachment attachment;
  attachment.pod = "default/a";
  attachment.ips = {*net::Address::parse("10.244.1.5")};
  state.attachments.push_back(attachment);
  publisher.attachments_changed();
  ASSERT_TRUE(wait_for([&] { return told_published == 1; }));
  EXPECT_EQ(state.store.pods.at("default/a").ips, attachment.ips);
}

TEST_F(PublisherTest, TellsOnlyWhenNoWorkerUsesAnOlderSnapshot) {
  publisher.build();
  ASSERT_TRUE(wait_for([&] { return dataplane.reclaims > 0; }));
  dataplane.moved_on = false;
  bool told = false;
  publisher.attachments_changed();
  publisher.when_in_force([&] { told = true; });
  ASSERT_TRUE(wait_for([&] { return told_published == 2; }));
  const int asked = dataplane.reclaims;
  ASSERT_TRUE(wait_for([&] { return dataplane.reclaims > asked + 2; }));
  EXPECT_FALSE(told);
  dataplane.moved_on = true;
  ASSERT_TRUE(wait_for([&] { return told; }));
  EXPECT_EQ(dataplane.published.size(), 1);
}

TEST_F(PublisherTest, WithNothingDueThatWhichIsInForceCounts) {
  publisher.build();
  bool told = false;
  publisher.when_in_force([&] { told = true; });
  EXPECT_FALSE(told) << "before the call returned";
  ASSERT_TRUE(wait_for([&] { return told; }));
  EXPECT_EQ(told_published, 1);
}

TEST_F(PublisherTest, AsksTheSourceToCompleteTheStoreBeforeEachBuild) {
  struct Completing final : ObjectSource {
    std::string name() const override { return "test"; }
    void start(ObjectSink& /*sink*/) override {}
    void stop() override {}
    void complete(StoreWriter& writer) override {
      saw = writer.pending().pods;
      writer.put(pod("made"));
    }
    std::set<std::string> saw;
  } source;
  publisher.set_source(&source);
  store.put(pod("a"));
  publisher.build();
  EXPECT_EQ(source.saw, std::set<std::string>{"default/a"});
  EXPECT_TRUE(state.store.pods.contains("default/made"));
  EXPECT_TRUE(store.pending().pods.empty());
}

TEST_F(PublisherTest, EndsIdleFlowsThatPolicyForbidsAndNoOthers) {
  store.put(pod("a"));
  Attachment attachment;
  attachment.pod = "default/a";
  attachment.ips = {*net::Address::parse("10.244.1.5")};
  state.attachments.push_back(attachment);
  LinuxAddress own;
  own.address = *net::Address::parse("192.0.2.1");
  state.linux_state.addresses = {own};
  publisher.build();
  dataplane.rows = {flow("10.244.2.9", "10.244.1.5", 80), flow("10.244.2.9", "10.244.1.5", 8080),
                    flow("10.244.2.9", "10.244.1.6", 80), flow("192.0.2.1", "10.244.1.5", 80)};
  kube::NetworkPolicy policy;
  policy.meta.ns = "default";
  policy.meta.name = "web";
  policy.ingress = {{{}, {{6, kube::IntOrString{8080, {}}, 0}}, true}};
  const auto began = std::chrono::steady_clock::now();
  store.put(policy);
  publisher.objects_changed();
  ASSERT_TRUE(wait_for([&] { return dataplane.erasures == 1; }));
  EXPECT_EQ(dataplane.ended, (std::vector<bool>{true, false, false, false}));
  EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);  // a second, on a machine that is free
  store.remove(kube::Kind::network_policy, "default/web");
  publisher.objects_changed();
  ASSERT_TRUE(wait_for([&] { return dataplane.erasures == 2; }));
  EXPECT_EQ(dataplane.ended, (std::vector<bool>{true, false, false, false,  //
                                                false, false, false, false}));
}

TEST_F(PublisherTest, BuildsNoMoreOnceStopped) {
  publisher.objects_changed();
  publisher.stop();
  io.run_for(50ms);
  EXPECT_EQ(told_published, 0);
}

}  // namespace
}  // namespace podwire::control
