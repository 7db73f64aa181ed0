// Asking podwired.
#pragma once

#include <optional>
#include <string>

#include "control/cni/protocol.h"

namespace podwire::cni {

// Nothing: no podwired listens there. A podwired that listens but says nothing sensible is a Reply
// with an error.
std::optional<Reply> ask(const std::string& socket_path, const Request& request);

}  // namespace podwire::cni
