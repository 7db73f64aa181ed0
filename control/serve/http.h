// A small HTTP/1.1 listener for GET and HEAD: no bodies are read, headers and time are bounded, one
// request a connection. Control thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "control/config.h"
#include "dataplane/result.h"

namespace boost::asio {
class io_context;
}

namespace podwire::control {

struct Page {
  unsigned status = 200;
  std::string type = "text/plain; charset=utf-8";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers{};  // beside the usual ones
};

class HttpServer {
 public:
  // `path` is without the query. Status 404 for a path that is not served.
  using Handler = std::function<Page(const std::string& path)>;
  HttpServer(boost::asio::io_context& io, Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // The error is a clause that begins with the address and port.
  Result<void> listen(const ListenAddress& where);
  [[nodiscard]] std::uint16_t port() const;  // that was bound
  void stop();

  struct Shared;

 private:
  std::shared_ptr<Shared> shared_;
};

}  // namespace podwire::control
