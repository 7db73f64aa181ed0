// A node whose pods are memif peers: the tables of tests/lib/world.h, the shipped memif driver and
// the shipped worker loop. For tests and benches that need no root, no uplink and no Kubernetes.
//
//   memif_node [--workers N] [--queues N] [--ring LOG2] [--buffers N] [--spin]
//   NAME=SOCKET[,client]...
//
// NAME is a, b or c (10.244.1.2 to .4). UDP to 10.96.0.10:53 is a Service on b's port 5300; b lets
// a and c in, by policy. Prints "ready", then answers each line of standard input with the counters
// as one line of JSON; ends with its input.
#include <iostream>

#include "dataplane/io/memif_service.h"
#include "tests/attack/attacked_node.h"

namespace podwire::test {
namespace {

void open(io::MemifService& service, const NodeOptions& options, World& world,
          const std::string& name, const std::string& where) {
  io::MemifSpec spec;
  const auto comma = where.find(",client");
  spec.address.socket = where.substr(0, comma);
  if (comma != std::string::npos) spec.terms.role = io::MemifRole::client;
  spec.terms.queues = options.queues;
  spec.terms.log2_ring_size = options.log2_ring_size;
  spec.interrupts = options.sleeps;
  Shared& shared = world.shared();
  auto port = service.open(spec, options.workers, *shared.packet_pool, *shared.large_pool);
  if (!port) stop(options, port.error().message);
  world.ports.ports[world.port_id(name)].port = *port;
  ++world.ports.generation;
}

}  // namespace
}  // namespace podwire::test

int main(int argc, char** argv) {
  using namespace podwire;
  using namespace podwire::test;
  const NodeOptions options = read_options({.program = "memif_node"}, argc, argv);
  const auto world = make_world(options);
  world->add_cluster_ip(17, "10.96.0.10:53", {"10.244.1.3:5300"});
  world->isolate("b", true, {{.peers = {"10.244.1.2/32", "10.244.1.4/32"}}});
  auto service = io::MemifService::start(
      world->shared().quiescence, [](const std::string& line) { std::cerr << line << '\n'; });
  if (!service) stop(options, service.error().message);
  for (const auto& pod : options.pods) open(**service, options, *world, pod.first, pod.second);
  AttackedNode(options, *world).run();
}
