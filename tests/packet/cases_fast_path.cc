// The fast path against the stages: two nodes in memory get the same frames, one of them in bursts;
// the other one by one, and it forgets each flow's Way before every frame, and gets each in two
// buffers, so that all of them take the stages. Frames, their order inside each flow, counters and
// flows must come out alike.
#include <random>

#include "dataplane/flow/flows.h"
#include "dataplane/stages/fast_path_wire.h"
#include "tests/lib/protocols.h"
#include "tests/packet/packet_case.h"

namespace podwire::test {
namespace {

constexpr const char* kPorts[] = {"a", "b", "c", "host", "uplink"};

template <typename F, typename Visit>
void for_each_direction(World& world, Visit&& visit) {
  auto& map = world.shared().flows->map<F>();
  map.for_each([&](flow::SlotId, flow::Flow<F>& forward) {
    visit(forward);
    visit(map.at(forward.peer));
  });
}

void forget_ways(World& world) {
  const auto forget = [](auto& flow) { flow.way.store(0, std::memory_order_relaxed); };
  for_each_direction<flow::V4>(world, forget);
  for_each_direction<flow::V6>(world, forget);
}

template <typename Key>
Bytes as_bytes(const Key& key) {
  const auto* start = reinterpret_cast<const std::uint8_t*>(&key);
  return {start, start + sizeof key};
}

// What the flows have come to, by key: packets, bytes, state, translation.
std::map<Bytes, std::vector<std::uint64_t>> flows_of(World& world) {
  std::map<Bytes, std::vector<std::uint64_t>> all;
  const auto add = [&](auto& flow) {
    all[as_bytes(flow.key)] = {flow.packets.load(), flow.bytes.load(),
                               flow.seen.load(),    static_cast<std::uint64_t>(flow.state.load()),
                               flow.l3_delta,       flow.l4_delta};
  };
  for_each_direction<flow::V4>(world, add);
  for_each_direction<flow::V6>(world, add);
  return all;
}

// A tunnel's identification counts in order of sending, which need not be the same within a burst.
Bytes without_tunnel_id(Bytes frame) {
  const bool tunnel = frame.size() >= 34 && frame[12] == 8 && frame[13] == 0 && frame[23] == 4;
  if (tunnel) std::fill_n(frame.begin() + 18, 2, 0), std::fill_n(frame.begin() + 24, 2, 0);
  return frame;
}

// Protocol, addresses and ports; an ICMP error's type in their place. A later fragment may have
// waited for its first one, and is released when the burst is through: no order among other
// packets.
std::string flow_name(const Bytes& frame) {
  std::size_t ip = 14;
  if (frame[12] == 8 && frame[23] == 4) ip += 20;
  const bool v4 = frame[ip] >> 4U == 4;
  const std::size_t begin = ip + (v4 ? 12 : 8), end = ip + (v4 ? (frame[ip] & 0xfU) * 4U : 40U) + 4;
  const auto at = [&](std::size_t i) {
    return frame.begin() + static_cast<std::ptrdiff_t>(std::min(i, frame.size()));
  };
  const bool waited = v4 && ((frame[ip + 6] & 0x1fU) != 0 || frame[ip + 7] != 0);
  const std::string protocol = std::to_string(frame[ip + (v4 ? 9 : 6)]) + " ";
  return protocol + hex({at(begin), at(end)}) + (waited ? " later fragment" : "");
}

// Sorted by flow; within a flow as they left.
std::vector<std::pair<std::string, std::string>> take_sent(World& world, const std::string& name) {
  std::vector<std::pair<std::string, std::string>> out;
  auto& sent = world.port(name).sent;
  for (; !sent.empty(); sent.pop_front()) {
    const Bytes bytes = bytes_of(*sent.front());
    EXPECT_EQ(bytes.size(), sent.front()->pkt_len) << name;
    EXPECT_EQ(sent.front()->ol_flags & RTE_MBUF_F_TX_TCP_SEG, 0U);
    out.emplace_back(flow_name(bytes), hex(without_tunnel_id(bytes)));
    rte_pktmbuf_free(sent.front());
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  return out;
}

struct Arrival {
  In in;
  std::uint64_t receive_flags = 0;
};

class Twins {
 public:
  explicit Twins(std::uint32_t seed) : random_(seed) {
    for (World* world : {&fast_, &slow_}) {
      world->shared().start_cycles = start_;
      world->add_cluster_ip(kUdp, "10.96.0.1:53", {"10.244.1.3:5353"});
      world->add_cluster_ip(kUdp, "10.96.0.2:53", {"10.244.2.2:5353"});
      world->add_cluster_ip(kTcp, "10.96.0.2:80", {"10.244.2.2:8080"});
      world->add_cluster_ip(kUdp, "[fd00:96::1]:53", {"[fd00:244:2::2]:5353"});
      world->add_cluster_ip(kTcp, "[fd00:96::1]:80", {"[fd00:244:1::3]:8080"});
      world->publish();
    }
  }

  // Returns how many packets took the fast path.
  std::uint64_t converse(unsigned bursts) {
    for (unsigned n = 0; n < bursts && !::testing::Test::HasFailure(); ++n) {
      if (draw(40) == 0) change_tables();
      if (draw(10) == 0) now_ += second_;
      now_ += second_ / 10'000;
      burst();
    }
    EXPECT_EQ(flows_of(fast_), flows_of(slow_));
    EXPECT_EQ(slow_.worker().counters.fast_path.read(), 0U);
    return fast_.worker().counters.fast_path.read();
  }

 private:
  // The limit is reached at other moments when frames come one by one.
  static void room_for_fragments(DataplaneConfig& config) { config.fragment_datagrams = 1024; }
  unsigned draw(unsigned below) { return static_cast<unsigned>(random_() % below); }
  template <typename Change>
  void each(Change&& change) {
    change(fast_);
    change(slow_);
  }

  void change_tables() {
    const unsigned what = draw(4);
    const std::uint16_t mtu = draw(2) == 0 ? 1480 : 600;
    const bool synced = draw(4) != 0;
    each([&](World& world) {
      if (what == 0) ++world.next.policy_generation;
      if (what == 1) ++world.next.route_generation;
      if (what == 2) world.next.synced = synced;
      if (what == 3) {
        for (auto& hop : world.routes.next_hops) hop.mtu = std::min<std::uint16_t>(hop.mtu, mtu);
      }
      world.publish();
    });
  }

  Frame conversation() {
    const auto port = static_cast<std::uint16_t>(4000 + draw(4));
    const std::string flags = draw(8) == 0 ? "S" : draw(30) == 0 ? "FA" : draw(30) == 0 ? "R" : "A";
    switch (draw(12)) {
      case 0:
        return udp("10.244.1.2", port, "10.244.1.3", 53);
      case 1:
        return udp("10.244.1.2", port, "10.96.0.1", 53);
      case 2:
        return udp("10.244.1.3", 5353, "10.244.1.2", port);
      case 3:
        return udp("10.244.1.2", port, "10.96.0.2", 53);
      case 4:
        return udp("10.244.2.2", 5353, "10.244.1.2", port).through(kNode2V4, kNodeV4);
      case 5:
        return tcp("10.244.1.2", port, "10.96.0.2", 80, flags);
      case 6:
        return tcp("10.244.2.2", 8080, "10.244.1.2", port, flags == "S" ? "SA" : flags)
            .through(kNode2V4, kNodeV4);
      case 7:
        return udp("fd00:244:1::2", port, "fd00:96::1", 53);
      case 8:
        return udp("fd00:244:2::2", 5353, "fd00:244:1::2", port);
      case 9:
        return tcp("fd00:244:1::2", port, "fd00:96::1", 80, flags);
      case 10:
        return udp(kNodeV4, port, "10.244.1.2", 53);
      default:
        return udp("10.244.1.2", port, "203.0.113.9", 53);  // masqueraded
    }
  }
  static std::string port_of(const Frame& frame) {
    if (frame.tunnel) return "uplink";
    const std::string source = frame.source.to_string();
    if (source == kNodeV4) return "host";
    if (source.ends_with(":1::3") || source == "10.244.1.3") return "b";
    return source.ends_with("2::2") ? "uplink" : "a";
  }

  // A frame as it should be, mostly; else with something about it that the stages have a rule for.
  Arrival arrival() {
    Frame frame = conversation();
    frame = frame.with_id(static_cast<std::uint16_t>(draw(65536)));
    frame = frame.with_payload(draw(20) == 0 ? 700 + draw(900) : draw(64));
    if (draw(20) == 0) frame = frame.with_ttl(static_cast<std::uint8_t>(draw(3)));
    if (draw(10) == 0) frame = frame.with_dont_fragment();
    if (draw(10) == 0) frame.tos = static_cast<std::uint8_t>(draw(256));
    if (draw(10) == 0 && frame.protocol == kUdp) frame = frame.without_udp_checksum();
    if (draw(40) == 0) frame.ip_options = {1, 1, 1, 1};
    if (draw(40) == 0) frame = frame.with_partial_checksum();
    if (draw(40) == 0) frame.more_fragments = true;
    if (frame.more_fragments) frame.offset = 0;
    if (draw(30) == 0 && frame.tunnel) frame.tunnel->source = *net::Address::parse("192.0.2.77");
    if (draw(30) == 0 && frame.tunnel)
      frame.tunnel->destination = *net::Address::parse("192.0.2.9");
    Arrival a{.in = {.port = draw(40) == 0 ? kPorts[draw(5)] : port_of(frame), .frame = frame}};
    if (draw(4) == 0) damage(a);
    if (draw(10) == 0) a.in.first_segment = 14 + draw(80);
    if (draw(10) == 0) a.receive_flags = RTE_MBUF_F_RX_IP_CKSUM_GOOD;
    return a;
  }
  void damage(Arrival& a) {
    Bytes bytes = frame_bytes(fast_.addressed_in(a.in.port, a.in.frame));
    switch (draw(4)) {
      case 0:  // the link's padding, or what a tunnel's inner packet does not claim
        bytes.resize(bytes.size() + draw(30));
        break;
      case 1:
        bytes.resize(bytes.size() - draw(30));
        break;
      case 2:
        bytes[draw(static_cast<unsigned>(bytes.size()))] ^=
            static_cast<std::uint8_t>(1 + draw(255));
        break;
      default: {  // a header's byte, the header's checksum put right
        if (bytes[12] != 8) break;
        const std::size_t at = 14 + draw(20) + (a.in.frame.tunnel && draw(2) == 0 ? 20 : 0);
        bytes[at] ^= static_cast<std::uint8_t>(1U << draw(8));
        for (const std::size_t ip : {std::size_t{14}, std::size_t{34}}) {
          if (ip == 34 && !a.in.frame.tunnel) break;
          bytes[ip + 10] = bytes[ip + 11] = 0;
          const auto sum = static_cast<std::uint16_t>(~slow_sum(bytes.data() + ip, 20));
          bytes[ip + 10] = static_cast<std::uint8_t>(sum >> 8U);
          bytes[ip + 11] = static_cast<std::uint8_t>(sum);
        }
      }
    }
    a.in.bytes = std::move(bytes);
  }

  void burst() {
    std::vector<Arrival> arrivals(1 + draw(draw(3) == 0 ? 40 : 3));
    for (Arrival& a : arrivals) a = arrival();
    Burst burst;
    for (const Arrival& a : arrivals) {
      receive(fast_, a, burst, false);
      Burst alone;
      receive(slow_, a, alone, true);
      forget_ways(slow_);
      process(slow_, alone);
    }
    process(fast_, burst);
    for (const char* name : kPorts) compare(name);
    const auto& fast = fast_.worker().counters;
    const auto& slow = slow_.worker().counters;
    for (std::size_t reason = 0; reason < kReasons; ++reason) {
      EXPECT_EQ(fast.drops[reason].read(), slow.drops[reason].read()) << kReasonNames[reason];
    }
    EXPECT_EQ(fast.tunnel_in.read(), slow.tunnel_in.read());
    EXPECT_EQ(fast.tunnel_out.read(), slow.tunnel_out.read());
    EXPECT_EQ(fast.sent.read(), slow.sent.read());
    if (::testing::Test::HasFailure()) tell(arrivals);
  }

  static void receive(World& world, const Arrival& a, Burst& burst, bool in_two) {
    rte_mbuf* mbuf = world.make_buffer(a.in);
    if (in_two) {
      rte_mbuf* empty = rte_pktmbuf_alloc(world.shared().packet_pool);
      ASSERT_EQ(rte_pktmbuf_chain(mbuf, empty), 0);
    }
    mbuf->ol_flags |= a.receive_flags;
    burst.append(mbuf, world.port_id(a.in.port));
  }
  void process(World& world, Burst& burst) const {
    world.worker().process(burst, now_);
    world.shared().quiescence.report(0);
  }

  // A burst's new flows may leave after its known ones, and ICMP errors after all.
  void compare(const std::string& name) {
    const auto fast = take_sent(fast_, name), slow = take_sent(slow_, name);
    for (std::size_t i = 0; i < std::max(fast.size(), slow.size()); ++i) {
      ASSERT_LT(i, fast.size()) << "not out of " << name << ": " << slow[i].second;
      ASSERT_LT(i, slow.size()) << "too much out of " << name << ": " << fast[i].second;
      ASSERT_EQ(fast[i].second, slow[i].second) << "out of " << name;
    }
    const auto& fast_port = fast_.worker().counters.ports[fast_.port_id(name)];
    const auto& slow_port = slow_.worker().counters.ports[slow_.port_id(name)];
    EXPECT_EQ(fast_port.rx_bytes.read(), slow_port.rx_bytes.read()) << name;
    EXPECT_EQ(fast_port.rx_drops.read(), slow_port.rx_drops.read()) << name;
    EXPECT_EQ(fast_port.tx_packets.read(), slow_port.tx_packets.read()) << name;
    EXPECT_EQ(fast_port.tx_bytes.read(), slow_port.tx_bytes.read()) << name;
  }
  void tell(const std::vector<Arrival>& arrivals) {
    std::string text;
    for (const Arrival& a : arrivals) {
      const Bytes bytes =
          a.in.bytes ? *a.in.bytes : frame_bytes(fast_.addressed_in(a.in.port, a.in.frame));
      text += a.in.port + ", first segment " + std::to_string(a.in.first_segment) + ":\n" +
              hex(bytes) + "\n";
    }
    ADD_FAILURE() << text;
  }

  std::mt19937 random_;
  World fast_{1, room_for_fragments}, slow_{1, room_for_fragments};
  // One clock for both, which does not run by itself.
  const std::uint64_t start_ = rte_rdtsc(), second_ = rte_get_tsc_hz();
  std::uint64_t now_ = start_ + 1;
};

// PODWIRE_TWIN_SEEDS in the environment asks for more.
std::uint32_t seeds() {
  const char* wanted = std::getenv("PODWIRE_TWIN_SEEDS");
  return wanted == nullptr ? 20 : static_cast<std::uint32_t>(std::stoul(wanted));
}

PACKET_CASE(FastPathDoesAsTheStagesDo) {
  constexpr unsigned kBursts = 400;
  std::uint64_t fast = 0;
  for (std::uint32_t seed = 1; seed <= seeds() && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    fast += Twins(seed).converse(kBursts);
  }
  EXPECT_GT(fast, seeds() * kBursts / 2);
}

// Every delta that a flow can have, at the checksums where a borrow comes and goes.
PACKET_CASE(FastPathSubtractsWhatTheStagesAdd) {
  for (std::uint32_t delta = 0; delta < 0xffff; ++delta) {
    for (const std::uint16_t sum : {0, 1, 2, 3, 0x1234, 0xfffd, 0xfffe, 0xffff}) {
      const auto field = net::be16::from_raw(sum);
      const auto low = [](std::uint32_t value) { return static_cast<std::uint16_t>(value); };
      ASSERT_EQ(low(stages::updated(sum, delta)), net::updated_checksum(field, delta).raw());
      if (sum != 0) {
        ASSERT_EQ(low(stages::updated_udp(sum, delta)),
                  net::updated_udp_checksum(field, delta).raw());
      }
      for (const unsigned hop_less : {0U, 1U}) {
        std::array<std::uint8_t, 28> packet{};
        auto& ip = *reinterpret_cast<net::Ipv4*>(packet.data());
        ip.ttl = 2;
        ip.checksum = field;
        const flow::Flow<flow::V4> flow{.key = {}, .rewrite = {}, .l3_delta = low(delta)};
        stages::Wire<flow::V4>::translate(packet.data(), flow, hop_less);
        // A hop less takes one from the word (TTL, protocol): its complement's sum is 0xfffe.
        const std::uint32_t whole = delta + (hop_less == 1 ? 0xfffeU : 0U);
        ASSERT_EQ(ip.checksum, net::updated_checksum(field, whole)) << sum << " " << delta;
        ASSERT_EQ(ip.ttl, 2 - hop_less);
      }
    }
  }
}

// The order inside a flow, whatever is odd about one of its packets.
PACKET_CASE(FastPathKeepsTheOrderOfAFlow) {
  World world;
  const Frame known = udp("10.244.1.2", 4000, "10.244.1.3", 53);
  RUN(world, {.in = {{"a", known}},
              .out = {{"b", known.one_hop_less()}},
              .counters = {{"flows_created", 1}}});
  Frame odd = known.with_payload(3);
  odd.ip_options = {1, 1, 1, 1};
  const Frame fresh = udp("10.244.1.2", 4001, "10.244.1.3", 53);
  const Frame behind = known.with_payload(5);
  RUN(world, {.in = {{"a", fresh}, {"a", known}, {"a", odd}, {"a", behind}, {"a", fresh}},
              .out = {{"b", known.one_hop_less()},
                      {"b", fresh.one_hop_less()},
                      {"b", odd.one_hop_less()},
                      {"b", behind.one_hop_less()},
                      {"b", fresh.one_hop_less()}},
              .counters = {{"flows_created", 1}}});
}

// A flow's address is no pass for whoever else sends from it.
PACKET_CASE(FastPathAsksWhereAPacketComesFrom) {
  World world;
  const Frame known = udp("10.244.1.2", 4000, "10.244.1.3", 53);
  RUN(world, {.in = {{"a", known}},
              .out = {{"b", known.one_hop_less()}},
              .counters = {{"flows_created", 1}}});
  RUN(world, {.in = {{"a", known}}, .out = {{"b", known.one_hop_less()}}});
  RUN(world, {.in = {{"c", known}}, .out = {}, .counters = {{"drop.spoofed_ip", 1}}});
  RUN(world, {.in = {{"uplink", known}}, .out = {}, .counters = {{"drop.bad_address", 1}}});
  RUN(world, {.in = {{"uplink", known.through(kNode2V4, kNodeV4)}},
              .out = {},
              .counters = {{"tunnel_in", 1}, {"drop.tunnel_bad_inner", 1}}});
}

// The first packet of a direction, and the first after routes have changed, asks what there is to
// ask and goes on at once; after a change of policy the flow is judged again first.
PACKET_CASE(FastPathLearnsItsWays) {
  World world;
  const Frame out = udp("10.244.1.2", 4000, "10.244.1.3", 53);
  const Frame back = udp("10.244.1.3", 53, "10.244.1.2", 4000);
  const auto& fast = world.worker().counters.fast_path;
  const auto both_go_fast = [&] {
    const auto before = fast.read();
    RUN(world, {.in = {{"b", back}}, .out = {{"a", back.one_hop_less()}}});
    RUN(world, {.in = {{"a", out}}, .out = {{"b", out.one_hop_less()}}});
    EXPECT_EQ(fast.read() - before, 2U);
  };
  RUN(world,
      {.in = {{"a", out}}, .out = {{"b", out.one_hop_less()}}, .counters = {{"flows_created", 1}}});
  both_go_fast();
  flow::Flow<flow::V4>* flow = nullptr;
  world.shared().flows->v4.for_each([&](flow::SlotId, flow::Flow<flow::V4>& f) { flow = &f; });
  ASSERT_NE(flow, nullptr);
  EXPECT_EQ(flow->state.load(), flow::State::replied);
  ++world.next.route_generation;
  world.publish();
  both_go_fast();
  ++world.next.policy_generation;
  world.publish();
  RUN(world, {.in = {{"b", back}},
              .out = {{"a", back.one_hop_less()}},
              .counters = {{"policy_rejudged", 1}}});
  RUN(world, {.in = {{"a", out}},
              .out = {{"b", out.one_hop_less()}},
              .counters = {{"policy_rejudged", 1}}});
  both_go_fast();
}

// What one worker did with frames of many flows from outside, and what it left to the other.
struct Shares {
  std::size_t sent_by_first, sent_by_second;
};
Shares share(World& world, const std::vector<Frame>& frames) {
  Burst burst;
  for (const Frame& frame : frames) {
    burst.append(world.make_buffer({"uplink", frame}), world.port_id("uplink"));
  }
  const auto send = [&](unsigned worker) {
    world.worker(worker).process(burst);
    world.shared().quiescence.report(worker);
    return take_sent(world, "a").size();
  };
  const std::size_t first = send(0);
  EXPECT_EQ(world.shared().handoff->take(1, burst), frames.size() - first);
  return {first, send(1)};
}

PACKET_CASE(FastPathHandsFramesToTheWorkerOfTheirFlow) {
  World world(2, [](DataplaneConfig& config) { config.spread_flows = true; });
  std::vector<Frame> frames;
  for (std::uint16_t port = 4000; port < 4020; ++port) {
    frames.push_back(udp("10.244.2.2", port, "10.244.1.2", 53).through(kNode2V4, kNodeV4));
    frames.push_back(udp("fd00:244:2::2", port, "fd00:244:1::2", 53));  // the queue is the only one
  }
  const Shares opening = share(world, frames), known = share(world, frames);
  EXPECT_EQ(opening.sent_by_first + opening.sent_by_second, frames.size());
  EXPECT_GT(opening.sent_by_first, 0U);
  EXPECT_GT(opening.sent_by_second, 0U);
  EXPECT_EQ(known.sent_by_first, opening.sent_by_first) << "a flow changed its worker";
  const auto& first = world.worker(0).counters;
  const auto& second = world.worker(1).counters;
  EXPECT_EQ(first.handed_over.read(), 2 * known.sent_by_second);
  EXPECT_EQ(first.received.read(), 2 * known.sent_by_first);
  EXPECT_EQ(second.received.read(), 2 * known.sent_by_second);
  EXPECT_EQ(first.ports[world.port_id("uplink")].rx_packets.read(), 2 * frames.size());
  EXPECT_EQ(second.ports[world.port_id("uplink")].rx_packets.read(), 0U);
  EXPECT_EQ(second.fast_path.read(), known.sent_by_second);
}

// Nobody waits and nothing is lost when the other worker does not come round.
PACKET_CASE(FastPathCarriesWhatAFullRingDoesNotTake) {
  World world(2, [](DataplaneConfig& config) { config.spread_flows = true; });
  std::vector<Frame> frames;
  for (std::uint16_t port = 4000; port < 4040; ++port) {
    frames.push_back(udp("10.244.2.2", port, "10.244.1.2", 53).through(kNode2V4, kNodeV4));
  }
  constexpr unsigned kBursts = 30;
  std::size_t sent = 0;
  for (unsigned n = 0; n < kBursts; ++n) {
    Burst burst;
    for (const Frame& frame : frames) {
      burst.append(world.make_buffer({"uplink", frame}), world.port_id("uplink"));
    }
    world.worker(0).process(burst);
    sent += take_sent(world, "a").size();
  }
  Burst waiting;
  while (world.shared().handoff->take(1, waiting) > 0) {
    world.worker(1).process(waiting);
    sent += take_sent(world, "a").size();
  }
  EXPECT_EQ(sent, kBursts * frames.size());
  EXPECT_EQ(world.worker(0).counters.handed_over.read(), 256U) << "the ring's size";
}

}  // namespace
}  // namespace podwire::test
