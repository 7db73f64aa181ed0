// A snapshot as text that depends on what it says only, not on how it came about: numbers of ports,
// next hops, Services and identities are replaced by what they stand for.
#pragma once

#include <string>
#include <vector>

#include "dataplane/tables/snapshot.h"

namespace podwire::tests {

// What policy is asked about; every pair of addresses with every place.
struct Probes {
  std::vector<net::Address> addresses;
  std::vector<std::pair<std::uint8_t, std::uint16_t>> places;  // protocol, port
};
std::string dump(const tables::Snapshot& snapshot, const Probes& probes);

}  // namespace podwire::tests
