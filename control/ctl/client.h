// One question to podwired's socket. Any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "dataplane/result.h"

namespace podwire::control::ctl {

// How an answer with a result begins, and what stands between the elements of explain's array. Both
// are part of an explain answer's form, so that long batches need not be parsed.
inline constexpr std::string_view kResult = "{\"result\":", kBetweenAnswers = ",\t";

// The line that podwired answers, as it is.
Result<std::string> ask_line(const std::string& run_dir, const nlohmann::json& request);
// What it says: the `result`, or a sentence.
Result<nlohmann::json> result_of(const std::string& run_dir, std::string_view line);
// The `result` of the answer, or a sentence: podwired's own, or why there is no answer.
Result<nlohmann::json> ask(const std::string& run_dir, const nlohmann::json& request);

}  // namespace podwire::control::ctl
