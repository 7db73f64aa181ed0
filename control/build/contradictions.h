// What a Service asks for that cannot be, though the API server takes it. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "control/kube/objects.h"

namespace podwire::control::build {

// One sentence each, for whoever wrote the Service; the rest of it is served.
std::vector<std::string> contradictions(const kube::Service& service);

}  // namespace podwire::control::build
