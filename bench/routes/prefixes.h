// Prefixes as a table of the whole Internet has them: by far the most are /24, few are shorter than
// /16; scattered at random, each once, the same for a seed.
#pragma once

#include <cstdint>
#include <random>
#include <set>
#include <vector>

#include "dataplane/net/address.h"

namespace podwire::bench {

[[nodiscard]] inline std::uint8_t random_length(std::mt19937& random) {
  // In thousandths, of about what bgp.potaroo.net/as2.0 shows: /24, /23, /22, /21, /20, /19, ...
  struct Part {
    unsigned up_to;
    std::uint8_t length;
  };
  static constexpr Part kParts[] = {{590, 24}, {690, 23}, {800, 22}, {850, 21}, {895, 20},
                                    {920, 19}, {935, 18}, {945, 17}, {960, 16}, {964, 14},
                                    {980, 28}, {990, 30}, {1000, 32}};
  const unsigned draw = random() % 1000;
  for (const Part& part : kParts) {
    if (draw < part.up_to) return part.length;
  }
  return 24;
}

[[nodiscard]] inline std::vector<net::Prefix> random_prefixes(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::set<net::Prefix> all;
  while (all.size() < count) {
    const auto address = static_cast<std::uint32_t>(0x01000000U + random() % 0xde000000U);
    all.insert(
        net::Prefix::around(net::Address::from_v4(net::be32(address)), random_length(random)));
  }
  return {all.begin(), all.end()};
}

// An address of a random one of them.
[[nodiscard]] inline net::Address random_address(const std::vector<net::Prefix>& prefixes,
                                                 std::mt19937& random) {
  const net::Prefix& prefix = prefixes[random() % prefixes.size()];
  const std::uint32_t host =
      prefix.length == 32 ? 0 : static_cast<std::uint32_t>(random()) >> prefix.length;
  return net::Address::from_v4(net::be32(prefix.address.v4().host() | host));
}

}  // namespace podwire::bench
