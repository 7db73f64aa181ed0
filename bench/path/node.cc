#include "bench/path/node.h"

#include <rte_mempool.h>

#include "bench/lib/record.h"

namespace podwire::bench {
namespace {

constexpr const char* kPorts[] = {"uplink", "host", "a", "b", "c"};

Frames frames_of(test::World& world, const std::function<test::In(std::uint32_t)>& packet,
                 std::uint32_t flows) {
  return {[&](std::uint32_t i) {
            const auto in = packet(i);
            return frame_bytes(world.addressed_in(in.port, in.frame));
          },
          flows};
}

void write_frames(const Frames& frames, const std::uint32_t* flows,
                  std::span<rte_mbuf* const> buffers) {
  for (rte_mbuf* buffer : buffers) {
    rte_pktmbuf_reset(buffer);
    auto* to = rte_pktmbuf_append(buffer, static_cast<std::uint16_t>(frames.size()));
    frames.write(*flows++, reinterpret_cast<std::uint8_t*>(to));
  }
}

// f(first flow, the flows' numbers, how many) for all flows, a burst at a time.
template <typename F>
void for_each_burst(std::uint32_t flows, F&& f) {
  std::array<std::uint32_t, kBurst> numbers;
  for (std::uint32_t first = 0; first < flows; first += kBurst) {
    const unsigned count = std::min(kBurst, flows - first);
    for (unsigned i = 0; i < count; ++i) numbers[i] = first + i;
    f(first, numbers.data(), count);
  }
}

}  // namespace

void make_packet_pool() {
  constexpr unsigned kBuffers = 4095;
  static Heap heap("packets", 32U << 20U);
  // By this name the World finds it.
  if (rte_pktmbuf_pool_create("packets", kBuffers, 0, 0, 2048 + RTE_PKTMBUF_HEADROOM,
                              heap.socket()) == nullptr) {
    stop("path", "no memory for packet buffers");
  }
}

Node::Node(const test::FlowCase& c, std::uint32_t flows, unsigned workers)
    : flows_(flows), world_(workers, [flows](DataplaneConfig& config) {
        config.flows_v4 = config.flows_v6 = std::max(flows, 4096U);
      }) {
  c.set_up(world_);
  for (PortId id = 0; id < sinks_.size(); ++id) {
    auto& port = world_.ports.ports[world_.port_id(kPorts[id])].port;
    sinks_[id] = std::make_shared<Sink>(port->kind());
    port = sinks_[id];
  }
  world_.publish();
  establish(c);
}

void Node::pass(unsigned worker, PortId port, std::span<rte_mbuf* const> buffers) {
  Worker& w = world_.worker(worker);
  Burst burst;
  for (std::size_t first = 0; first < buffers.size(); first += kBurst) {
    const auto frames =
        buffers.subspan(first, std::min<std::size_t>(kBurst, buffers.size() - first));
    std::copy(frames.begin(), frames.end(), burst.room().begin());
    burst.received(static_cast<unsigned>(frames.size()), port);
    w.process(burst);
    world_.shared().quiescence.report(worker);
  }
}

void Node::establish(const test::FlowCase& c) {
  const auto& created = world_.worker().counters.flows_created;
  const auto before = created.read();
  std::array<rte_mbuf*, kBurst> buffers;
  if (rte_pktmbuf_alloc_bulk(world_.shared().packet_pool, buffers.data(), kBurst) != 0) {
    stop("path", "no packet buffers left");
  }
  std::vector<std::function<test::In(std::uint32_t)>> steps{c.opens};
  steps.insert(steps.end(), c.then.begin(), c.then.end());
  std::vector<Frames> frames;
  for (const auto& step : steps) frames.push_back(frames_of(world_, step, flows_));
  for_each_burst(flows_, [&](std::uint32_t first, const std::uint32_t* numbers, unsigned count) {
    for (std::size_t s = 0; s < steps.size(); ++s) {
      write_frames(frames[s], numbers, {buffers.data(), count});
      pass(0, world_.port_id(steps[s](first).port), {buffers.data(), count});
      std::size_t came = 0;
      for (auto& sink : sinks_) came += sink->take();
      if (came != count) stop("path", std::string(c.name) + ": flows are lost at their start");
    }
  });
  rte_pktmbuf_free_bulk(buffers.data(), kBurst);
  if (created.read() - before != flows_) {
    stop("path", std::string(c.name) + ": " + std::to_string(flows_) + " flows were begun, " +
                     std::to_string(created.read() - before) + " exist");
  }
}

Lane::Lane(Node& node, const test::FlowCase& c, unsigned worker)
    : node_(node),
      case_(c),
      worker_(worker),
      in_port_(node.world().port_id(c.packet(0).port)),
      leaves_(node.sink(c.leaves(0).port)),
      frames_(frames_of(node.world(), c.packet, node.flows())) {
  const auto count = static_cast<unsigned>(buffers_.size());
  if (rte_pktmbuf_alloc_bulk(node.world().shared().packet_pool, buffers_.data(), count) != 0) {
    stop("path", "no packet buffers left");
  }
  check_packets();
}

Lane::~Lane() {
  rte_pktmbuf_free_bulk(buffers_.data(), static_cast<unsigned>(buffers_.size()));
}

std::string Lane::compare(std::uint32_t flow, const Frames& expected,
                          const rte_mbuf& actual) const {
  std::array<std::uint8_t, 256> wanted;
  expected.write(flow, wanted.data());
  const auto* came = rte_pktmbuf_mtod(&actual, const std::uint8_t*);
  const bool fits = actual.pkt_len == expected.size() && actual.nb_segs == 1;
  if (fits && case_.leaves(0).frame.tunnel) {  // the outer identification is podwire's to choose
    mend_checksum(&wanted[24], 0, static_cast<std::uint16_t>(came[18] << 8U | came[19]));
    wanted[18] = came[18];
    wanted[19] = came[19];
  }
  if (fits && std::equal(came, came + expected.size(), wanted.data())) return {};
  return std::string(case_.name) + ": flow " + std::to_string(flow) + " leaves wrongly:\n" +
         test::hex(test::bytes_of(actual)) + "\nexpected\n" +
         test::hex({wanted.data(), wanted.data() + expected.size()});
}

void Lane::check_packets() {
  const Frames expected(
      [&](std::uint32_t i) {
        const auto out = case_.leaves(i);
        return frame_bytes(node_.world().addressed_out(out.port, out.frame));
      },
      node_.flows());
  const auto check = [&](std::uint32_t, const std::uint32_t* numbers, unsigned count) {
    write_frames(frames_, numbers, {buffers_.data(), count});
    node_.pass(worker_, in_port_, {buffers_.data(), count});
    const auto came = leaves_.frames();
    if (came.size() != count) stop("path", std::string(case_.name) + ": packets are lost");
    for (unsigned i = 0; i < count; ++i) {
      const auto wrong = compare(numbers[i], expected, *came[i]);
      if (!wrong.empty()) stop("path", wrong);
    }
    (void)leaves_.take();
  };
  for_each_burst(node_.flows(), check);
}

void Lane::load(std::span<const std::uint32_t> sequence, unsigned count) {
  if (!leaves_.settle()) {
    stop("path", std::string(case_.name) + ": packets were lost while measuring");
  }
  if (next_ + count > sequence.size()) next_ = 0;
  write_frames(frames_, &sequence[next_], {buffers_.data(), count});
  next_ += count;
  loaded_ = count;
  passed_ = 0;
}

void Lane::pass(unsigned count) {
  node_.pass(worker_, in_port_, {&buffers_[passed_], count});
  passed_ += count;
  leaves_.expect(count);
}

Subject Lane::subject(std::span<const std::uint32_t> sequence) {
  return {[this, sequence] { load(sequence); },
          [this] {
            pass(kWindow);
            return std::uint64_t{kWindow};
          }};
}

}  // namespace podwire::bench
