// One invocation of the CNI plugin, apart from the process around it.
#pragma once

#include <istream>
#include <string>

#include "cni-shim/configuration.h"

namespace podwire::cni {

inline constexpr const char* kAbout =
    "podwire-cni: CNI plugin of podwire, for protocol versions 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0.\n"
    "It is executed by container runtimes; see conf/10-podwire.conflist.\n";

struct Outcome {
  std::string output;  // for standard output: a result, an error or nothing
  int exit_code = 0;
};
Outcome run(const Environment& environment, std::istream& input);

}  // namespace podwire::cni
