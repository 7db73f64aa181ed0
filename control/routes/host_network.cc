#include "control/routes/host_network.h"

#include <utility>

#include "control/log.h"

namespace podwire::control::routes {

HostNetwork::HostNetwork(boost::asio::io_context& io, const Config& config, UplinkFacts uplink,
                         std::function<void()> changed)
    : mirror_(io, {config.dataplane.host_tap_name, uplink.largest_mtu}, config.routes_max,
              [this] {
                if (mirror_.take_own_changes() && learned_) routes_.settle(mirror_);
                changed_();
              }),
      link_(config.dataplane.host_tap_name, std::move(uplink.kernel_device), config.node_addresses),
      routes_(config),
      node_ports_(config.dataplane.host_tap_name),
      changed_(std::move(changed)) {}

Result<void> HostNetwork::start() {
  if (auto read = mirror_.start(); !read) return read;
  started_ = true;
  if (auto taken = link_.take(mirror_); !taken) return taken;
  return mirror_.read_now();
}

void HostNetwork::stop() {
  if (!std::exchange(started_, false)) return;
  if (const auto read = mirror_.read_now(); !read) log(LogLevel::warning, read.error().message);
  routes_.remove_all(mirror_);
  node_ports_.remove();
  if (const auto given = link_.give_back(mirror_); !given) {
    log(LogLevel::error, "the node's addresses stay on the host tap: " + given.error().message);
  }
  mirror_.stop();
}

void HostNetwork::follow(const Built& built) {
  const Changes& changes = built.changes;
  mirror_.want(built.wanted_neighbours);
  if (started_ && built.store.synced) node_ports_.follow(built.services, built.pods, changes);
  const bool due = !learned_ || changes.nodes || changes.ip_pools || changes.service_cidrs ||
                   !changes.services.empty() || built.own_prefixes != own_prefixes_;
  if (!due || !started_) return;
  own_prefixes_ = built.own_prefixes;
  routes_.learn(built.store, changes, own_prefixes_);
  // What a crash has left behind stays until it is known what is wanted.
  learned_ = built.store.synced;
  if (learned_) routes_.settle(mirror_);
}

}  // namespace podwire::control::routes
