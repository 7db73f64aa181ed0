// count: passes one case's packets once and ends, for tests/bench/test_instructions.py, which runs
// it under callgrind and has it count inside Lane::pass only.
#include <cstdio>
#include <cstring>

#include "bench/lib/draw.h"
#include "bench/lib/record.h"
#include "bench/path/node.h"

int main(int argc, char** argv) {
  using namespace podwire;
  constexpr std::uint32_t kFlows = 1000;
  constexpr unsigned kWindows = 16;
  if (argc != 2) bench::stop("count", "give the name of one case of bench/path", 2);
  const test::FlowCase* wanted = nullptr;
  for (const auto& c : test::flow_cases()) {
    if (std::strcmp(argv[1], c.name) == 0) wanted = &c;
  }
  if (wanted == nullptr) bench::stop("count", std::string("no case ") + argv[1], 2);
  test::start_eal();
  bench::make_packet_pool();
  bench::Node node(*wanted, kFlows);
  bench::Lane lane(node, *wanted);
  const auto sequence = bench::draw("sequential", kFlows, kFlows * 4);
  for (unsigned n = 0; n < kWindows; ++n) {
    lane.load(sequence);
    lane.pass(bench::kWindow);
  }
  std::printf("%u\n", kWindows * bench::kWindow);
  return 0;
}
