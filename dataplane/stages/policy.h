// Policy: may this flow begin, or go on? NetworkPolicy is asked about the addresses after service
// choice and before masquerading. A flow that was admitted under older policy is judged again by
// its forward direction, and ends when it is no longer allowed.
#pragma once

#include <array>
#include <string_view>

#include "dataplane/verdict.h"
#include "dataplane/worker.h"

namespace podwire::stages {

struct Policy {
  static constexpr std::string_view name = "policy";
  // For packets whose Service has made its choice in steps.
  static void seek(Packet& p, Worker& w) noexcept;
  static constexpr std::array<Step, 1> steps{seek};
  static Verdict decide(Packet& p, Worker& w) noexcept;
};

}  // namespace podwire::stages
