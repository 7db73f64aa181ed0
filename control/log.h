// Control's log: one line an event, key=value context, on standard error. Never on a worker. Any
// thread.
#pragma once

#include <string_view>

namespace podwire::control {

enum class LogLevel : unsigned char { debug, info, warning, error };

void set_log_level(LogLevel level);
// "level=warning msg=... key=value" off a terminal; "warning: ... key=value" on one.
// `context` is a list of ready key=value pairs, or empty.
void log(LogLevel level, std::string_view message, std::string_view context = {});

}  // namespace podwire::control
