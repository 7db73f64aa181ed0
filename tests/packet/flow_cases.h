// Established flows, any number of them: tests/packet checks a few of each, bench/path measures
// many.
#pragma once

#include <functional>
#include <vector>

#include "tests/lib/world.h"

namespace podwire::test {

struct FlowCase {
  const char* name;
  const char* about;
  std::function<void(World&)> set_up;
  // Of flow `i`: the packet that begins it, the packet that is measured, and how that leaves.
  std::function<In(std::uint32_t)> opens;
  std::function<In(std::uint32_t)> packet;
  std::function<Out(std::uint32_t)> leaves;
  // What follows the first packet until the flow is established: the rest of a TCP handshake.
  std::vector<std::function<In(std::uint32_t)>> then = {};
  // The case whose packets are the other direction of the same flows.
  const char* reply = nullptr;
};

// Flows i and j with i / kFlowsPerService == j / kFlowsPerService differ in the client's port only,
// which is kFirstClientPort + i % kFlowsPerService.
inline constexpr std::uint32_t kMostFlows = 10'000'000, kFlowsPerService = 50'000;
inline constexpr std::uint16_t kFirstClientPort = 10'000;
[[nodiscard]] const std::vector<FlowCase>& flow_cases();

}  // namespace podwire::test
