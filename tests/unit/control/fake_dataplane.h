// A dataplane without packets for tests of control: ports that are up or down, counters to set,
// flows to list. And a bench around it that plays the loop.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/log.h"
#include "control/loop_hooks.h"
#include "control/state.h"

namespace podwire::control {

inline net::Address ip(const char* text) {
  return *net::Address::parse(text);
}

class FakePort : public io::Port {
 public:
  [[nodiscard]] unsigned queues() const noexcept override { return 1; }
  unsigned receive(unsigned, std::span<rte_mbuf*>) noexcept override { return 0; }
  unsigned transmit(unsigned, std::span<rte_mbuf*>) noexcept override { return 0; }
  [[nodiscard]] int wait_descriptor(unsigned) const noexcept override { return -1; }
  [[nodiscard]] bool up() const noexcept override { return is_up; }
  [[nodiscard]] const char* kind() const noexcept override { return "tap"; }
  [[nodiscard]] Extra extra() const noexcept override { return counts; }
  bool is_up = true;
  Extra counts;
};

class FakeDataplane : public DataplaneLink {
 public:
  void publish(std::unique_ptr<const tables::Snapshot>) override {}
  std::size_t reclaim() override { return 0; }
  Result<std::shared_ptr<io::Port>> open_tap(const TapRequest& request) override {
    if (!open_error.empty()) return fail(open_error);
    taps.insert({request.netns, request.interface});
    return std::make_shared<FakePort>();
  }
  Result<void> remove_tap(const std::string& netns, const std::string& interface) override {
    taps.erase({netns, interface});
    return {};
  }
  Result<std::shared_ptr<io::Port>> open_memif(const MemifRequest& request) override {
    if (!open_error.empty()) return fail(open_error);
    memifs.push_back(request);
    return without_peer();
  }
  Result<std::shared_ptr<io::Port>> open_vhost_user(const VhostUserRequest& request) override {
    if (!open_error.empty()) return fail(open_error);
    vhost_users.insert(request.path);
    return without_peer();
  }
  [[nodiscard]] std::shared_ptr<io::Port> uplink() override { return nullptr; }
  [[nodiscard]] std::shared_ptr<io::Port> host_tap() override { return nullptr; }
  [[nodiscard]] net::Mac uplink_mac() override { return {}; }
  [[nodiscard]] std::string uplink_kernel_device() override { return {}; }
  [[nodiscard]] std::uint16_t uplink_largest_mtu() override { return 65521; }
  [[nodiscard]] unsigned workers() override {
    return static_cast<unsigned>(worker_counters.size());
  }
  [[nodiscard]] const observe::WorkerCounters& counters(unsigned worker) override {
    return *worker_counters[worker];
  }
  void poll_events(const std::function<void(const observe::Event&)>&) override {}
  [[nodiscard]] std::uint64_t events_lost() override { return 3; }
  [[nodiscard]] std::uint32_t now_seconds() override { return 0; }
  [[nodiscard]] std::uint64_t cycles_per_second() override { return 1'000'000'000; }
  std::vector<observe::FlowRow> flows(
      std::size_t limit, const std::function<bool(const observe::FlowRow&)>& wanted) override {
    std::vector<observe::FlowRow> found;
    for (const auto& row : rows) {
      if (found.size() < limit && wanted(row)) found.push_back(row);
    }
    return found;
  }
  void erase_flows(observe::FlowCursor& at,
                   const std::function<bool(const observe::FlowRow&)>& ends) override {
    std::erase_if(rows, ends);
    at.at_end = true;
  }
  [[nodiscard]] std::vector<TableFill> fills() override { return {{"flows_v4", 7, 1024}}; }

  static std::shared_ptr<io::Port> without_peer() {
    auto port = std::make_shared<FakePort>();
    port->is_up = false;
    return port;
  }
  void add_worker() { worker_counters.push_back(std::make_unique<observe::WorkerCounters>()); }

  std::string open_error;
  std::set<std::pair<std::string, std::string>> taps;
  std::vector<MemifRequest> memifs;
  std::set<std::string> vhost_users;  // paths
  std::vector<observe::FlowRow> rows;
  std::vector<std::unique_ptr<observe::WorkerCounters>> worker_counters;
};

class TemporaryFolder {
 public:
  TemporaryFolder() {
    char name[] = "/tmp/podwire-test-XXXXXX";
    path = mkdtemp(name);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string path;
};

// Node n1 with 10.0.0.0/29 and fd00::/125, the Pod default/web on it, everything synced.
class Bench {
 public:
  Bench() : config(make_config(folder)), state{config, dataplane} {
    set_log_level(LogLevel::error);
    dataplane.add_worker();
    kube::Node node;
    node.meta.name = "n1";
    node.pod_cidrs = {*net::Prefix::parse("10.0.0.0/29"), *net::Prefix::parse("fd00::/125")};
    state.store.nodes["n1"] = node;
    add_pod("web");
    state.store.synced = true;
    state.source = "manifests /m";
    state.source_healthy = true;
    state.started = std::chrono::steady_clock::now();
    publish();
  }

  kube::Pod& add_pod(const std::string& name) {
    kube::Pod pod;
    pod.meta.ns = "default";
    pod.meta.name = name;
    pod.node_name = "n1";
    return state.store.pods["default/" + name] = pod;
  }

  LoopHooks hooks() {
    return {
        .attachments_changed = [this] { changed = true; },
        .when_in_force = [this](std::function<void()> call) { waiting.push_back(std::move(call)); },
        .end_flows =
            [this](const std::function<bool(const observe::FlowRow&)>& ends,
                   const std::function<void()>& then) {
              std::erase_if(dataplane.rows, ends);
              then();
            }};
  }

  // What the loop does: a snapshot with every attachment's port, then those who wait.
  void publish() {
    auto ports = std::make_shared<tables::PortTable>();
    ports->ports.resize(2);
    for (const auto& attachment : state.attachments) {
      if (attachment.port == nullptr || port_table_full) continue;
      tables::PortInfo info;
      info.role = tables::PortRole::pod;
      info.name = attachment.pod + "/" + attachment.interface;
      info.port = attachment.port;
      ports->ports.push_back(info);
    }
    auto snapshot = std::make_unique<tables::Snapshot>();
    snapshot->generation = ++state.publishes;
    snapshot->synced = state.store.synced;
    snapshot->ports = ports;
    snapshot->services = services;
    snapshot->policies = std::make_shared<tables::PolicyTable>();
    snapshot->routes = routes;
    in_force = std::move(snapshot);
    state.snapshot = in_force.get();
    changed = false;
    for (auto calls = std::move(waiting); auto& call : calls) call();
  }

  // Until nobody waits any more.
  void settle() {
    while (!waiting.empty()) publish();
  }

  static Config make_config(const TemporaryFolder& folder) {
    Config config;
    config.node_name = "n1";
    config.run_dir = folder.path + "/run";
    config.state_dir = folder.path + "/state";
    config.metrics_address = "";
    config.healthz_address = "";
    return config;
  }

  TemporaryFolder folder;
  Config config;
  FakeDataplane dataplane;
  State state;
  std::vector<std::function<void()>> waiting;
  bool changed = false, port_table_full = false;
  std::shared_ptr<tables::ServiceTable> services = std::make_shared<tables::ServiceTable>();
  std::shared_ptr<tables::RouteTable> routes = std::make_shared<tables::RouteTable>();
  std::unique_ptr<tables::Snapshot> in_force;
};

}  // namespace podwire::control
