// The loop that runs stages over a batch: everything repetitive is written here once.
//
// A stage is a struct with a name and one decision:
//
//   struct Policy {
//     static constexpr std::string_view name = "policy";
//     static void key(Packet& p, Worker& w) noexcept;     // optional: compute, prefetch the first
//     line static void hint(Packet& p, Worker& w) noexcept;    // optional: from the first line,
//     prefetch the next static Verdict decide(Packet& p, Worker& w) noexcept;
//   };
//
// Several stages given to one run() are fused into one pass: each packet goes through all of them
// before the next packet begins. A stage does not know in which pass it runs.
#pragma once

#include <string_view>

#include "dataplane/batch.h"
#include "dataplane/verdict.h"
#include "dataplane/worker.h"

namespace podwire {

template <typename Stage>
concept HasKey = requires(Packet& p, Worker& w) {
  Stage::key(p, w);
};
template <typename Stage>
concept HasHint = requires(Packet& p, Worker& w) {
  Stage::hint(p, w);
};

// Carries out a verdict other than next. Returns true when the packet goes on.
inline bool carry_out(Verdict verdict, Packet& packet, Worker& w) noexcept {
  switch (verdict.kind()) {
    case Verdict::Kind::next:
      return true;
    case Verdict::Kind::drop:
      w.drop(packet.mbuf, verdict.reason(), packet.in_port);
      return false;
    case Verdict::Kind::punt: {
      const auto& ports = *w.snapshot->ports;
      w.counters.punted.add();
      w.send(packet.mbuf, packet.in_port == ports.host ? ports.uplink : ports.host);
      return false;
    }
    case Verdict::Kind::answer:
      w.send(packet.mbuf, packet.in_port);
      return false;
    case Verdict::Kind::taken:
      return false;
  }
  return false;
}

// Runs the stages on one packet until one of them decides otherwise than next.
template <typename... Stages>
bool run_one(Packet& packet, Worker& w) noexcept {
  return (carry_out(Stages::decide(packet, w), packet, w) && ...);
}

// The stages' key and hint for each of the packets, stage by stage.
template <typename... Stages, typename Each>
void prepare(Each&& each, Worker& w) noexcept {
  (
      [&] {
        if constexpr (HasKey<Stages>) each([&](Packet& p) { Stages::key(p, w); });
      }(),
      ...);
  (
      [&] {
        if constexpr (HasHint<Stages>) each([&](Packet& p) { Stages::hint(p, w); });
      }(),
      ...);
}

template <typename... Stages>
void run(Batch& batch, Worker& w) noexcept {
  prepare<Stages...>(
      [&](auto step) {
        for (unsigned i = 0; i < batch.size(); ++i) step(batch[i]);
      },
      w);
  batch.keep_if([&](Packet& packet) { return run_one<Stages...>(packet, w); });
}

// The same for the fresh packets of the batch only; the others stay as they are, in their places.
template <typename... Stages>
void run_fresh(Batch& batch, Worker& w) noexcept {
  prepare<Stages...>(
      [&](auto step) {
        for (unsigned i = 0; i < batch.size(); ++i) {
          if (batch[i].fresh) step(batch[i]);
        }
      },
      w);
  batch.keep_if([&](Packet& p) { return !p.fresh || run_one<Stages...>(p, w); });
}

}  // namespace podwire
