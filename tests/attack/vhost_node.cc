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
#include <rte_mempool.h>
#include <sys/eventfd.h>

#include <cstdlib>
#include <iostream>
#include <thread>

#include "dataplane/check.h"
#include "dataplane/io/tap.h"
#include "dataplane/io/vhost_user.h"
#include "dataplane/stage.h"
#include "dataplane/worker_loop.h"
#include "tests/lib/world.h"

namespace podwire::test {
namespace {

struct Options {
  unsigned workers = 1, queues = 1, buffers = 16383;
  bool sleeps = true;
  std::vector<std::pair<std::string, std::string>> pods;
};

[[noreturn]] void stop(const std::string& sentence) {
  std::cerr << "vhost_node: " << sentence << '\n';
  std::exit(2);
}

Options read_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto number = [&] {
      if (++i == argc) stop(word + " needs a number");
      return static_cast<unsigned>(std::strtoul(argv[i], nullptr, 10));
    };
    if (word == "--workers") {
      options.workers = number();
    } else if (word == "--queues") {
      options.queues = number();
    } else if (word == "--buffers") {
      options.buffers = number();
    } else if (word == "--spin") {
      options.sleeps = false;
    } else if (const auto mark = word.find('='); mark == 1) {
      options.pods.emplace_back(word.substr(0, 1), word.substr(2));
    } else {
      stop("what is \"" + word + "\"?");
    }
  }
  return options;
}

class VhostNode {
 public:
  explicit VhostNode(const Options& options) : options_(options), world_(make_world(options)) {
    world_->add_cluster_ip(17, "10.96.0.10:53", {"10.244.1.3:5300"});
    world_->add_cluster_ip(6, "10.96.0.10:5201", {"10.244.1.3:5201"});
    world_->add_cluster_ip(17, "10.96.0.11:53", {"10.244.1.2:5300"});
    std::vector<World::Allowed> allowed;
    for (const std::uint8_t protocol : {1, 6, 17}) {
      allowed.push_back({.peers = {"10.244.1.2/32", "10.244.1.4/32"}, .protocol = protocol});
    }
    world_->isolate("b", true, allowed);
    for (const auto& pod : options.pods) open(pod.first, pod.second);
    world_->publish();
    for (unsigned i = 0; i < options.workers; ++i) start_worker(i);
  }

  ~VhostNode() {
    world_->shared().stop.store(true);
    for (const int wake : wakes_) check(write(wake, &kOne, sizeof kOne) == sizeof kOne, "wake");
    for (auto& thread : threads_) thread.join();
  }
  VhostNode(const VhostNode&) = delete;
  VhostNode& operator=(const VhostNode&) = delete;

  void print() {
    std::uint64_t received = 0, originated = 0, sent = 0, dropped = 0, holding = 0, sleeps = 0;
    std::array<std::uint64_t, kReasons> drops{};
    for (unsigned i = 0; i < options_.workers; ++i) {
      const auto& counters = world_->worker(i).counters;
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
              << ",\"buffers\":" << buffers_in_use() << ",\"drops\":{";
    const char* comma = "";
    for (std::size_t r = 0; r < kReasons; ++r) {
      if (drops[r] == 0) continue;
      std::cout << comma << '"' << kReasonNames[r] << "\":" << drops[r];
      comma = ",";
    }
    std::cout << "},\"ports\":{";
    comma = "";
    for (const auto& pod : options_.pods) {
      std::cout << comma;
      print_port(pod.first);
      comma = ",";
    }
    std::cout << "}}" << std::endl;
  }

 private:
  static constexpr std::uint64_t kOne = 1;

  // With a cache for each worker, as podwired's pools have; the World finds it by its name.
  static std::unique_ptr<World> make_world(const Options& options) {
    start_eal(256);
    if (rte_pktmbuf_pool_create("packets", options.buffers, 256, 0, 2048 + RTE_PKTMBUF_HEADROOM,
                                SOCKET_ID_ANY) == nullptr ||
        rte_pktmbuf_pool_create("large", 511, 32, 0, 65535, SOCKET_ID_ANY) == nullptr) {
      stop("no memory for packet buffers");
    }
    return std::make_unique<World>(options.workers, [&](DataplaneConfig& config) {
      config.sleep_when_idle = options.sleeps;
      config.flows_v4 = config.flows_v6 = 65536;
    });
  }

  void open(const std::string& name, const std::string& where) {
    auto& info = world_->ports.ports[world_->port_id(name)];
    Shared& shared = world_->shared();
    Result<std::shared_ptr<io::Port>> port;
    if (where.starts_with("tap:")) {
      port = io::TapPort::open({.netns = where.substr(4),
                                .interface = "eth0",
                                .mac = info.mac,
                                .mtu = info.mtu,
                                .persistent = true,
                                .queues = options_.workers},
                               *shared.packet_pool, *shared.large_pool, "tap");
    } else {
      port = io::VhostUserPort::open({.path = where, .queues = options_.queues},
                                     *shared.packet_pool, *shared.large_pool);
    }
    if (!port) stop(port.error().message);
    info.port = *port;
    ++world_->ports.generation;
  }

  void start_worker(unsigned index) {
    wakes_.push_back(eventfd(0, EFD_CLOEXEC));
    world_->shared().quiescence.offline(index);
    threads_.emplace_back([this, index, wake = wakes_.back()] {
      check(rte_thread_register() == 0, "DPDK has a place for the worker");
      WorkerLoop(world_->worker(index), options_.workers, wake).run();
      rte_thread_unregister();
    });
  }

  [[nodiscard]] unsigned buffers_in_use() {
    Shared& shared = world_->shared();
    return rte_mempool_in_use_count(shared.packet_pool) +
           rte_mempool_in_use_count(shared.large_pool);
  }

  void print_port(const std::string& name) {
    const PortId id = world_->port_id(name);
    const io::Port& port = *world_->ports.ports[id].port;
    std::uint64_t received = 0, sent = 0, received_bytes = 0, sent_bytes = 0;
    for (unsigned i = 0; i < options_.workers; ++i) {
      const auto& counters = world_->worker(i).counters.ports[id];
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
  static std::string without_quotes(std::string text) {
    for (char& c : text) {
      if (c == '"' || c == '\\') c = '\'';
    }
    return text;
  }

  const Options options_;
  std::unique_ptr<World> world_;
  std::vector<int> wakes_;
  std::vector<std::thread> threads_;
};

}  // namespace
}  // namespace podwire::test

int main(int argc, char** argv) {
  podwire::test::VhostNode node(podwire::test::read_options(argc, argv));
  std::cout << "ready" << std::endl;
  std::string line;
  while (std::getline(std::cin, line)) node.print();
}
