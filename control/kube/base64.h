// Base64 as Kubernetes' files and Secrets have it. Thread-safe.
#pragma once

#include <optional>
#include <string>

namespace podwire::control::kube {

// RFC 4648 section 4; line breaks between are passed over, as Go's decoder does. Nothing: it is
// none.
std::optional<std::string> decode_base64(const std::string& text);

}  // namespace podwire::control::kube
