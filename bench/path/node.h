// The node of tests/lib/world with ports that cost nothing, and a case's flows established on it.
#pragma once

#include <array>
#include <memory>
#include <span>

#include "bench/lib/alternate.h"
#include "bench/lib/memory.h"
#include "bench/path/frames.h"
#include "bench/path/sink.h"
#include "tests/packet/flow_cases.h"

namespace podwire::bench {

inline constexpr unsigned kBurst = 64;

class Node {
 public:
  // Establishes the flows and checks every byte of every flow's packet. Ends the program with a
  // sentence when one is wrong or lost.
  Node(const test::FlowCase& c, std::uint32_t flows);
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // Packets of the flows in `sequence`, while this object and the sequence live.
  [[nodiscard]] Subject subject(std::span<const std::uint32_t> sequence);

 private:
  static constexpr unsigned kWindow = 4 * kBurst, kPods = 3;

  void establish();
  void check_packets();
  // Makes buffers of the flows' packets as a port's driver leaves them.
  void load(const Frames& frames, const std::uint32_t* flows, unsigned count);
  void load_window(std::span<const std::uint32_t> sequence);
  // The loaded buffers through the pipeline in bursts, as the worker's loop does.
  void pass(PortId port, unsigned count);
  void take_back();
  [[nodiscard]] std::string compare(std::uint32_t flow, const Frames& expected, rte_mbuf& actual);

  const test::FlowCase& case_;
  const std::uint32_t flows_;
  test::World world_;
  std::array<std::shared_ptr<Sink>, 2 + kPods> sinks_;
  Sink* leaves_;
  PortId in_port_;
  Frames frames_;
  std::array<rte_mbuf*, kWindow> buffers_;
  std::size_t next_ = 0;
  bool loaded_ = false;
};

// The packet buffers that every Node uses, on huge pages. Once, before the first Node.
void make_packet_pool();

}  // namespace podwire::bench
