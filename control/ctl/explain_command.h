// `podwirectl explain`: one question, or a batch of them as a filter.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "dataplane/result.h"

namespace podwire::control::ctl {

struct ExplainArguments {
  std::string run_dir, manifests;
  std::string from, to, protocol, port;
  bool batch = false, as_json = false;
};
// What the program ends with.
inline constexpr int kAllowed = 0, kDenied = 1, kNotKnown = 2;

int run_explain(const ExplainArguments& arguments);

// Answers lines of questions with as many lines.
using AnswerLines = std::function<Result<std::string>(std::string_view lines)>;
// Reads `input` to its end and answers to `output`: at once what has come, so that it works between
// two pipes. Both are file descriptors. False: something was not answered, which it has said.
bool answer_batch(int input, int output, const AnswerLines& answer);

}  // namespace podwire::control::ctl
