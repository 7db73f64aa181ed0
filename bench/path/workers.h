// Two workers beside one: both directions of every flow, each carried by a worker on a core of its
// own, against one worker that carries both.
#pragma once

#include <span>

#include "bench/lib/alternate.h"
#include "tests/packet/flow_cases.h"

namespace podwire::bench {

struct TwoWorkers {
  Measured one;                      // one worker, both directions by turns
  Measured there, back;              // a worker each, while the other works
  Measured there_alone, back_alone;  // while the other rests
  // rte_hash, which shares nothing with a worker on the other core: while that works, and rests.
  Measured bystander, bystander_alone;

  // 2 when neither worker costs the other anything.
  [[nodiscard]] double speedup() const {
    return 4 * one.cycles.median / (there.cycles.median + back.cycles.median);
  }
  // What the machine takes from one core when the other works.
  [[nodiscard]] double bystander_costs() const {
    return bystander.cycles.median / bystander_alone.cycles.median;
  }
};

// `c` has a reply. The calling thread stays on its core; the second worker gets another one.
[[nodiscard]] TwoWorkers measure_two_workers(const test::FlowCase& c, const test::FlowCase& reply,
                                             std::uint32_t flows,
                                             std::span<const std::uint32_t> sequence,
                                             const Windows& windows);

// The cores that this process may use are two at least.
[[nodiscard]] bool has_two_cores();

}  // namespace podwire::bench
