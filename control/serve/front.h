// Everything that others knock at, in one piece for main(): the CNI plugin's socket, podwirectl's
// socket, the HTTP listener, and what the service manager is told. Control thread only.
#pragma once

#include <memory>

#include "control/loop_hooks.h"
#include "control/state.h"
#include "control/store_writer.h"
#include "dataplane/result.h"

namespace boost::asio {
class io_context;
}

namespace podwire::control {

class Front {
 public:
  // All three outlive the Front; `io` is run by the control thread.
  Front(boost::asio::io_context& io, State& state, LoopHooks hooks);
  ~Front();
  Front(const Front&) = delete;
  Front& operator=(const Front&) = delete;

  // Makes run-dir and state-dir, brings back the attachments of the last run into
  // State::attachments (call it before the loop's first build), then listens. The error is one
  // sentence.
  Result<void> start();
  // The loop calls it after every publication: what was built from.
  void published(const Changes& changes, const StoreWriter& store);
  // Answers nobody from now on and removes the sockets. Idempotent.
  void stop();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace podwire::control
