// The two pools every frame lives in. Control thread; made once, before the first port.
#pragma once

#include <rte_mempool.h>

#include <cstdint>

#include "dataplane/config.h"
#include "dataplane/result.h"

namespace podwire::io {

inline constexpr std::uint16_t kPacketBytes = 2048;  // behind the headroom
inline constexpr std::uint16_t kLargeBytes = 65535;  // no headroom: what a uint16_t can say

struct Pools {
  rte_mempool* packets = nullptr;
  rte_mempool* large = nullptr;
};
// Fails with a sentence that says which option to change.
Result<Pools> make_pools(const DataplaneConfig& config);

// Memory that the pools of `config` take, in MiB, rounded up.
[[nodiscard]] std::uint32_t pools_mb(const DataplaneConfig& config);

}  // namespace podwire::io
