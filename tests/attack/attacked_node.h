// What nodes whose pods are hostile peers have in common: options, workers, and their counters as
// one line of JSON for each line of standard input. The World is made first, its Services and ports
// added, and then the node runs until its input ends.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/lib/world.h"

namespace podwire::test {

struct NodeOptions {
  std::string program;  // for its sentences
  unsigned workers = 1, queues = 1, log2_ring_size = 10, buffers = 8191;
  unsigned large_buffers = 0;  // 0: the World's own
  unsigned memory_mb = 128;
  bool sleeps = true;
  std::vector<std::pair<std::string, std::string>> pods;  // NAME=WHERE: a, b or c
};

[[noreturn]] void stop(const NodeOptions& options, const std::string& sentence);

// [--workers N] [--queues N] [--buffers N] [--ring LOG2] [--spin] NAME=WHERE...; into the defaults.
NodeOptions read_options(NodeOptions options, int argc, char** argv);

// With a cache for each worker, as podwired's pools have.
std::unique_ptr<World> make_world(const NodeOptions& options);

class AttackedNode {
 public:
  // Publishes the World, whose pods have their ports, and starts the workers.
  AttackedNode(const NodeOptions& options, World& world);
  // The workers have ended and the ports are closed.
  ~AttackedNode();
  AttackedNode(const AttackedNode&) = delete;
  AttackedNode& operator=(const AttackedNode&) = delete;

  // "ready", then an answer to each line of standard input.
  void run();

 private:
  void start_worker(unsigned index);
  void print() const;
  void print_totals() const;
  void print_port(const std::string& name) const;

  const NodeOptions& options_;
  World& world_;
  std::vector<int> wakes_;
  std::vector<std::thread> threads_;
};

}  // namespace podwire::test
