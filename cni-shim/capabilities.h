// runtimeConfig: what the runtime fills in for the capabilities that a conflist declares
// (containernetworking/cni CONVENTIONS.md, "Dynamic Plugin specific fields").
#pragma once

#include <optional>
#include <string>

#include "cni-shim/configuration.h"

namespace podwire::cni {

// A capability that is not ours is refused (code 2), unless an IPAM plugin may be meant.
std::optional<Refused> read_capabilities(const Configuration& config, Wishes& wishes);

}  // namespace podwire::cni
