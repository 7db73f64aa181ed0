#include "dataplane/tables/routes.h"

#include <algorithm>
#include <cmath>

namespace podwire::tables {
namespace {

std::uint64_t mixed(std::uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdULL;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ULL;
  return x ^ x >> 33;
}

// The least wins a place: exponentially distributed, with the weight as its rate.
double bid(const PathGroup::Path& path, unsigned place) {
  const std::uint64_t draw = mixed(path.identity + mixed(place + 1)) >> 11;  // 53 bits
  return -std::log((static_cast<double>(draw) + 0.5) * 0x1p-53) / path.weight;
}

}  // namespace

PathGroup::PathGroup(const std::vector<Path>& paths) : paths_(paths) {
  for (unsigned place = 0; place < kPlaces; ++place) {
    double least = HUGE_VAL;
    for (const Path& path : paths_) {
      const double bids = bid(path, place);
      if (bids >= least) continue;
      least = bids;
      places_[place] = path.id;
    }
  }
}

unsigned PathGroup::places_of(NextHopId id) const noexcept {
  return static_cast<unsigned>(std::count(places_.begin(), places_.end(), id));
}

bool RouteTable::is_tunnel_peer(net::be32 address) const noexcept {
  return std::binary_search(tunnel_peers.begin(), tunnel_peers.end(), address,
                            [](net::be32 a, net::be32 b) { return a.raw() < b.raw(); });
}

}  // namespace podwire::tables
