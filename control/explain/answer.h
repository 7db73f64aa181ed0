// The answer to a question, and its one line of JSON. Keys are stable; new ones may come.
// Thread-safe: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/explain/question.h"

namespace podwire::control::explain {

enum class Verdict : std::uint8_t { allow, deny, unknown };
const char* name(Verdict verdict);

// What one end says of the flow.
struct Side {
  Verdict verdict = Verdict::allow;
  // "policy", "default" (no rule of a policy that isolates the pod allows it), "not isolated",
  // "own node", "loopback", "not a pod", "not known yet"
  const char* by = "not a pod";
  const char* tier = nullptr;
  std::string policy;               // "namespace/name"; of "default": the first that isolates
  std::optional<std::size_t> rule;  // from 0, in the policy's list of this direction
  std::vector<std::string> isolated_by;
  std::string reason;  // why it is not known
  struct Near {
    std::string policy;
    std::size_t rule = 0;
    bool peer = false, protocol = false, port = false;  // what differs
    std::string text;
  };
  std::optional<Near> nearest;
};

// One way the flow may take: a Service has one for each backend.
struct Path {
  std::string from, to;  // "default/web", a node's name or an address
  std::string address;   // where it goes after the Service's translation
  std::uint16_t port = 0;
  Side egress, ingress;
  [[nodiscard]] Verdict verdict() const;
};

struct Answer {
  Verdict verdict = Verdict::unknown;
  std::string reason;   // where no policy decides: an unknown name, a Service without endpoints
  std::string service;  // that translates; empty: none
  std::size_t paths_judged = 0;
  std::vector<Path> paths;  // some of them; the first is the one that decided
};

void append_json(const Question& question, const Answer& answer, std::string& line);
void append_error(std::string_view sentence, std::string& line);
void append_text(std::string_view text, std::string& line);  // with its quotes

}  // namespace podwire::control::explain
