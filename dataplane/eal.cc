#include "dataplane/eal.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <sched.h>

#include <algorithm>
#include <cctype>
#include <fstream>

namespace podwire {
namespace {

// The processors this process may run on, as "0,1,4".
std::string allowed_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return "0";
  std::string cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &set)) continue;
    cores += (cores.empty() ? "" : ",") + std::to_string(core);
  }
  return cores;
}

// "0000:03:00.0" and "03:00.0": hexadecimal with colons and a dot before any comma.
bool is_pci(const std::string& device) {
  const std::string name = device.substr(0, device.find(','));
  return name.find(':') != std::string::npos && name.find('.') != std::string::npos &&
         std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return std::isxdigit(c) != 0 || c == ':' || c == '.'; });
}

bool hugepages_free() {
  std::ifstream info("/proc/meminfo");
  std::string word;
  while (info >> word) {
    unsigned long pages = 0;
    if (word == "HugePages_Free:" && info >> pages) return pages > 0;
  }
  return false;
}

}  // namespace

std::vector<std::string> eal_arguments(const DataplaneConfig& config, std::uint32_t needed_mb) {
  // One lcore that floats over every allowed processor: the control thread.
  std::vector<std::string> arguments{"--lcores=0@(" + allowed_cores() + ")",
                                     "--file-prefix=" + config.eal_prefix, "--no-telemetry",
                                     "--log-level=lib.eal:error"};
  const std::string memory = std::to_string(std::max(config.memory_mb, needed_mb));
  // Neither leaves files behind, so that two podwireds of one prefix do not meet. --in-memory does
  // not go with --no-huge.
  if (config.hugepages) {
    arguments.insert(arguments.end(), {"--in-memory", "--socket-mem=" + memory});
  } else {
    arguments.insert(arguments.end(), {"--no-shconf", "--no-huge", "-m", memory});
  }
  if (is_pci(config.uplink_device)) {
    // Only this device is taken; the rest of the machine's stay what they are.
    arguments.insert(arguments.end(), {"-a", config.uplink_device});
  } else {
    arguments.emplace_back("--no-pci");
  }
  arguments.insert(arguments.end(), config.eal_extra.begin(), config.eal_extra.end());
  return arguments;
}

Result<void> start_eal(const DataplaneConfig& config, std::uint32_t needed_mb) {
  if (config.hugepages && !hugepages_free()) {
    return fail(
        "hugepages: none is free; reserve some (`sysctl vm.nr_hugepages=512`) or set hugepages = "
        "false");
  }
  cpu_set_t affinity;
  CPU_ZERO(&affinity);
  const bool known = sched_getaffinity(0, sizeof affinity, &affinity) == 0;
  std::vector<std::string> arguments = eal_arguments(config, needed_mb);
  arguments.insert(arguments.begin(), "podwired");
  std::vector<char*> pointers;
  pointers.reserve(arguments.size());
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  const int used = rte_eal_init(static_cast<int>(pointers.size()), pointers.data());
  if (known) sched_setaffinity(0, sizeof affinity, &affinity);
  if (used >= 0) {
    // What fails from now on has a sentence of ours.
    rte_log_set_level_pattern("lib.eal", RTE_LOG_CRIT);
    return {};
  }
  if (rte_errno == EINVAL && !config.eal_extra.empty()) {
    return fail("eal-arg: DPDK does not take these arguments; its own message is above");
  }
  if (rte_errno == ENOMEM) {
    return fail("memory-mb: DPDK cannot have " + std::to_string(config.memory_mb) +
                " MiB; lower it or free memory");
  }
  return fail(std::string("DPDK does not start: ") + rte_strerror(rte_errno) +
              "; its own message is above");
}

void stop_eal() {
  rte_eal_cleanup();
}

}  // namespace podwire
