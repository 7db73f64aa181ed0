// Why the API server could not be read: a reason of a few, for counting, and one sentence for an
// operator. Thread-safe: pure functions.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "control/apiserver/resource.h"
#include "control/apiserver/transfers.h"

namespace podwire::control::apiserver {

enum class Reason : std::uint8_t {
  unreachable,   // no connection
  tls,           // its certificate, or ours
  unauthorized,  // 401
  forbidden,     // 403
  not_found,     // 404
  refused,       // another 4xx
  throttled,     // 429
  server_error,  // 5xx
  expired,       // 410, as status or event: the version asked for is no more
  cut,           // the connection was lost amid an answer
  silent,        // nothing came for too long
  malformed,     // an answer that cannot be read
  stale,         // a list older than what is in force
  credentials    // our own cannot be read
};
inline constexpr std::array kReasonNames{
    "unreachable",  "tls",     "unauthorized", "forbidden", "not_found", "refused", "throttled",
    "server_error", "expired", "cut",          "silent",    "malformed", "stale",   "credentials"};
inline constexpr std::size_t kReasons = kReasonNames.size();

struct Failure {
  Reason reason = Reason::unreachable;
  std::string sentence;
  std::optional<std::chrono::seconds> retry_after;
  // Trying again will not mend it: said at once, not after a second failure.
  [[nodiscard]] bool persistent() const {
    return reason == Reason::tls || reason == Reason::unauthorized || reason == Reason::forbidden ||
           reason == Reason::not_found || reason == Reason::refused ||
           reason == Reason::credentials;
  }
  // The server itself has said no: it is there.
  [[nodiscard]] bool answered() const {
    return reason == Reason::unauthorized || reason == Reason::forbidden ||
           reason == Reason::not_found || reason == Reason::refused || reason == Reason::throttled;
  }
};

// What was asked: for sentences.
struct Asked {
  const char* verb;  // "list" or "watch", as RBAC has it
  const Resource& resource;
  const Resource::Place& place;
  const Credential& credential;
};

// Of an outcome that is not a whole answer with status 200.
Failure explain(const Outcome& outcome, const Asked& asked);

// A Status object (k8s.io/apimachinery meta/v1), as an answer's body or in an event of type ERROR.
struct Status {
  long code = 0;
  std::string reason, message;
  bool version_too_large = false;  // cause ResourceVersionTooLarge: the server is behind
};
Status read_status(std::string_view text);
Failure explain_status(const Status& status, const Asked& asked);

}  // namespace podwire::control::apiserver
