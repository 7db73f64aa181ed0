// What systemd is told: datagrams to $NOTIFY_SOCKET (sd_notify(3), sd_watchdog_enabled(3)). Does
// nothing when nobody listens. Control thread only.
#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace podwire::control {

class ServiceManager {
 public:
  // Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID.
  ServiceManager();
  void tell(const std::string& state) const;  // "READY=1"
  // How often "WATCHDOG=1" is due: half of what is asked for.
  [[nodiscard]] std::optional<std::chrono::microseconds> watchdog_interval() const {
    return watchdog_interval_;
  }

 private:
  std::string socket_;
  std::optional<std::chrono::microseconds> watchdog_interval_;
};

}  // namespace podwire::control
