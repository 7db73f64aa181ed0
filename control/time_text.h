// Moments as Kubernetes and Calico write them. Thread-safe.
#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace podwire::control {

// RFC 3339, UTC, as Kubernetes writes times: "2026-11-22T10:00:00.123456789Z".
std::optional<std::chrono::system_clock::time_point> parse_time(const std::string& text);
// The same with seconds: "2026-11-22T10:00:00Z". `format` is strftime's.
std::string format_time(std::chrono::system_clock::time_point time,
                        const char* format = "%Y-%m-%dT%H:%M:%SZ");

}  // namespace podwire::control
