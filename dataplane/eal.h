// DPDK's environment: started once per process, before pools, ports and workers. Control thread.
#pragma once

#include <string>
#include <vector>

#include "dataplane/config.h"
#include "dataplane/result.h"

namespace podwire {

// The arguments that `config` comes to, without the program's name. Memory is at least
// `needed_mb`. No lcore belongs to a worker: workers are threads that register themselves.
[[nodiscard]] std::vector<std::string> eal_arguments(const DataplaneConfig& config,
                                                     std::uint32_t needed_mb);

// The error says which option to change. The calling thread keeps its processor affinity.
Result<void> start_eal(const DataplaneConfig& config, std::uint32_t needed_mb);
void stop_eal();

}  // namespace podwire
