// The whole pipeline under hostile frames on every port: nothing crashes, the ledger closes after
// each burst, what reaches a pod is whole, and every buffer comes back.
#include <rte_mempool.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>

#include "tests/fuzz/conversation.h"
#include "tests/lib/world.h"

namespace podwire::test {
namespace {

constexpr std::array kPorts = {"uplink", "host", "a", "b", "c"};
constexpr std::uint8_t kTcp = 6, kUdp = 17, kSctp = 132;

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "fuzz: %s\n", what);
  std::abort();
}
void require(bool good, const char* what) {
  if (!good) fail(what);
}

// The Services that the packet cases talk to.
void add_services(World& world) {
  for (const bool v4 : {true, false}) {
    const auto at = [&](const char* four, const char* six) { return std::string(v4 ? four : six); };
    const std::string b = at("10.244.1.3:", "[fd00:244:1::3]:");
    const std::string remote = at("10.244.2.2:", "[fd00:244:2::2]:");
    const std::string vip = at("10.96.0.1:", "[fd00:96::1]:");
    world.add_cluster_ip(kUdp, vip + "53", {b + "5353"});
    world.add_cluster_ip(kTcp, vip + "80", {b + "8080", remote + "8080"});
    world.add_cluster_ip(kSctp, vip + "7", {b + "7007"});
    world.add_cluster_ip(kTcp, at("10.96.0.2:80", "[fd00:96::2]:80"), {});
    const auto sticky = world.add_service(kUdp, {b + "5353", remote + "5353"}, {});
    sticky->affinity_seconds = 10;
    world.add_frontend(sticky, tables::FrontendKind::node_port, at(":30080", "[]:30080"));
  }
}

void small(DataplaneConfig& config) {
  config.flows_v4 = config.flows_v6 = 64;
  config.affinity_entries = 16;
  config.fragment_datagrams = 4;
}

void mend(Bytes& bytes, World& world, const Event& event) {
  if ((event.flags & Event::kMendEthernet) != 0 && bytes.size() >= 12) {
    Frame addresses = world.addressed_in(kPorts[(event.port & 0x7fU) % kPorts.size()], Frame{});
    std::copy_n(addresses.destination_mac.bytes.begin(), 6, bytes.begin());
    std::copy_n(addresses.source_mac.bytes.begin(), 6, bytes.begin() + 6);
  }
  if ((event.flags & Event::kMendIpv4) == 0) return;
  for (std::size_t at = 14; bytes.size() >= at + 20 && bytes[at] >> 4U == 4;) {
    const std::size_t header = (bytes[at] & 0xfU) * 4U;
    if (header < 20 || bytes.size() < at + header) return;
    bytes[at + 10] = bytes[at + 11] = 0;
    const std::uint16_t sum = slow_sum(bytes.data() + at, header);
    bytes[at + 10] = static_cast<std::uint8_t>(~sum >> 8U);
    bytes[at + 11] = static_cast<std::uint8_t>(~sum);
    if (bytes[at + 9] != 4) return;
    at += header;  // the inner packet of a tunnel
  }
}

In frame_in(World& world, const Event& event) {
  In in{.port = kPorts[(event.port & 0x7fU) % kPorts.size()], .bytes = event.bytes};
  mend(*in.bytes, world, event);
  constexpr std::size_t kRoom = 2048;  // of the first buffer
  in.first_segment = std::min<std::size_t>(event.first_segment, kRoom);
  if (in.first_segment == 0) in.first_segment = std::min(in.bytes->size(), kRoom);
  if ((event.flags & Event::kTcpSum) != 0) {
    in.offloads = RTE_MBUF_F_TX_TCP_CKSUM;
  } else if ((event.flags & Event::kUdpSum) != 0) {
    in.offloads = RTE_MBUF_F_TX_UDP_CKSUM;
  } else if ((event.flags & Event::kSctpSum) != 0) {
    in.offloads = RTE_MBUF_F_TX_SCTP_CKSUM;
  }
  if ((event.flags & Event::kUnsegmented) != 0) {
    in.offloads |= RTE_MBUF_F_TX_TCP_SEG;
    in.segment_size = event.segment_size;
  }
  return in;
}

void check_ledger(const Worker& w) {
  const auto& c = w.counters;
  std::uint64_t out = c.sent.read() + c.holding.read();
  for (const auto& drop : c.drops) out += drop.read();
  require(c.received.read() + c.originated.read() == out, "the ledger does not close");
  require(c.drops[static_cast<std::size_t>(Reason::internal)].read() == 0, "dropped as internal");
}

// A frame to a pod begins with our address and holds one whole IP packet, or an ARP answer.
void check_pod_frame(const Bytes& frame, const net::Mac& pod) {
  require(frame.size() >= 34, "short frame to a pod");
  require(std::equal(pod.bytes.begin(), pod.bytes.end(), frame.begin()), "another's frame");
  const unsigned type = static_cast<unsigned>(frame[12] << 8U | frame[13]);
  const std::size_t size = frame.size() - 14;
  const std::uint8_t* ip = frame.data() + 14;
  if (type == 0x0806) return;
  if (type == 0x86dd) {
    require(ip[0] >> 4U == 6, "version of IPv6");
    require(static_cast<std::size_t>(ip[4] << 8U | ip[5]) + 40 == size, "length of IPv6");
    return;
  }
  require(type == 0x0800 && ip[0] >> 4U == 4, "type of frame");
  require(static_cast<std::size_t>(ip[2] << 8U | ip[3]) == size, "length of IPv4");
  require(slow_sum(ip, (ip[0] & 0xfU) * 4U) == 0xffff, "checksum of IPv4");
}

void check_sent(World& world) {
  for (const char* name : kPorts) {
    auto& sent = world.port(name).sent;
    for (; !sent.empty(); sent.pop_front()) {
      rte_mbuf* mbuf = sent.front();
      const char* why = nullptr;
      require(rte_mbuf_check(mbuf, 1, &why) == 0, "a broken buffer leaves");
      const Bytes bytes = bytes_of(*mbuf);
      require(bytes.size() == mbuf->pkt_len, "segments do not add up");
      const auto& port = world.ports.ports[world.port_id(name)];
      if (port.role == tables::PortRole::pod) check_pod_frame(bytes, port.mac);
      rte_pktmbuf_free(mbuf);
    }
  }
}

void run(World& world, Burst& batch) {
  world.worker().process(batch);
  batch.clear();
  world.shared().quiescence.report(0);
  check_ledger(world.worker());
  check_sent(world);
}

void set_neighbour(World& world, bool known) {
  const auto kind = known ? tables::NextHopKind::link : tables::NextHopKind::unresolved;
  for (const char* prefix : {"0.0.0.0/0", "::/0"}) {
    world.routes.next_hops[*world.routes.prefixes.exact(*net::Prefix::parse(prefix))].kind = kind;
  }
  ++world.next.policy_generation;  // and every flow is judged again
  world.publish();
}

unsigned buffers(World& world) {
  return rte_mempool_in_use_count(world.shared().packet_pool) +
         rte_mempool_in_use_count(world.shared().large_pool);
}

void converse(std::span<const std::uint8_t> input) {
  World world(1, small);
  add_services(world);
  world.publish();
  const unsigned before = buffers(world);
  Burst batch;
  while (const auto event = read_event(input)) {
    switch (event->kind) {
      case Event::Kind::frame: {
        const In in = frame_in(world, *event);
        batch.append(world.make_buffer(in), world.port_id(in.port));
        if (batch.full() || (event->port & Event::kSameBurst) == 0) run(world, batch);
        break;
      }
      case Event::Kind::pass_seconds:
        world.advance(event->value);
        run(world, batch);
        break;
      case Event::Kind::neighbour:
        set_neighbour(world, (event->value & 1U) != 0);
        run(world, batch);
        break;
    }
  }
  run(world, batch);
  for (int i = 0; i < 2; ++i) {  // an error about what was held may wait itself
    world.advance(60);
    run(world, batch);
  }
  require(world.worker().counters.holding.read() == 0, "held for more than two minutes");
  require(buffers(world) == before, "buffers are lost");
}

}  // namespace
}  // namespace podwire::test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  podwire::test::converse({data, size});
  return 0;
}
