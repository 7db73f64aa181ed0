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
};

inline constexpr std::uint32_t kMostFlows = 4'000'000;
[[nodiscard]] const std::vector<FlowCase>& flow_cases();

}  // namespace podwire::test
