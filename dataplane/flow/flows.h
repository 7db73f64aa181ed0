// Both families' flow tables, and what control asks of them.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "dataplane/flow/flow_map.h"
#include "dataplane/observe/flow_row.h"

namespace podwire::flow {

class Flows {
 public:
  Flows(const DataplaneConfig& config, tables::Quiescence& quiescence);

  FlowMap<V4> v4;
  FlowMap<V6> v6;

  template <typename F>
  FlowMap<F>& map() noexcept {
    if constexpr (F::family == net::Family::v4) {
      return v4;
    } else {
      return v6;
    }
  }

  // A worker's share of the ageing, once per round; spreads one pass over about a second.
  unsigned sweep(unsigned worker, unsigned workers, std::uint32_t now_seconds) noexcept;

  // Control thread. Rows of connections, at most `limit`; and erasing those for which `ends` is
  // true (UDP clean-up, pod deletion). Neither stops a worker. Returns how many were erased.
  std::vector<observe::FlowRow> rows(std::uint32_t now_seconds, std::size_t limit,
                                     const std::function<bool(const observe::FlowRow&)>& wanted);
  std::size_t erase_if(std::uint32_t now_seconds,
                       const std::function<bool(const observe::FlowRow&)>& ends);
};

}  // namespace podwire::flow
