// Which flow each packet is of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace podwire::bench {

inline constexpr const char* kDistributions = "uniform, zipf or sequential";
[[nodiscard]] bool is_distribution(const std::string& name);

// `count` draws of flows below `flows`, the same every time. zipf: the flow of rank r has weight
// r^-exponent, and ranks are spread over the flows by chance.
[[nodiscard]] std::vector<std::uint32_t> draw(const std::string& distribution, std::uint32_t flows,
                                              std::size_t count, double exponent = 1.1);

}  // namespace podwire::bench
