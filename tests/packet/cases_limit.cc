// The flow table at its limit: known flows lose nothing, half-open ones go first, the rest is
// refused under a name.
#include "dataplane/flow/flows.h"
#include "tests/lib/protocols.h"
#include "tests/packet/packet_case.h"

namespace podwire::test {
namespace {

constexpr std::uint32_t kLimit = 128;
Frame there(unsigned n, std::string_view flags) {
  return tcp("10.244.1.2", static_cast<std::uint16_t>(1000 + n), "10.96.0.1", 80, flags);
}
Frame back(unsigned n, std::string_view flags) {
  return tcp("10.244.1.3", 8080, "10.244.1.2", static_cast<std::uint16_t>(1000 + n), flags);
}

class AtTheLimit {
 public:
  AtTheLimit() : world(1, [](DataplaneConfig& config) { config.flows_v4 = kLimit; }) {
    world.add_cluster_ip(kTcp, "10.96.0.1:80", {"10.244.1.3:8080"});
    world.publish();
  }

  // Connections 0 .. count - 1 through their handshake.
  void establish(unsigned count) {
    for (unsigned n = 0; n < count; ++n) {
      pass({"a", there(n, "S")}, "b");
      pass({"b", back(n, "SA")}, "a");
      pass({"a", there(n, "A")}, "b");
    }
  }
  // Every byte of both directions of connections 0 .. count - 1.
  void expect_known(unsigned count) {
    for (unsigned n = 0; n < count; ++n) {
      const Frame data = there(n, "PA"), answer = back(n, "PA");
      RUN(world, {.in = {{"a", data}, {"b", answer}},
                  .out = {{"b", data.to("10.244.1.3", 8080).one_hop_less()},
                          {"a", answer.from("10.96.0.1", 80).one_hop_less()}}});
    }
  }
  // `count` SYNs of connections from `first` on, in bursts. Returns how many got a flow.
  unsigned flood(unsigned first, unsigned count, unsigned burst_size = kBatchSize) {
    const auto passed = [&] { return world.worker().counters.flows_created.read(); };
    const auto before = passed();
    for (unsigned n = 0; n < count;) {
      Burst burst;
      for (; n < count && burst.size() < burst_size; ++n) {
        burst.append(world.make_buffer({"a", there(first + n, "S")}), world.port_id("a"));
      }
      carry(burst);
    }
    return static_cast<unsigned>(passed() - before);
  }
  [[nodiscard]] std::uint64_t refused() {
    return world.worker().counters.drops[static_cast<std::size_t>(Reason::flow_limit)].read();
  }
  [[nodiscard]] std::uint32_t size() { return world.shared().flows->v4.size(); }
  void sweep() {
    for (int round = 0; round < 3; ++round) {
      auto& map = world.shared().flows->v4;
      world.worker().begin_round();
      map.sweep(0, 1, map.groups(), world.worker().now_seconds);
      world.shared().quiescence.report(0);
    }
  }

  World world;

 private:
  void carry(Burst& burst) {
    world.worker().process(burst);
    world.shared().quiescence.report(0);
    for (const char* port : {"a", "b", "c", "host", "uplink"}) {
      for (rte_mbuf* mbuf : world.port(port).sent) rte_pktmbuf_free(mbuf);
      world.port(port).sent.clear();
    }
  }
  void pass(const In& in, const char* out) {
    Burst burst;
    burst.append(world.make_buffer(in), world.port_id(in.port));
    world.worker().process(burst);
    ASSERT_EQ(world.port(out).sent.size(), 1U);
    carry(burst);
  }
};

PACKET_CASE(LimitSynFloodTakesNothingFromKnownFlows) {
  constexpr unsigned kKnown = 64, kFlood = 4000;
  AtTheLimit node;
  node.establish(kKnown);
  unsigned entered = 0;
  for (unsigned round = 0; round < 4; ++round) {
    entered += node.flood(1000 + round * kFlood, kFlood);
    EXPECT_LE(node.size(), kLimit);
    node.expect_known(kKnown);
  }
  // Later SYNs took the place of earlier ones; what found none was refused by name, nothing else.
  EXPECT_GT(entered, kLimit);
  EXPECT_EQ(node.refused(), 4 * kFlood - entered);
  // After the flood its half-open flows go with their timeout, and what comes then is served.
  node.world.advance(130);
  node.sweep();
  EXPECT_EQ(node.size(), kKnown);
  EXPECT_EQ(node.flood(50'000, kLimit - kKnown), kLimit - kKnown);
  node.expect_known(kKnown);
}

// Known packets come first: in a full table only a few flows of a burst make room for themselves.
PACKET_CASE(LimitOnlyAFewOfABurstMakeRoom) {
  AtTheLimit node;
  node.establish(16);
  EXPECT_EQ(node.flood(2000, kLimit - 16), kLimit - 16);
  ASSERT_EQ(node.size(), kLimit);
  node.world.advance(2);
  node.sweep();
  const auto refused = node.refused();
  const unsigned entered = node.flood(3000, kBatchSize);
  EXPECT_GT(entered, 0U);
  EXPECT_LE(entered, Worker::kRoomABurst);
  EXPECT_EQ(node.refused() - refused, kBatchSize - entered);
  node.expect_known(16);
}

PACKET_CASE(LimitOfKnownFlowsRefusesNewOnesByName) {
  AtTheLimit node;
  node.establish(kLimit);
  ASSERT_EQ(node.size(), kLimit);
  const Frame syn = there(kLimit, "S");
  RUN(node.world, {.in = {{"a", syn}}, .out = {}, .counters = {{"drop.flow_limit", 1}}});
  EXPECT_EQ(node.flood(1000, 2000), 0U);
  EXPECT_EQ(node.refused(), 2001U);
  node.expect_known(kLimit);
}

// Of those that may make room the one that was silent longest does.
PACKET_CASE(LimitLongestSilentOfTheExpendableGoesFirst) {
  AtTheLimit node;
  node.establish(16);
  EXPECT_EQ(node.flood(2000, kLimit - 16), kLimit - 16);
  node.world.advance(30);
  // Half of the flood again: still opening, but heard of later.
  EXPECT_EQ(node.flood(2000, 56), 0U);
  const unsigned entered = node.flood(3000, 20, Worker::kRoomABurst);
  EXPECT_GT(entered, 10U);
  // Those that were heard of again are still there: their SYNs begin no flow. By chance half of
  // what made room would be of them; a key that sees no other may end one.
  EXPECT_LT(node.flood(2000, 56), entered / 4);
  node.expect_known(16);
}

}  // namespace
}  // namespace podwire::test
