// A list of problems that is told whole each time: writes a line for those that are new and one for
// those that are gone, never the same twice. Control thread only.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace podwire::control {

class ChangeLog {
 public:
  // Returns how many are new.
  std::size_t tell(std::vector<std::string> problems);
  [[nodiscard]] const std::vector<std::string>& now() const { return now_; }

 private:
  std::vector<std::string> now_;
};

}  // namespace podwire::control
