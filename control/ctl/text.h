// The reports as people read them: tables of text. Any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace podwire::control::ctl {

// What `routes` answers at most: a million would keep podwired busy for seconds.
inline constexpr std::size_t kMostRoutes = 10'000;

// Columns as wide as their widest cell; a column whose cells are all numbers stands to the right.
std::string table_text(const std::vector<std::string>& header,
                       const std::vector<std::vector<std::string>>& rows);

// `command` is one of podwirectl's; `result` what podwired answered to it. `all`: also the reasons
// of drops that never happened.
std::string report_text(const std::string& command, const nlohmann::json& result, bool all);

}  // namespace podwire::control::ctl
