// <run-dir>/podwired.sock: {"command":"flows","pod":"default/web"} there, {"result":...} or
// {"error":"one sentence"} back. For {"command":"explain","lines":"..."} the result is an array, an
// element for each line (control/explain). Control thread only.
#pragma once

#include <string>

#include "control/ctl/reports.h"
#include "control/explain/explainer.h"
#include "control/serve/line_server.h"

namespace podwire::control::ctl {

inline constexpr const char* kSocketName = "podwired.sock";

// The line that answers `line`, whatever that is.
std::string answer(const std::string& line, const Sources& sources, explain::Explainer& explainer);

class Server {
 public:
  // What `sources` refers to outlives it.
  Server(boost::asio::io_context& io, const std::string& run_dir, Sources sources);
  Result<void> listen() { return lines_.listen(); }
  void stop_listening() { lines_.stop_listening(); }

 private:
  explain::Explainer explainer_;
  LineServer lines_;
};

}  // namespace podwire::control::ctl
