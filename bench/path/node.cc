#include "bench/path/node.h"

#include <rte_mempool.h>

#include "bench/lib/record.h"

namespace podwire::bench {
namespace {

using test::Bytes;
constexpr const char* kPorts[] = {"uplink", "host", "a", "b", "c"};

Frames frames_of(test::World& world, const std::function<test::In(std::uint32_t)>& packet,
                 std::uint32_t flows) {
  return {[&](std::uint32_t i) {
            const auto in = packet(i);
            return frame_bytes(world.addressed_in(in.port, in.frame));
          },
          flows};
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

Node::Node(const test::FlowCase& c, std::uint32_t flows)
    : case_(c),
      flows_(flows),
      world_(1,
             [flows](DataplaneConfig& config) {
               config.flows_v4 = config.flows_v6 = std::max(flows, 4096U);
             }),
      in_port_(world_.port_id(c.packet(0).port)),
      frames_((c.set_up(world_), frames_of(world_, c.packet, flows))) {
  for (PortId id = 0; id < sinks_.size(); ++id) {
    auto& port = world_.ports.ports[world_.port_id(kPorts[id])].port;
    sinks_[id] = std::make_shared<Sink>(port->kind());
    port = sinks_[id];
  }
  world_.publish();
  leaves_ = sinks_[world_.port_id(c.leaves(0).port)].get();
  if (rte_pktmbuf_alloc_bulk(world_.shared().packet_pool, buffers_.data(), kWindow) != 0) {
    stop("path", "no packet buffers left");
  }
  establish();
  check_packets();
}

Node::~Node() {
  rte_pktmbuf_free_bulk(buffers_.data(), kWindow);
}

void Node::load(const Frames& frames, const std::uint32_t* flows, unsigned count) {
  for (unsigned i = 0; i < count; ++i) {
    rte_pktmbuf_reset(buffers_[i]);
    frames.write(flows[i], reinterpret_cast<std::uint8_t*>(rte_pktmbuf_append(
                               buffers_[i], static_cast<std::uint16_t>(frames.size()))));
  }
}

void Node::pass(PortId port, unsigned count) {
  Worker& worker = world_.worker();
  Burst batch;
  for (unsigned first = 0; first < count; first += kBurst) {
    const unsigned end = std::min(count, first + kBurst);
    for (unsigned i = first; i < end; ++i) batch.append(buffers_[i], port);
    worker.process(batch);
    world_.shared().quiescence.report(0);
  }
}

// The buffers that went in have come out: podwire neither keeps nor replaces them here.
void Node::take_back() {
  for (auto& sink : sinks_) sink->clear();
}

void Node::establish() {
  Worker& worker = world_.worker();
  const auto created = worker.counters.flows_created.read();
  std::vector<std::function<test::In(std::uint32_t)>> steps{case_.opens};
  steps.insert(steps.end(), case_.then.begin(), case_.then.end());
  std::vector<Frames> frames;
  for (const auto& step : steps) frames.push_back(frames_of(world_, step, flows_));
  for (std::uint32_t first = 0; first < flows_; first += kBurst) {
    std::array<std::uint32_t, kBurst> flows;
    const unsigned count = std::min(kBurst, flows_ - first);
    for (unsigned i = 0; i < count; ++i) flows[i] = first + i;
    for (std::size_t s = 0; s < steps.size(); ++s) {
      load(frames[s], flows.data(), count);
      pass(world_.port_id(steps[s](first).port), count);
      unsigned came = 0;
      for (const auto& sink : sinks_) came += static_cast<unsigned>(sink->frames().size());
      if (came != count) stop("path", std::string(case_.name) + ": flows are lost at their start");
      take_back();
    }
  }
  if (const auto exist = worker.counters.flows_created.read() - created; exist != flows_) {
    stop("path", std::string(case_.name) + ": " + std::to_string(flows_) + " flows were begun, " +
                     std::to_string(exist) + " exist");
  }
}

std::string Node::compare(std::uint32_t flow, const Frames& expected, rte_mbuf& actual) {
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

void Node::check_packets() {
  const Frames expected(
      [&](std::uint32_t i) {
        const auto out = case_.leaves(i);
        return frame_bytes(world_.addressed_out(out.port, out.frame));
      },
      flows_);
  for (std::uint32_t first = 0; first < flows_; first += kBurst) {
    std::array<std::uint32_t, kBurst> flows;
    const unsigned count = std::min(kBurst, flows_ - first);
    for (unsigned i = 0; i < count; ++i) flows[i] = first + i;
    load(frames_, flows.data(), count);
    pass(in_port_, count);
    const auto came = leaves_->frames();
    if (came.size() != count) stop("path", std::string(case_.name) + ": packets are lost");
    for (unsigned i = 0; i < count; ++i) {
      if (const auto wrong = compare(flows[i], expected, *came[i]); !wrong.empty()) {
        stop("path", wrong);
      }
    }
    take_back();
  }
}

void Node::load_window(std::span<const std::uint32_t> sequence) {
  if (loaded_ && leaves_->frames().size() != kWindow) {
    stop("path", std::string(case_.name) + ": packets were lost while measuring");
  }
  take_back();
  if (next_ + kWindow > sequence.size()) next_ = 0;
  load(frames_, &sequence[next_], kWindow);
  next_ += kWindow;
  loaded_ = true;
}

Subject Node::subject(std::span<const std::uint32_t> sequence) {
  return {[this, sequence] { load_window(sequence); },
          [this] {
            pass(in_port_, kWindow);
            return std::uint64_t{kWindow};
          }};
}

}  // namespace podwire::bench
