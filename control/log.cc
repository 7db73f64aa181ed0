#include "control/log.h"

#include <unistd.h>

#include <atomic>
#include <string>

namespace podwire::control {
namespace {

std::atomic<LogLevel> threshold{LogLevel::info};

constexpr std::string_view kNames[] = {"debug", "info", "warning", "error"};

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out + '"';
}

}  // namespace

void set_log_level(LogLevel level) {
  threshold = level;
}

void log(LogLevel level, std::string_view message, std::string_view context) {
  if (level < threshold.load(std::memory_order_relaxed)) return;
  static const bool terminal = isatty(STDERR_FILENO) == 1;
  const std::string_view name = kNames[static_cast<unsigned>(level)];
  std::string line = terminal ? std::string(name) + ": " + std::string(message)
                              : "level=" + std::string(name) + " msg=" + quoted(message);
  if (!context.empty()) line.append(" ").append(context);
  line += '\n';
  // One write a line; a reader that is gone must not end the daemon's work.
  [[maybe_unused]] const auto written = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace podwire::control
