// count: opens connections and ends, for tests/bench/test_instructions.py, which runs it under
// callgrind and has it count inside Worker::process only.
#include <cstdio>
#include <string>

#include "bench/lib/record.h"
#include "bench/new_flows/traffic.h"
#include "bench/path/node.h"

int main(int argc, char** argv) {
  using namespace podwire;
  constexpr std::uint32_t kFlows = 4096;
  const std::string name = argc == 2 ? argv[1] : "";
  if (name != "new_udp" && name != "new_tcp") bench::stop("count", "give new_udp or new_tcp", 2);
  test::start_eal();
  bench::make_packet_pool();
  bench::Client client(
      {.limit = 100'000, .protocol = static_cast<std::uint8_t>(name == "new_tcp" ? 6 : 17)});
  client.open(0, kFlows);
  std::printf("%u\n", kFlows);
  return 0;
}
