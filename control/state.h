// What the control loop knows at this moment, for podwirectl and metrics to read. Control thread
// only.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "control/attachments.h"
#include "control/bgp/bgp_state.h"
#include "control/build/builder.h"
#include "control/config.h"
#include "control/dataplane_link.h"
#include "control/denial_counts.h"
#include "control/linux_state.h"
#include "control/object_source.h"
#include "control/publish/sync_record.h"
#include "control/store.h"

namespace podwire::control {

struct State {
  const Config& config;
  DataplaneLink& dataplane;
  Store store{};
  std::vector<Attachment> attachments{};
  LinuxState linux_state{};
  // What other nodes are to send here: this node's pod ranges, its blocks, and each pod's and the
  // tunnel's address that lies in none of them. In order.
  std::vector<net::Prefix> own_prefixes{};
  // The snapshot in force (owned by the dataplane; valid on the control thread until the next
  // publish).
  const tables::Snapshot* snapshot = nullptr;
  // Input that was refused and still is: by its place ("services.yaml:12: Service default/web:
  // ...").
  std::vector<std::string> input_problems{};
  std::vector<build::Problem> build_problems{};
  std::string source{};  // "manifests /etc/podwire/manifests"
  bool source_healthy = false;
  std::string source_trouble{};                 // why it cannot be read now; empty: it can
  const ObjectSource* object_source = nullptr;  // null until it is started
  std::chrono::steady_clock::time_point started{}, last_publish{};
  std::uint64_t publishes = 0;
  SyncRecord sync{};
  std::chrono::microseconds last_build_time{0};
  DenialCounts denials{};  // gathered when config.count_policy_drops
  void gather_denials() {
    if (config.count_policy_drops && snapshot != nullptr) {
      denials.gather(dataplane, *snapshot->policies);
    }
  }
  bgp::BgpState bgp{};
  std::string tunnel_trouble{};       // why this node has no tunnel address that it should have
  std::uint64_t changes_refused = 0;  // objects refused since start
};

}  // namespace podwire::control
