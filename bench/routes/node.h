// A node's builder over Linux's routes, as podwired has it.
#pragma once

#include <utility>

#include "control/build/builder.h"
#include "control/store_writer.h"

namespace podwire::bench {

class RouteNode {
 public:
  RouteNode() : builder_(config_) {
    config_.node_name = "n1";
    store_.synced = true;
  }
  // A build as after events of Linux: of what changed in `linux_state`.
  void build(const control::LinuxState& linux_state, bool others_changed) {
    const control::Changes changes;
    built_ = builder_.build({.store = store_,
                             .changes = changes,
                             .attachments = attachments_,
                             .attachments_changed = false,
                             .linux_state = linux_state,
                             .linux_changed = others_changed,
                             .uplink = nullptr,
                             .host_tap = nullptr,
                             .uplink_mac = {},
                             .changed_routes = linux_state.routes->take_changes()});
  }
  [[nodiscard]] const tables::RouteTable& table() const { return *built_.snapshot->routes; }

 private:
  control::Config config_;
  control::Store store_;
  std::vector<control::Attachment> attachments_;
  control::build::Builder builder_;
  control::build::Built built_;
};

}  // namespace podwire::bench
