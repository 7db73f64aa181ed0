// The packet's way, in order. Start reading here.
//
// rx +- parse - decap - track -+- known --------------------------+- rewrite - route - encap -+- tx
//    |                         +- new-service-policy-admit-start -+                           |
//    +- fast path: known flows, nothing odd about the packet ---------------------------------+
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
#include "dataplane/stages/opening.h"
#include "dataplane/stages/parse.h"
#include "dataplane/stages/policy.h"
#include "dataplane/stages/rewrite.h"
#include "dataplane/stages/route.h"
#include "dataplane/stages/service.h"
#include "dataplane/stages/track.h"
#include "dataplane/stages/tx.h"

namespace podwire {

// Packets that track has seen. The batch is empty afterwards, here and below.
inline void pipeline_tracked(Batch& batch, Worker& w) noexcept {
  // New flows one at a time and in place: the second packet of a burst finds the flow that the
  // first one made, and order inside a flow is kept.
  run_fresh<stages::Service, stages::Policy, stages::Admit, stages::Start>(batch, w);
  run<stages::Rewrite, stages::Route, stages::Encap, stages::Tx>(batch, w);
}

inline void pipeline_parsed(Batch& batch, Worker& w) noexcept {
  run<stages::Track>(batch, w);
  pipeline_tracked(batch, w);
}

inline void pipeline(Batch& batch, Worker& w) noexcept {
  run<stages::Parse, stages::Decap>(batch, w);
  pipeline_parsed(batch, w);
}

// A burst from the ports. What the fast path leaves goes through the stages together, but never
// behind a later packet of its own flow; opening has done what the first stages would do for the
// packets that it took. `batch` is scratch, here and below. Returns how many frames were handed to
// other workers.
inline unsigned pipeline(const Burst& burst, Batch& batch, Worker& w) noexcept {
  using Fate = stages::FastPath::Fate;
  stages::FastPath fast_path(burst, w);
  unsigned left = 0;
  bool opening = true;  // took all that the batch has
  for (unsigned i = 0;; ++i, ++left) {
    const Fate fate = fast_path.carry(i);
    if (i == burst.size()) break;
    const auto [mbuf, in_port, handed] = burst[i];
    const auto hash = fate == Fate::later ? fast_path.plain_hash(i) : std::nullopt;
    if (hash && stages::Opening::is_refused(*mbuf, w)) [[unlikely]] {
      w.drop(mbuf, Reason::flow_limit, in_port);
      continue;
    }
    Packet& packet = batch.append(mbuf, in_port);
    if (!hash || !stages::Opening::take(packet, *hash, w)) opening = false;
    if (fate == Fate::in_place) {
      pipeline(batch, w);
      opening = true;
    }
  }
  w.counters.fast_path.add(burst.size() - left - fast_path.handed_over());
  if (!batch.empty()) {
    if (opening) {
      pipeline_tracked(batch, w);
    } else {
      pipeline(batch, w);
    }
  }
  return fast_path.handed_over();
}

// Packets that a stage had held go on where they stopped, and those that waited too long are
// dropped. Once a round and after the round's bursts, before w.originated is run.
inline void resume_held(Batch& batch, Worker& w) noexcept {
  w.fragments->age(w);
  w.holds->age(w);
  while (w.fragments->release(batch, w) > 0) pipeline_parsed(batch, w);
  if (w.holds->release(batch, w) > 0) run<stages::Route, stages::Encap, stages::Tx>(batch, w);
}

}  // namespace podwire
