// HTTP requests over libcurl's multi interface, driven by the control thread's event loop: no
// thread of its own, HTTP/2 where the server offers it (many requests on one connection), TLS
// verified always. Control thread only.
//
// A connection whose peer is gone without a word is noticed by TCP (keep-alive, 30 s). Where the
// peer's kernel still answers for it, a question that any server answers at once is put after some
// silence (Pulse). Each request has a limit of its own beside it. When everything has been silent,
// the connections are given up with all that runs over them: a new request would only be put on the
// same one.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "control/apiserver/access.h"

namespace boost::asio {
class io_context;
}

namespace podwire::control::apiserver {

struct Outcome {
  enum class End : std::uint8_t {
    complete,  // the answer has ended as it should
    stopped,   // by the receiver of its bytes
    silent,    // no byte came for so long
    failed     // `trouble` says why
  };
  End end = End::complete;
  long status = 0;      // HTTP; 0: there was no answer
  std::string trouble;  // libcurl's words
  int curl_code = 0;
  long os_error = 0;       // errno of a connect
  long verify_result = 0;  // X509_V_ERR_..., of the server's certificate
  std::string body;        // of an answer that is no success, as far as it is kept
  std::optional<std::chrono::seconds> retry_after;
};

struct Request {
  Credential credential;
  const char* method = "GET";
  std::string path;  // with the query
  std::string body;  // JSON; empty: none
  // No byte for so long ends it; the answer's head is a byte too.
  std::chrono::seconds silence{60};
  // The head of a success (status 200 or 201) is here.
  std::function<void()> begun;
  // Bytes of a success. False: no more is wanted.
  std::function<bool(std::string_view bytes)> data;
  // Once, after the last byte, not from within start() or cancel().
  std::function<void(Outcome outcome)> done;
};

// What client-go's HTTP/2 PINGs are for, with its times (HTTP2_READ_IDLE_TIMEOUT_SECONDS,
// HTTP2_PING_TIMEOUT_SECONDS): when no byte has come on any request for `idle`, `path` is asked
// for, and when nothing at all comes for `patience` either, all connections are dead.
struct Pulse {
  std::chrono::seconds idle{30};
  std::chrono::seconds patience{15};
  const char* path = "/version";  // whoever may speak to the server may ask for it
};

class Transfers {
 public:
  using Id = std::uint64_t;
  explicit Transfers(boost::asio::io_context& io, Pulse pulse = {});
  ~Transfers();
  Transfers(const Transfers&) = delete;
  Transfers& operator=(const Transfers&) = delete;

  Id start(Request request);
  // Its `done` is not called. Not from within `begun` or `data`.
  void cancel(Id id);

 private:
  class Multi;
  std::shared_ptr<Multi> multi_;
};

}  // namespace podwire::control::apiserver
