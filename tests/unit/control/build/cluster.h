// A small cluster, and the builder of its node "n1" run over it.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "control/build/builder.h"
#include "control/manifests/manifest_file.h"
#include "control/store_writer.h"
#include "dataplane/check.h"

namespace podwire::control::build {

// A port that nobody polls.
class IdlePort final : public io::Port {
 public:
  [[nodiscard]] unsigned queues() const noexcept override { return 1; }
  unsigned receive(unsigned, std::span<rte_mbuf*>) noexcept override { return 0; }
  unsigned transmit(unsigned, std::span<rte_mbuf*>) noexcept override { return 0; }
  [[nodiscard]] int wait_descriptor(unsigned) const noexcept override { return -1; }
  [[nodiscard]] bool up() const noexcept override { return true; }
  [[nodiscard]] const char* kind() const noexcept override { return "idle"; }
};

inline net::Address ip(const std::string& text) {
  return *net::Address::parse(text);
}
inline net::Prefix prefix(const std::string& text) {
  return *net::Prefix::parse(text);
}

struct Cluster {
  Config config;
  Store store;
  StoreWriter writer{store};
  std::vector<Attachment> attachments;
  LinuxState linux_state;
  std::shared_ptr<io::Port> uplink = std::make_shared<IdlePort>();
  std::shared_ptr<io::Port> host_tap = std::make_shared<IdlePort>();
  bool attachments_changed = false, linux_changed = false;
  std::unique_ptr<Builder> builder;
  Built built;

  Cluster() {
    config.node_name = "n1";
    store.synced = true;
    linux_state.addresses =
        linux_state.host_tap_addresses = {{ip("192.168.0.1"), 24}, {ip("fd99::1"), 64}};
    route("192.168.0.0/24", {{}});
    route("fd99::/64", {{}}, 256);
    route("0.0.0.0/0", {{"192.168.0.254"}});
  }

  // As `ip route append`. A gateway of "" is the link; over another device than the host tap when
  // `device` is not 1.
  struct Via {
    std::string gateway = "";
    std::uint32_t weight = 1;
    int device = 1;
    bool usable = true;
  };
  static LinuxPaths saying(const net::Prefix& to, const std::vector<Via>& vias) {
    LinuxPaths says;
    for (const Via& via : vias) {
      LinuxPath path;
      path.has_gateway = !via.gateway.empty();
      path.gateway = path.has_gateway ? ip(via.gateway) : ip(to.address.is_v4() ? "0.0.0.0" : "::");
      path.through_host_tap = via.device == 1;
      path.device = via.device;
      path.weight = via.weight;
      path.usable = via.usable;
      says.paths.push_back(path);
    }
    std::sort(says.paths.begin(), says.paths.end());
    says.blackhole = vias.empty();
    return says;
  }
  void route(const std::string& to, const std::vector<Via>& vias, std::uint32_t metric = 0,
             LinuxRoutes::Add how = LinuxRoutes::Add::append, std::uint8_t protocol = 3) {
    linux_state.routes->add(prefix(to), saying(prefix(to), vias), metric, protocol, how);
  }
  void replace(const std::string& to, const std::vector<Via>& vias, std::uint8_t protocol = 3) {
    route(to, vias, 0, LinuxRoutes::Add::replace, protocol);
  }
  void unroute(const std::string& to, const std::vector<Via>& vias, std::uint32_t metric = 0,
               std::uint8_t protocol = 3) {
    linux_state.routes->remove(prefix(to), saying(prefix(to), vias), metric, protocol);
  }

  // Objects from a manifest; what it says must be right.
  void apply(const std::string& yaml) {
    auto content = manifests::read_manifest("test.yaml", yaml);
    for (const auto& problem : content.problems) abort_with(problem.text.c_str(), __FILE__, 0);
    for (auto& object : content.objects) writer.put(std::move(object.object));
  }
  Attachment& attach(const std::string& pod, const std::vector<std::string>& ips) {
    Attachment a;
    a.container_id = "c-" + pod;
    a.interface = "eth0";
    a.pod = pod;
    a.mac = *net::Mac::parse("02:00:00:00:00:09");
    for (const std::string& text : ips) a.ips.push_back(ip(text));
    a.port = std::make_shared<IdlePort>();
    attachments_changed = true;
    return attachments.emplace_back(std::move(a));
  }
  void detach(const std::string& pod) {
    std::erase_if(attachments, [&](const Attachment& a) { return a.pod == pod; });
    attachments_changed = true;
  }

  const tables::Snapshot& build() {
    const bool first = builder == nullptr;
    if (first) builder = std::make_unique<Builder>(config);
    const Changes changes = writer.take_changes();
    built =
        builder->build({store, changes, attachments, first || attachments_changed, linux_state,
                        first || linux_changed, uplink, host_tap,
                        *net::Mac::parse("02:00:00:00:00:01"), linux_state.routes->take_changes()});
    attachments_changed = linux_changed = false;
    return *built.snapshot;
  }
  [[nodiscard]] std::string problems() const {
    std::string all;
    for (const Problem& p : built.problems) all += p.object + ": " + p.sentence + "\n";
    return all;
  }
};

}  // namespace podwire::control::build
