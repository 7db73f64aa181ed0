#include "bench/lib/eal.h"

#include <rte_eal.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "bench/lib/record.h"

namespace podwire::bench {

void start_eal(const char* program) {
  const std::string prefix = "podwire-bench-" + std::to_string(::getpid());
  std::vector<std::string> words{program, "--no-huge",   "--no-pci",       "--no-shconf",
                                 "-m",    "64",          "--no-telemetry", "--file-prefix",
                                 prefix,  "--log-level", "error"};
  std::vector<char*> arguments;
  for (auto& word : words) arguments.push_back(word.data());
  if (rte_eal_init(static_cast<int>(arguments.size()), arguments.data()) < 0) {
    stop(program, "DPDK did not start; its messages above say why");
  }
}

}  // namespace podwire::bench
