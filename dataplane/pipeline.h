// The packet's way, in order. Start reading here.
//
//   rx -+- fast path ------------------------------------------------------------------ tx
//       +- parse - decap - track -+- known ------------------------+- rewrite - route - encap - tx
//                                 +- new - service - policy - admit +
//
// Known flows carry their verdict, their rewrite and their route: the fast path takes nearly all of
// their packets. Only new flows, or flows admitted under an older policy, pay for service choice
// and policy.
#pragma once

#include "dataplane/stage.h"
#include "dataplane/stages/admit.h"
#include "dataplane/stages/decap.h"
#include "dataplane/stages/encap.h"
#include "dataplane/stages/fast_path.h"
#include "dataplane/stages/fragments.h"
#include "dataplane/stages/hold.h"
#include "dataplane/stages/parse.h"
#include "dataplane/stages/policy.h"
#include "dataplane/stages/rewrite.h"
#include "dataplane/stages/route.h"
#include "dataplane/stages/service.h"
#include "dataplane/stages/track.h"

namespace podwire {

// From track on: packets that parse has seen.
inline void pipeline_parsed(Batch& batch, Worker& w) noexcept {
  run<stages::Track>(batch, w);
  // New flows one at a time and in place: the second packet of a burst finds the flow that the
  // first one made, and order inside a flow is kept.
  run_fresh<stages::Service, stages::Policy, stages::Admit>(batch, w);
  run<stages::Rewrite, stages::Route, stages::Encap>(batch, w);
}

inline void pipeline(Batch& batch, Worker& w) noexcept {
  run<stages::Parse, stages::Decap>(batch, w);
  pipeline_parsed(batch, w);
}

// A burst from the ports. What the fast path leaves goes through the stages together, but never
// behind a later packet of its own flow. `batch` is scratch and empty; `sent` as below.
template <typename Sent>
void pipeline(const Burst& burst, Batch& batch, Worker& w, Sent&& sent) noexcept {
  using Fate = stages::FastPath::Fate;
  const auto run_stages = [&] {
    pipeline(batch, w);
    sent(batch);
    batch.clear();
  };
  stages::FastPath fast_path(burst, w);
  for (unsigned i = 0; i < burst.size(); ++i) {
    const Fate fate = fast_path.carry(i);
    if (fate == Fate::sent) [[likely]]
      continue;
    batch.append(burst[i].mbuf, burst[i].in_port);
    if (fate == Fate::in_place) run_stages();
  }
  if (!batch.empty()) run_stages();
}

// Packets that a stage had held go on where they stopped, and those that waited too long are
// dropped. Once a round and after the round's batches, before w.originated is run. `batch` is
// scratch; `sent` is given each batch whose packets are ready for their output port.
template <typename Sent>
void resume_held(Batch& batch, Worker& w, Sent&& sent) noexcept {
  w.fragments->age(w);
  w.holds->age(w);
  batch.clear();
  while (w.fragments->release(batch, w) > 0) {
    pipeline_parsed(batch, w);
    sent(batch);
    batch.clear();
  }
  if (w.holds->release(batch, w) > 0) {
    run<stages::Route, stages::Encap>(batch, w);
    sent(batch);
  }
}

}  // namespace podwire
