#include "control/change_log.h"

#include <algorithm>
#include <utility>

#include "control/log.h"

namespace podwire::control {

std::size_t ChangeLog::tell(std::vector<std::string> problems) {
  const auto before = std::exchange(now_, std::move(problems));
  const auto holds = [](const std::vector<std::string>& all, const std::string& one) {
    return std::ranges::find(all, one) != all.end();
  };
  std::size_t added = 0;
  for (const std::string& problem : now_) {
    if (holds(before, problem)) continue;
    ++added;
    log(LogLevel::warning, problem);
  }
  for (const std::string& problem : before) {
    if (!holds(now_, problem)) log(LogLevel::info, "no longer so: " + problem);
  }
  return added;
}

}  // namespace podwire::control
