// Which flows policy no longer lets pass. Workers judge a flow again at its next packet; one of
// which none comes would stay in the table until it times out, and podwirectl would show it as
// allowed.
#pragma once

#include <functional>

#include "dataplane/observe/flow_row.h"
#include "dataplane/tables/snapshot.h"

namespace podwire::control {

// By the snapshot's policies, which it keeps alive. Any thread.
std::function<bool(const observe::FlowRow&)> denied_flows(const tables::Snapshot& snapshot);

}  // namespace podwire::control
