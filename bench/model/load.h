// How a NIC's receive side scaling spreads flows over workers: the real Toeplitz hash with the
// standard key over real tuples, an indirection table, and packets drawn over flows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace podwire::bench {

struct LoadShape {
  std::uint32_t flows = 100'000;
  std::string distribution = "uniform";  // uniform, zipf or elephant
  double elephant_share = 0.2;           // of all packets, one flow's
  std::uint32_t table_size = 128;        // RETA
};

// Packets of each entry of the indirection table, as shares of 1.
[[nodiscard]] std::vector<double> table_shares(const LoadShape& shape);

// Which worker each entry goes to: entry i to worker i % workers, as drivers set it up; or spread
// so that the fullest worker has little, as one who moves entries under load does (RSS++).
[[nodiscard]] std::vector<unsigned> assign_plainly(std::size_t entries, unsigned workers);
[[nodiscard]] std::vector<unsigned> assign_by_load(const std::vector<double>& shares,
                                                   unsigned workers);

// Shares of the workers under an assignment.
[[nodiscard]] std::vector<double> worker_shares(const std::vector<double>& shares,
                                                const std::vector<unsigned>& assignment,
                                                unsigned workers);

}  // namespace podwire::bench
