// The control thread: gathers what changes (objects, attachments, Linux's tables), builds a
// snapshot of it, publishes that, and frees the old one when no worker sees it any more.
//
//   source ─ store ─┐
//   CNI attachments ┼─ sync period ─ build ─ publish ─ in force ─┬─ stale flows end
//   Linux's routes ─┘                                         └─ those who wait are told
#pragma once

#include <memory>

#include "control/config.h"
#include "control/dataplane_link.h"

namespace podwire::control {

class Loop {
 public:
  // Both outlive the loop.
  Loop(const Config& config, DataplaneLink& dataplane);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Control's thread is the one that calls this. Returns the process's exit status when stop() was
  // called or SIGTERM or SIGINT came; the log says why when it is not 0.
  int run();
  // Any thread.
  void stop();

 private:
  class Control;
  std::unique_ptr<Control> control_;
};

}  // namespace podwire::control
