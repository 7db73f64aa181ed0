// (objects, this node) -> snapshot. Keeps the tables of the last build and changes only what the
// changes name, so that one endpoint costs work for its Service. Control thread only.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "control/attachments.h"
#include "control/config.h"
#include "control/linux_state.h"
#include "control/store.h"
#include "dataplane/observe/flow_row.h"
#include "dataplane/tables/snapshot.h"

namespace podwire::control::build {

struct Inputs {
  const Store& store;
  const Changes& changes;  // since the last build
  const std::vector<Attachment>& attachments;
  bool attachments_changed = false;
  const LinuxState& linux_state;
  bool linux_changed = false;  // anything but routes
  std::shared_ptr<io::Port> uplink, host_tap;
  net::Mac uplink_mac;
  std::vector<net::Prefix> changed_routes = {};  // LinuxRoutes::take_changes()
};

// A message about an object that is well formed but contradicts another, or cannot be served.
struct Problem {
  std::string object;  // "Service default/web"
  std::string sentence;
  bool operator==(const Problem&) const = default;
};

struct Built {
  std::unique_ptr<const tables::Snapshot> snapshot;
  std::vector<Problem> problems;  // all that hold now, not only new ones
  // UDP flows to end once the snapshot is in force (kubernetes pkg/proxy/conntrack/cleanup.go);
  // null: none.
  std::function<bool(const observe::FlowRow&)> stale_flows;
  // Next hops on the link whose Ethernet address Linux should find out.
  std::vector<net::Address> wanted_neighbours;
};

class Builder {
 public:
  explicit Builder(const Config& config);
  ~Builder();
  Built build(const Inputs& inputs);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace podwire::control::build
