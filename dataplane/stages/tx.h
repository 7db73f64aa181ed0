// Tx: into the outbox of its port. A stage, so that what an earlier stage sends itself (fragments,
// an answer) keeps its place among the other packets of the batch.
#pragma once

#include <string_view>

#include "dataplane/verdict.h"
#include "dataplane/worker.h"

namespace podwire::stages {

struct Tx {
  static constexpr std::string_view name = "tx";
  static Verdict decide(Packet& p, Worker& w) noexcept {
    w.send(p.mbuf, p.out_port);
    return Verdict::taken();
  }
};

}  // namespace podwire::stages
