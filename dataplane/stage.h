// The loop that runs stages over a batch: everything repetitive is written here once.
//
// A stage is a struct with a name and one decision:
//
//   struct Policy {
//     static constexpr std::string_view name = "policy";
//     // Optional: what to do for every packet before the first decision, each step a pass of its
//     // own. A step reads what the one before it has prefetched, and prefetches what comes next.
//     static constexpr std::array<Step, 1> steps{prefetch_rows};
//     static Verdict decide(Packet& p, Worker& w) noexcept;
//   };
//
// Several stages given to one run() are fused into one pass: each packet goes through all of them
// before the next packet begins. A stage does not know in which pass it runs.
#pragma once

#include <algorithm>
#include <string_view>
#include <utility>

#include "dataplane/batch.h"
#include "dataplane/verdict.h"
#include "dataplane/worker.h"

namespace podwire {

template <typename Stage>
concept HasSteps = requires {
  Stage::steps;
};

// Carries out a verdict other than next.
inline void carry_out(Verdict verdict, Packet& packet, Worker& w) noexcept {
  switch (verdict.kind()) {
    case Verdict::Kind::drop:
      return w.drop(packet.mbuf, verdict.reason(), packet.in_port);
    case Verdict::Kind::punt: {
      const auto& ports = *w.snapshot->ports;
      w.counters.punted.add();
      return w.send(packet.mbuf, packet.in_port == ports.host ? ports.uplink : ports.host);
    }
    case Verdict::Kind::answer:
      return w.send(packet.mbuf, packet.in_port);
    case Verdict::Kind::next:
    case Verdict::Kind::taken:
      return;
  }
}

// Runs the stages on one packet until one of them decides otherwise than next.
template <typename... Stages>
bool run_one(Packet& packet, Worker& w) noexcept {
  Verdict verdict = Verdict::next();
  if (((verdict = Stages::decide(packet, w)).goes_on() && ...)) return true;
  carry_out(verdict, packet, w);
  return false;
}

// The stages' steps, in their order. `each(step)` is one pass.
template <typename... Stages, typename Each>
void prepare(Each&& each) noexcept {
  const auto prepare_one = [&]<typename Stage>(Stage) {
    if constexpr (HasSteps<Stage>) {
      [&]<std::size_t... I>(std::index_sequence<I...>) {
        (each([](Packet& p, Worker& w) { Stage::steps[I](p, w); }), ...);
      }
      (std::make_index_sequence<Stage::steps.size()>{});
    }
  };
  (prepare_one(Stages{}), ...);
}

template <typename... Stages>
void run(Batch& batch, Worker& w) noexcept {
  prepare<Stages...>([&](auto step) {
    for (unsigned i = 0; i < batch.size(); ++i) step(batch[i], w);
  });
  batch.keep_if([&](Packet& packet) { return run_one<Stages...>(packet, w); });
}

// The same for the fresh packets of the batch only; the others stay as they are, in their places.
// In portions: what the steps fetch for one of them must fit into the core's first cache.
template <typename... Stages>
void run_fresh(Batch& batch, Worker& w) noexcept {
  constexpr unsigned kPortion = 32;
  unsigned i = 0;
  batch.keep_if([&](Packet& p) {
    if (i % kPortion == 0) {
      const unsigned end = std::min(i + kPortion, batch.size());
      prepare<Stages...>([&](auto step) {
        for (unsigned n = i; n < end; ++n) {
          if (batch[n].fresh) step(batch[n], w);
        }
      });
    }
    ++i;
    return !p.fresh || run_one<Stages...>(p, w);
  });
}

}  // namespace podwire
