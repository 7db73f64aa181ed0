#include "tests/attack/attacked_node.h"

#include <rte_mempool.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <iostream>

#include "dataplane/check.h"
#include "dataplane/io/sigbus_guard.h"
#include "dataplane/stage.h"
#include "dataplane/worker_loop.h"

namespace podwire::test {
namespace {

constexpr std::uint64_t kOne = 1;

unsigned pools_in_use(const Shared& shared) {
  return rte_mempool_in_use_count(shared.packet_pool) + rte_mempool_in_use_count(shared.large_pool);
}

std::string without_quotes(std::string text) {
  for (char& c : text) {
    if (c == '"' || c == '\\') c = '\'';
  }
  return text;
}

}  // namespace

void stop(const NodeOptions& options, const std::string& sentence) {
  std::cerr << options.program << ": " << sentence << '\n';
  std::exit(2);
}

NodeOptions read_options(NodeOptions options, int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto number = [&] {
      if (++i == argc) stop(options, word + " needs a number");
      return static_cast<unsigned>(std::strtoul(argv[i], nullptr, 10));
    };
    if (word == "--workers") {
      options.workers = number();
    } else if (word == "--queues") {
      options.queues = number();
    } else if (word == "--ring") {
      options.log2_ring_size = number();
    } else if (word == "--buffers") {
      options.buffers = number();
    } else if (word == "--spin") {
      options.sleeps = false;
    } else if (const auto mark = word.find('='); mark == 1) {
      options.pods.emplace_back(word.substr(0, 1), word.substr(2));
    } else {
      stop(options, "what is \"" + word + "\"?");
    }
  }
  return options;
}

std::unique_ptr<World> make_world(const NodeOptions& options) {
  start_eal(options.memory_mb);
  // The World finds them by their names.
  if (rte_pktmbuf_pool_create("packets", options.buffers, 256, 0, 2048 + RTE_PKTMBUF_HEADROOM,
                              SOCKET_ID_ANY) == nullptr ||
      (options.large_buffers > 0 && rte_pktmbuf_pool_create("large", options.large_buffers, 32, 0,
                                                            65535, SOCKET_ID_ANY) == nullptr)) {
    stop(options, "no memory for packet buffers");
  }
  return std::make_unique<World>(options.workers, [&](DataplaneConfig& config) {
    config.sleep_when_idle = options.sleeps;
    config.flows_v4 = config.flows_v6 = 65536;
  });
}

AttackedNode::AttackedNode(const NodeOptions& options, World& world)
    : options_(options), world_(world) {
  world_.publish();
  for (unsigned i = 0; i < options.workers; ++i) start_worker(i);
}

AttackedNode::~AttackedNode() {
  world_.shared().stop.store(true);
  for (const int wake : wakes_) check(write(wake, &kOne, sizeof kOne) == sizeof kOne, "wake");
  for (auto& thread : threads_) thread.join();
  // Before the World goes, which ports count their workers by.
  for (const auto& pod : options_.pods) {
    world_.ports.ports[world_.port_id(pod.first)].port = nullptr;
  }
  world_.publish();
}

void AttackedNode::start_worker(unsigned index) {
  wakes_.push_back(eventfd(0, EFD_CLOEXEC));
  world_.shared().quiescence.offline(index);
  threads_.emplace_back([this, index, wake = wakes_.back()] {
    check(rte_thread_register() == 0, "DPDK has a place for the worker");
    WorkerLoop(world_.worker(index), options_.workers, wake).run();
    rte_thread_unregister();
  });
}

void AttackedNode::run() {
  std::cout << "ready" << std::endl;
  std::string line;
  while (std::getline(std::cin, line)) print();
}

void AttackedNode::print() const {
  print_totals();
  const char* comma = "";
  for (const auto& pod : options_.pods) {
    std::cout << comma;
    print_port(pod.first);
    comma = ",";
  }
  std::cout << "}}" << std::endl;
}

void AttackedNode::print_totals() const {
  std::uint64_t received = 0, originated = 0, sent = 0, dropped = 0, holding = 0, sleeps = 0;
  std::array<std::uint64_t, kReasons> drops{};
  for (unsigned i = 0; i < options_.workers; ++i) {
    const auto& counters = world_.worker(i).counters;
    received += counters.received.read();
    originated += counters.originated.read();
    sent += counters.sent.read();
    holding += counters.holding.read();
    sleeps += counters.sleeps.read();
    for (std::size_t r = 0; r < kReasons; ++r) drops[r] += counters.drops[r].read();
  }
  for (const std::uint64_t each : drops) dropped += each;
  std::cout << "{\"received\":" << received << ",\"originated\":" << originated
            << ",\"sent\":" << sent << ",\"dropped\":" << dropped << ",\"holding\":" << holding
            << ",\"sleeps\":" << sleeps << ",\"watched\":" << io::watched_ranges()
            << ",\"buffers\":" << pools_in_use(world_.shared()) << ",\"drops\":{";
  const char* comma = "";
  for (std::size_t r = 0; r < kReasons; ++r) {
    if (drops[r] == 0) continue;
    std::cout << comma << '"' << kReasonNames[r] << "\":" << drops[r];
    comma = ",";
  }
  std::cout << "},\"ports\":{";
}

void AttackedNode::print_port(const std::string& name) const {
  const PortId id = world_.port_id(name);
  const io::Port& port = *world_.ports.ports[id].port;
  std::uint64_t received = 0, sent = 0, received_bytes = 0, sent_bytes = 0;
  for (unsigned i = 0; i < options_.workers; ++i) {
    const auto& counters = world_.worker(i).counters.ports[id];
    received += counters.rx_packets.read();
    sent += counters.tx_packets.read();
    received_bytes += counters.rx_bytes.read();
    sent_bytes += counters.tx_bytes.read();
  }
  const auto extra = port.extra();
  std::cout << '"' << name << "\":{\"up\":" << (port.up() ? "true" : "false")
            << ",\"down_reason\":\"" << without_quotes(port.down_reason())
            << "\",\"missed\":" << extra.missed << ",\"unsent\":" << extra.unsent
            << ",\"made\":" << extra.originated << ",\"rx\":" << received << ",\"tx\":" << sent
            << ",\"rx_bytes\":" << received_bytes << ",\"tx_bytes\":" << sent_bytes << '}';
}

}  // namespace podwire::test
