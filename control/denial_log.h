// Flows that NetworkPolicy refused, as log lines with names, at a bounded rate. Control thread
// only.
#pragma once

#include <chrono>
#include <cstdint>

#include "control/store.h"
#include "dataplane/observe/events.h"
#include "dataplane/tables/policy_table.h"

namespace podwire::control {

class DenialLog {
 public:
  static constexpr unsigned kPerSecond = 5;

  void tell(const tables::PolicyTable& policies, const Store& store, const observe::Event& event);
  // Now and then: says how many lines were left out.
  void flush();

 private:
  std::chrono::steady_clock::time_point second_{};
  unsigned written_ = 0;
  std::uint64_t left_out_ = 0;
};

}  // namespace podwire::control
