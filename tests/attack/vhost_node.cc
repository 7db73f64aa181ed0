// A node whose pods are vhost-user peers, or kernel pods: the tables of tests/lib/world.h, the
// shipped drivers and the shipped worker loop. For tests and benches that need no uplink and no
// Kubernetes.
//
//   vhost_node [--workers N] [--queues N] [--buffers N] [--spin] NAME=SOCKET|tap:NETNS...
//
// NAME is a, b or c (10.244.1.2 to .4). 10.96.0.10 is a Service on b: UDP 53 on its port 5300, TCP
// 5201 on its port 5201; 10.96.0.11 one on a, which so can send to itself. Who may reach b is
// decided by policy: a and c may. Prints "ready", then answers each line of standard input with the
// counters as one line of JSON; ends with its input.
#include "dataplane/io/tap.h"
#include "dataplane/io/vhost_user.h"
#include "tests/attack/attacked_node.h"

namespace podwire::test {
namespace {

void open(const NodeOptions& options, World& world, const std::string& name,
          const std::string& where) {
  auto& info = world.ports.ports[world.port_id(name)];
  Shared& shared = world.shared();
  Result<std::shared_ptr<io::Port>> port;
  if (where.starts_with("tap:")) {
    port = io::TapPort::open({.netns = where.substr(4),
                              .interface = "eth0",
                              .mac = info.mac,
                              .mtu = info.mtu,
                              .persistent = true,
                              .queues = options.workers},
                             *shared.packet_pool, *shared.large_pool, "tap");
  } else {
    port = io::VhostUserPort::open({.path = where, .queues = options.queues}, *shared.packet_pool,
                                   *shared.large_pool);
  }
  if (!port) stop(options, port.error().message);
  info.port = *port;
  ++world.ports.generation;
}

void add_services(World& world) {
  world.add_cluster_ip(17, "10.96.0.10:53", {"10.244.1.3:5300"});
  world.add_cluster_ip(6, "10.96.0.10:5201", {"10.244.1.3:5201"});
  world.add_cluster_ip(17, "10.96.0.11:53", {"10.244.1.2:5300"});
  std::vector<World::Allowed> allowed;
  for (const std::uint8_t protocol : {1, 6, 17}) {
    allowed.push_back({.peers = {"10.244.1.2/32", "10.244.1.4/32"}, .protocol = protocol});
  }
  world.isolate("b", true, allowed);
}

}  // namespace
}  // namespace podwire::test

int main(int argc, char** argv) {
  using namespace podwire::test;
  const NodeOptions options = read_options(
      {.program = "vhost_node", .buffers = 16383, .large_buffers = 511, .memory_mb = 256}, argc,
      argv);
  const auto world = make_world(options);
  add_services(*world);
  for (const auto& pod : options.pods) open(options, *world, pod.first, pod.second);
  AttackedNode(options, *world).run();
}
