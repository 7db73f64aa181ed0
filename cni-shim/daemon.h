// Asking podwired, and what is done when it does not answer.
#pragma once

#include <optional>
#include <string>

#include "control/cni/protocol.h"

namespace podwire::cni {

// Nothing: no podwired listens there. A podwired that listens but says nothing sensible is a Reply
// with an error.
std::optional<Reply> ask(const std::string& socket_path, const Request& request);

// Notes a DEL that podwired carries out when it starts; empty, or why that failed.
std::string note_delete(const std::string& state_dir, const Request& request);
// When podwired has done it after all.
void drop_note(const std::string& state_dir, const Request& request);

}  // namespace podwire::cni
