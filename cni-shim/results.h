// Results of CNI plugins in every version that has lists of addresses (0.3.0 on), and what a
// chained plugin makes of the one before it. Inside, a result is of 1.1.0 without cniVersion.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "control/cni/protocol.h"

namespace podwire::cni {

inline constexpr std::array kVersions = {"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"};
inline constexpr const char* kNewest = "1.1.0";
// 0 for a version that is not spoken; else its place in kVersions + 1.
std::size_t rank(const std::string& version);

// A foreign result with its lists in place and nothing of an older version in them; `place` begins
// the sentence about what is wrong with it.
std::optional<nlohmann::json> read_result(const nlohmann::json& result, const std::string& place,
                                          std::string& error);
// As version `version` has it.
nlohmann::json convert_result(nlohmann::json result, const std::string& version);
// What the plugins up to and with ours have made: `previous` stays, `own` comes after it.
nlohmann::json chain(nlohmann::json previous, const nlohmann::json& own);
// True when the result holds an interface of that name in that namespace.
bool has_interface(const nlohmann::json& result, const std::string& interface,
                   const std::string& netns);
// The addresses of that interface, with their lengths; an address that names no interface counts.
std::vector<std::string> addresses_of(const nlohmann::json& result, const std::string& interface,
                                      const std::string& netns);

}  // namespace podwire::cni
