// Bandwidth of pods: what exceeds it is dropped under its own name, others' packets are left alone.
// Buckets fill by 125 bytes a second here: not by one frame while a case runs.
#include "tests/packet/families.h"
#include "tests/packet/packet_case.h"

namespace podwire::test {
namespace {

constexpr std::size_t kSize = 1000;

std::unique_ptr<tables::RateLimit> bucket_of(World& world, std::size_t bytes) {
  return std::make_unique<tables::RateLimit>(tables::RateLimit::kLeastBits, 8 * bytes,
                                             world.shared().cycles_per_second);
}

// Pods "a" and "c", which may send or be sent so many frames of this size; "b" has no limit.
class Limited {
 public:
  void publish() {
    world.ports.any_limits = true;
    world.publish();
  }
  void from(const char* pod, std::size_t bytes) {
    limits(pod).from_pod = bucket_of(world, bytes);
    publish();
  }
  void to(const char* pod, std::size_t bytes) {
    limits(pod).to_pod = bucket_of(world, bytes);
    publish();
  }
  World world;

 private:
  tables::PortLimits& limits(const char* pod) {
    auto& held = world.ports.ports[world.port_id(pod)].limits;
    if (held == nullptr) held = std::make_shared<tables::PortLimits>();
    return *held;
  }
};

FAMILY_CASE(BandwidthOfWhatAPodSends) {
  Limited node;
  const Frame from_a = udp(n.a, 4000, n.b, 53).with_payload(kSize);
  const Frame from_b = udp(n.b, 4000, n.c, 53).with_payload(kSize);
  node.from("a", 2 * frame_bytes(from_a).size());
  const Out a_out{"b", from_a.one_hop_less()}, b_out{"c", from_b.one_hop_less()};
  RUN(node.world,
      {.in = {{"a", from_a}, {"b", from_b}, {"a", from_a}, {"a", from_a}, {"b", from_b}},
       .out = {a_out, a_out, b_out, b_out},
       .counters = {{"flows_created", 2}, {"drop.bandwidth_egress", 1}}});
  // The bucket outlives the snapshot.
  node.world.publish();
  RUN(node.world, {.in = {{"a", from_a}, {"b", from_b}, {"b", from_b}},
                   .out = {b_out, b_out},
                   .counters = {{"drop.bandwidth_egress", 1}}});
  EXPECT_EQ(node.world.worker().counters.ports[node.world.port_id("a")].rx_drops.read(), 2U);
  // A frame that does not fit takes nothing: a smaller one may.
  const Frame small = udp(n.a, 4000, n.b, 53).with_payload(kSize / 4);
  node.from("a", frame_bytes(from_a).size());
  RUN(node.world, {.in = {{"a", small}, {"a", from_a}, {"a", small}},
                   .out = {{"b", small.one_hop_less()}, {"b", small.one_hop_less()}},
                   .counters = {{"drop.bandwidth_egress", 1}}});
}

FAMILY_CASE(BandwidthOfWhatAPodIsSent) {
  Limited node;
  const Frame to_c = udp(n.a, 4000, n.c, 53).with_payload(kSize);
  const Frame to_b = udp(n.a, 4000, n.b, 53).with_payload(kSize);
  const Frame from_c = udp(n.c, 53, n.a, 4000).with_payload(kSize);
  node.to("c", 2 * frame_bytes(to_c).size());
  const Out c_out{"c", to_c.one_hop_less()}, b_out{"b", to_b.one_hop_less()};
  RUN(node.world, {.in = {{"a", to_c}, {"a", to_b}, {"a", to_c}, {"a", to_c}, {"a", to_b}},
                   .out = {c_out, c_out, b_out, b_out},
                   .counters = {{"flows_created", 2}, {"drop.bandwidth_ingress", 1}}});
  // By the pipeline and by the fast path; what it sends is no matter.
  RUN(node.world, {.in = {{"a", to_c}, {"c", from_c}},
                   .out = {{"a", from_c.one_hop_less()}},
                   .counters = {{"drop.bandwidth_ingress", 1}}});
  EXPECT_EQ(node.world.worker().counters.ports[node.world.port_id("c")].tx_drops.read(), 2U);
  // A port that is down says so, and takes nothing from the bucket.
  node.to("c", frame_bytes(to_c).size());
  node.world.port("c").is_up = false;
  RUN(node.world, {.in = {{"a", to_c}}, .out = {}, .counters = {{"drop.port_down", 1}}});
  node.world.port("c").is_up = true;
  RUN(node.world, {.in = {{"a", to_c}}, .out = {c_out}});
}

// Five segments of 1,000 bytes are five frames on a wire: 5,000 and five times their headers.
PACKET_CASE(BandwidthCountsTheHeadersOfEachSegment) {
  const auto unsegmented = [](std::size_t size) {
    In in{"a", tcp("10.244.1.2", 4000, "10.244.1.3", 80, "A").with_payload(size)};
    in.frame.partial = true;
    in.offloads = RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM;
    in.segment_size = 1000;
    in.first_segment = 200;
    return in;
  };
  constexpr std::size_t kHeaders = 14 + 20 + 20;
  for (const bool fits : {true, false}) {
    Limited node;
    const In opens{"a", tcp("10.244.1.2", 4000, "10.244.1.3", 80, "S")};
    RUN(node.world, {.in = {opens},
                     .out = {{"b", opens.frame.one_hop_less()}},
                     .counters = {{"flows_created", 1}}});
    const Frame small = udp("10.244.1.2", 1, "10.244.1.3", 1);
    node.from("a", 5 * (1000 + kHeaders) + frame_bytes(small).size() - (fits ? 0 : 1));
    const Frame big = unsegmented(5000).frame;
    Step step{.in = {unsegmented(5000), {"a", small}},
              .out = {{"b", big.one_hop_less()}},
              .counters = {}};
    if (fits) {
      step.out.push_back({"b", small.one_hop_less()});
      step.counters["flows_created"] = 1;
    } else {
      step.counters["drop.bandwidth_egress"] = 1;
    }
    const std::string wrong = node.world.run(step);
    ASSERT_TRUE(wrong.empty()) << wrong;
  }
}

// A bucket smaller than a frame does not cut its pod off: the frame passes when the bucket is full,
// and nothing more until it is paid for.
PACKET_CASE(BandwidthLetsALargeFramePassAFullBucket) {
  Limited node;
  const Frame frame = udp("10.244.1.2", 4000, "10.244.1.3", 53).with_payload(kSize);
  node.from("a", 10);
  RUN(node.world, {.in = {{"a", frame}, {"a", frame}},
                   .out = {{"b", frame.one_hop_less()}},
                   .counters = {{"flows_created", 1}, {"drop.bandwidth_egress", 1}}});
  const auto later = [&](unsigned seconds) {
    Burst burst;
    burst.append(node.world.make_buffer({"a", frame}), node.world.port_id("a"));
    Worker& w = node.world.worker();
    w.process(burst, rte_rdtsc() + seconds * node.world.shared().cycles_per_second);
    auto& sent = node.world.port("b").sent;
    const std::size_t passed = sent.size();
    for (rte_mbuf* mbuf : sent) rte_pktmbuf_free(mbuf);
    sent.clear();
    return passed;
  };
  EXPECT_EQ(later(4), 0U);
  EXPECT_EQ(later(20), 1U);
}

// The worker that received a frame has asked; the one that carries it does not again.
PACKET_CASE(BandwidthIsAskedOnceOfAFrameThatIsHandedOver) {
  Limited node;
  const Frame frame = udp("10.244.1.2", 4000, "10.244.1.3", 53).with_payload(kSize);
  node.from("a", frame_bytes(frame).size());
  const PortId a = node.world.port_id("a");
  Burst burst;
  for (unsigned i = 0; i < 3; ++i) {
    burst.append_handed({node.world.make_buffer({"a", frame}), a, true});
  }
  for (unsigned i = 0; i < 2; ++i) burst.append(node.world.make_buffer({"a", frame}), a);
  Worker& w = node.world.worker();
  w.process(burst);
  EXPECT_EQ(node.world.port("b").sent.size(), 4U);
  EXPECT_EQ(w.counters.drops[static_cast<std::size_t>(Reason::bandwidth_egress)].read(), 1U);
  EXPECT_EQ(w.counters.received.read(), 5U);
  EXPECT_EQ(w.counters.sent.read(), 4U);
  EXPECT_EQ(w.counters.ports[a].rx_packets.read(), 2U);
}

}  // namespace
}  // namespace podwire::test
