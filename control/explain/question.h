// "May this reach that?", as podwirectl asks it: {"from":"ns/pod","to":"ns/pod","protocol":"TCP",
// "port":80}. Thread-safe: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "dataplane/result.h"

namespace podwire::control::explain {

struct Question {
  std::string from, to;
  std::uint8_t protocol = 6;
  std::uint16_t port = 0;  // 0: a name is asked for, or the protocol has no ports
  std::string port_name;
};

// Refuses with a sentence that begins with the field.
Result<Question> make_question(std::string from, std::string to, std::string_view protocol,
                               std::string_view port);
Result<Question> parse_question(std::string_view line);

// "TCP"; the number where it has no name here.
std::string protocol_name(std::uint8_t protocol);
bool has_ports(std::uint8_t protocol);

}  // namespace podwire::control::explain
