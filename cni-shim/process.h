// Running another program to its end.
#pragma once

#include <map>
#include <string>

namespace podwire::cni {

struct Ended {
  std::string error;  // why it could not be run, or how it died; empty: it ended by itself
  int exit_code = -1;
  std::string output;  // of its standard output
};
// In this process's environment with `changes`; its standard error is ours. Leaves
// SIGPIPE ignored.
Ended run_program(const std::string& path, const std::map<std::string, std::string>& changes,
                  const std::string& input);

}  // namespace podwire::cni
