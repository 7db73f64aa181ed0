// Admit: enters the flow into the table, both directions, with the source port that it gets when it
// is masqueraded or when its reply would be taken for another flow's. From here on the flow is
// known.
#pragma once

#include <string_view>

#include "dataplane/verdict.h"
#include "dataplane/worker.h"

namespace podwire::stages {

struct Admit {
  static constexpr std::string_view name = "admit";
  static void seek(Packet& p, Worker& w) noexcept;  // the place of the reply
  static void seek_further(Packet& p, Worker& w) noexcept;
  static constexpr std::array<Step, 2> steps{seek, seek_further};
  static Verdict decide(Packet& p, Worker& w) noexcept;
};

}  // namespace podwire::stages
