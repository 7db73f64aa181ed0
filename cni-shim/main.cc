// podwire-cni: the plugin a container runtime executes. Reads the environment and the configuration
// on standard input, asks podwired over its socket, and writes the result in the version that the
// caller speaks. Sources: containernetworking/cni SPEC.md 1.1.0, pkg/skel/skel.go.
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>

#include "cni-shim/plugin.h"

int main() {
  if (std::getenv("CNI_COMMAND") == nullptr && std::getenv("CNI_PATH") == nullptr &&
      std::getenv("CNI_CONTAINERID") == nullptr) {
    std::fputs(podwire::cni::kAbout, stderr);
    return 0;
  }
  const podwire::cni::Outcome outcome =
      podwire::cni::run(podwire::cni::read_environment(), std::cin);
  std::fputs(outcome.output.c_str(), stdout);
  if (std::fflush(stdout) != 0 && outcome.exit_code == 0) return 1;
  return outcome.exit_code;
}
