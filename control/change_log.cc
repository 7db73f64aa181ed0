#include "control/change_log.h"

#include <set>
#include <string_view>
#include <utility>

#include "control/log.h"

namespace podwire::control {

std::size_t ChangeLog::tell(std::vector<std::string> problems) {
  const auto before = std::exchange(now_, std::move(problems));
  const std::set<std::string_view> old(before.begin(), before.end());
  const std::set<std::string_view> held(now_.begin(), now_.end());
  std::size_t added = 0;
  for (const std::string_view problem : held) {
    if (old.contains(problem)) continue;
    ++added;
    log(LogLevel::warning, problem);
  }
  for (const std::string_view problem : old) {
    if (!held.contains(problem)) log(LogLevel::info, "no longer so: " + std::string(problem));
  }
  return added;
}

}  // namespace podwire::control
