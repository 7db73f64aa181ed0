// The environment and the network configuration of one invocation, checked: CNI specification
// 1.1.0, sections 1 to 3; the order of the checks is that of pkg/skel/skel.go.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "control/cni/protocol.h"

namespace podwire::cni {

using Environment = std::map<std::string, std::string>;  // the CNI_... variables that are set
Environment read_environment();
std::string value_of(const Environment& environment, const char* name);

// The specification's code and one sentence.
struct Refused {
  Code code = Code::internal;
  std::string message;
};

struct Configuration {
  nlohmann::json all;
  std::string version, name;
  std::string run_dir = kDefaultRunDir, state_dir = kDefaultStateDir;
  std::string ipam;  // type of the IPAM plugin; empty: podwire's own addresses
};

// Names the variables that the command needs and that are missing or empty, with commas between.
std::string missing_variables(const Environment& environment, const std::string& command);
// Decode (6), the name (7), the version (1), then our own keys (7).
std::optional<Refused> read_configuration(const std::string& text, const std::string& command,
                                          Configuration& into);
// request.command is set already.
std::optional<Refused> read_request(const Environment& environment, const Configuration& config,
                                    Request& request);

}  // namespace podwire::cni
