// Both families' flow tables, and what control asks of them.
#pragma once

#include <array>
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

  // A worker's share of the ageing, once per round, online; spreads one pass over about a second.
  // Returns how many connections expired.
  unsigned sweep(unsigned worker, unsigned workers, std::uint32_t now_seconds) noexcept;

  // Control thread. Rows of connections, at most `limit`, IPv4's first. Stops no worker.
  std::vector<observe::FlowRow> rows(std::uint32_t now_seconds, std::size_t limit,
                                     const std::function<bool(const observe::FlowRow&)>& wanted);
  // Control thread. Erases those of some thousand connections from the cursor on for which `ends`
  // is true (UDP clean-up, pod deletion), and moves it. Stops no worker.
  void erase_if(std::uint32_t now_seconds, observe::FlowCursor& at,
                const std::function<bool(const observe::FlowRow&)>& ends);

 private:
  // How many groups a worker looks at in one round: so many that its rounds of the last second
  // would have made one pass.
  struct alignas(64) Pace {
    std::uint32_t second = 0;
    std::uint32_t rounds = 0;
    std::array<std::uint32_t, 2> groups_a_round{kFirstGroups, kFirstGroups};  // v4, v6
    std::array<std::uint32_t, 2> looked_at{0, 0};                             // in this second
  };
  static constexpr std::uint32_t kFirstGroups = 64, kMostGroups = 4096;
  static constexpr unsigned kWorkers = 128;
  template <typename F>
  unsigned sweep_one(Pace& pace, unsigned family, unsigned worker, unsigned workers,
                     std::uint32_t now_seconds) noexcept;
  // visit(FlowMap&, Flow&) for every connection until it says false, a little at a time, so that
  // slots go on being reused.
  template <typename F, typename Visit>
  void visit(FlowMap<F>& map, Visit&& visit);
  template <typename F, typename Visit>
  void visit_some(FlowMap<F>& map, std::uint32_t first, Visit&& visit);

  tables::Quiescence& quiescence_;
  std::array<Pace, kWorkers> paces_;
};

}  // namespace podwire::flow
