// A unix socket for JSON lines: a connection sends one line and gets one line. Only root (and the
// user podwired runs as) is listened to, by SO_PEERCRED (unix(7)); lengths, time and the number of
// connections are bounded. Control thread only.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "dataplane/result.h"

namespace boost::asio {
class io_context;
}

namespace podwire::control {

struct LineServerOptions {
  std::string path{};
  std::size_t longest_line = 65536;  // of a request, in bytes
  unsigned most_connections = 256;   // more are closed unanswered
  unsigned idle_ms = 5000;           // for the request to arrive and the reply to be taken
};

class LineServer {
 public:
  // To be called exactly once, at once or later; after the server is gone it does nothing.
  using Reply = std::function<void(std::string line)>;
  using Handler = std::function<void(std::string line, Reply reply)>;
  // What a line that is too long, or a peer that is not root, is told.
  using Refusal = std::function<std::string(std::string sentence)>;

  LineServer(boost::asio::io_context& io, LineServerOptions options, Handler handler,
             Refusal refusal);
  ~LineServer();  // closes every connection and removes the socket
  LineServer(const LineServer&) = delete;
  LineServer& operator=(const LineServer&) = delete;

  // Removes a socket that nobody serves any more; refuses when somebody does. Mode 0600.
  Result<void> listen();
  // Takes no new connection; those that wait for their reply still get it.
  void stop_listening();

  struct Shared;  // with the connections; in line_server.cc

 private:
  std::shared_ptr<Shared> shared_;
};

}  // namespace podwire::control
