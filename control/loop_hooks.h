// What the control loop offers to those who change something between two builds (control/cni). The
// loop fills it in; tests fill it in with as little as they need. Control thread only.
#pragma once

#include <chrono>
#include <functional>

#include "dataplane/observe/flow_row.h"

namespace podwire::control {

struct LoopHooks {
  // State::attachments has changed: a build is due, without waiting for the sync period.
  std::function<void()> attachments_changed;
  // Calls back, once, when a snapshot that was built after this call is in force: published, and no
  // worker uses an older one. Never calls back before it returns.
  std::function<void(std::function<void()>)> when_in_force;
  // Calls back once, after so long; not after the loop has stopped.
  std::function<void(std::chrono::milliseconds, std::function<void()>)> later = nullptr;
  // Ends the flows of which the first is true, then calls the second, once and not before this
  // returns; not after the loop has stopped.
  std::function<void(std::function<bool(const observe::FlowRow&)>, std::function<void()>)>
      end_flows = nullptr;
  // Runs the first on another thread, then the second on this one; not after the loop has stopped.
  // Null: both at once, on this one.
  std::function<void(std::function<void()>, std::function<void()>)> elsewhere = nullptr;
};

}  // namespace podwire::control
