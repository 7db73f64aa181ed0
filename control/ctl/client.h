// One question to podwired's socket. Any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "dataplane/result.h"

namespace podwire::control::ctl {

// The `result` of the answer, or a sentence: podwired's own, or why there is no answer.
Result<nlohmann::json> ask(const std::string& run_dir, const nlohmann::json& request);

}  // namespace podwire::control::ctl
