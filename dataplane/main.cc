// podwired: the one file that sees both halves.
#include <bit>

#include "control/config.h"
#include "control/dataplane_link.h"
#include "control/log.h"
#include "control/loop.h"
#include "dataplane/dataplane.h"

namespace podwire {
namespace {

// Control's view of the dataplane.
class Link final : public control::DataplaneLink {
 public:
  explicit Link(Dataplane& dataplane) : dataplane_(dataplane) {}

  void publish(std::unique_ptr<const tables::Snapshot> snapshot) override {
    dataplane_.publish(std::move(snapshot));
  }
  std::size_t reclaim() override { return dataplane_.reclaim(); }

  Result<std::shared_ptr<io::Port>> open_tap(const control::TapRequest& request) override {
    return dataplane_.open_tap({.netns = request.netns,
                                .interface = request.interface,
                                .mac = request.mac,
                                .mtu = request.mtu,
                                .persistent = request.persistent});
  }
  Result<void> remove_tap(const std::string& netns, const std::string& interface) override {
    return io::remove_tap_device(netns, interface);
  }
  Result<std::shared_ptr<io::Port>> open_memif(const control::MemifRequest& request) override {
    if (!std::has_single_bit(request.ring_size)) {
      return fail("memif socket \"" + request.socket + "\": ring size " +
                  std::to_string(request.ring_size) + " is no power of two");
    }
    io::MemifSpec spec;
    spec.address = {.netns = request.netns,
                    .socket = request.socket,
                    .owner = request.owner,
                    .group = request.group,
                    .mode = request.mode};
    spec.terms = {.role = request.client ? io::MemifRole::client : io::MemifRole::server,
                  .id = request.id,
                  .secret = request.secret,
                  .queues = request.queues,
                  .log2_ring_size = static_cast<unsigned>(std::countr_zero(request.ring_size)),
                  .buffer_bytes = io::kMemifBufferBytes};
    return dataplane_.open_memif(
        spec, [](const std::string& line) { control::log(control::LogLevel::info, line); });
  }
  Result<std::shared_ptr<io::Port>> open_vhost_user(
      const control::VhostUserRequest& request) override {
    return dataplane_.open_vhost_user({.path = request.path, .queues = request.queues});
  }
  std::shared_ptr<io::Port> uplink() override { return dataplane_.uplink(); }
  std::shared_ptr<io::Port> host_tap() override { return dataplane_.host_tap(); }
  net::Mac uplink_mac() override { return dataplane_.uplink()->mac(); }
  std::string uplink_kernel_device() override { return dataplane_.uplink()->kernel_device(); }
  std::uint16_t uplink_largest_mtu() override { return dataplane_.uplink()->largest_mtu(); }

  unsigned workers() override { return dataplane_.workers(); }
  const observe::WorkerCounters& counters(unsigned worker) override {
    return dataplane_.counters(worker);
  }
  void poll_events(const std::function<void(const observe::Event&)>& each) override {
    dataplane_.poll_events(each);
  }
  std::uint64_t events_lost() override { return dataplane_.events_lost(); }
  std::uint32_t now_seconds() override { return dataplane_.now_seconds(); }
  std::uint64_t cycles_per_second() override { return dataplane_.cycles_per_second(); }
  std::vector<observe::FlowRow> flows(
      std::size_t limit, const std::function<bool(const observe::FlowRow&)>& wanted) override {
    return dataplane_.flows(limit, wanted);
  }
  void erase_flows(observe::FlowCursor& at,
                   const std::function<bool(const observe::FlowRow&)>& ends) override {
    dataplane_.erase_flows(at, ends);
  }
  std::vector<TableFill> fills() override {
    std::vector<TableFill> fills;
    for (const auto& fill : dataplane_.fills()) {
      fills.push_back({fill.table, fill.used, fill.limit});
    }
    return fills;
  }

 private:
  Dataplane& dataplane_;
};

int run(const control::Config& config) {
  auto dataplane = Dataplane::start(config.dataplane);
  if (!dataplane) {
    control::log(control::LogLevel::error, dataplane.error().message);
    return 1;
  }
  if (const auto why = (*dataplane)->why_single_calls(); !why.empty()) {
    control::log(control::LogLevel::warning, "taps make a system call for each frame: " + why);
  }
  Link link(**dataplane);
  control::Loop loop(config, link);
  return loop.run();
}

}  // namespace
}  // namespace podwire

int main(int argc, char** argv) {
  const auto started = podwire::control::start_config(argc, argv);
  if (started.exit_now) return started.exit_code;
  return podwire::run(started.config);
}
