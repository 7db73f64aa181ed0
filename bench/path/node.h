// The node of tests/lib/world with ports that cost nothing, and a case's flows established on it.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "bench/lib/alternate.h"
#include "bench/lib/memory.h"
#include "bench/path/frames.h"
#include "bench/path/sink.h"
#include "tests/packet/flow_cases.h"

namespace podwire::bench {

inline constexpr unsigned kBurst = 64, kWindow = 4 * kBurst;

class Node {
 public:
  // Establishes the flows. Ends the program with a sentence when one is lost.
  Node(const test::FlowCase& c, std::uint32_t flows, unsigned workers = 1);

  // Buffers through the pipeline in bursts, as the worker's loop does. The place where the bench
  // meets the product.
  void pass(unsigned worker, PortId port, std::span<rte_mbuf* const> buffers);

  [[nodiscard]] test::World& world() { return world_; }
  [[nodiscard]] Sink& sink(const std::string& port) { return *sinks_[world_.port_id(port)]; }
  [[nodiscard]] std::uint32_t flows() const { return flows_; }

 private:
  void establish(const test::FlowCase& c);
  const std::uint32_t flows_;
  test::World world_;
  std::array<std::shared_ptr<Sink>, 5> sinks_;
};

// One direction of the node's flows, carried by one worker.
class Lane {
 public:
  // Checks every byte of every flow's packet. Ends the program with a sentence when one is wrong
  // or lost. `c` is the node's case or its reply, and outlives the lane.
  Lane(Node& node, const test::FlowCase& c, unsigned worker = 0);
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  // The next packets of the sequence of flows, in buffers as a port's driver leaves them. First
  // looks whether those that were passed to the same port have all come out.
  void load(std::span<const std::uint32_t> sequence, unsigned count = kWindow);
  // Passes the next `count` of what is loaded. A function of its own in every build: callgrind
  // counts what is inside.
  [[gnu::noinline]] void pass(unsigned count);
  [[nodiscard]] unsigned left() const { return loaded_ - passed_; }

  // A window of packets, while this object and the sequence live.
  [[nodiscard]] Subject subject(std::span<const std::uint32_t> sequence);

 private:
  void write(const Frames& frames, const std::uint32_t* flows, unsigned count);
  void check_packets();
  [[nodiscard]] std::string compare(std::uint32_t flow, const Frames& expected,
                                    const rte_mbuf& actual) const;
  Node& node_;
  const test::FlowCase& case_;
  const unsigned worker_;
  const PortId in_port_;
  Sink& leaves_;
  const Frames frames_;
  std::array<rte_mbuf*, 2 * kWindow> buffers_;
  std::size_t next_ = 0;
  unsigned loaded_ = 0, passed_ = 0;
};

// The packet buffers that every Node uses, on huge pages. Once, before the first Node.
void make_packet_pool();

}  // namespace podwire::bench
