// <run-dir>/cni.sock: what podwire-cni asks, as the Attacher answers it. Control thread only.
#pragma once

#include "control/cni/attacher.h"
#include "control/serve/line_server.h"

namespace podwire::control {

class CniServer {
 public:
  // `attacher` outlives it.
  CniServer(boost::asio::io_context& io, const std::string& run_dir, Attacher& attacher);
  Result<void> listen() { return lines_.listen(); }
  void stop_listening() { lines_.stop_listening(); }

 private:
  LineServer lines_;
};

}  // namespace podwire::control
