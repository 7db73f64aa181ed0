#include "control/ctl/explain_command.h"

#include <unistd.h>

#include <cstdio>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "control/ctl/client.h"
#include "control/ctl/text.h"
#include "control/explain/explainer.h"
#include "control/explain/offline.h"

namespace podwire::control::ctl {
namespace {

using nlohmann::json;

int refuse(const std::string& sentence) {
  std::fprintf(stderr, "podwirectl: %s\n", sentence.c_str());
  return kNotKnown;
}

// What a folder says, with the compilers of podwired.
class Offline {
 public:
  Result<void> load(const std::string& folder, bool batch) {
    std::vector<std::string> problems;
    if (auto loaded = explain::load_folder(folder, store_, problems); !loaded) return loaded;
    for (const std::string& problem : problems) std::fprintf(stderr, "%s\n", problem.c_str());
    explainer_ =
        std::make_unique<explain::Explainer>(store_, "", std::numeric_limits<std::size_t>::max());
    if (batch) explainer_->prepare_all();
    return {};
  }
  std::string answer(std::string_view lines) { return explainer_->answer_lines(lines); }

 private:
  Store store_;
  std::unique_ptr<explain::Explainer> explainer_;
};

Result<std::string> ask_podwired(const std::string& run_dir, std::string_view lines) {
  auto line = ask_line(run_dir, {{"command", "explain"}, {"lines", lines}});
  if (!line) return line;
  std::string_view rest = *line;
  if (!rest.starts_with(kResult) || !rest.ends_with("]}\n")) {
    const auto said = result_of(run_dir, rest);
    return said ? fail("podwired's answer makes no sense") : tl::unexpected(said.error());
  }
  rest = rest.substr(kResult.size() + 1, rest.size() - kResult.size() - 4);
  std::string answers;
  answers.reserve(rest.size() + 1);
  while (!rest.empty()) {
    const std::size_t end = rest.find(kBetweenAnswers);
    answers += rest.substr(0, end);
    answers += '\n';
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + kBetweenAnswers.size());
  }
  return answers;
}

int status_of(const json& answer) {
  if (answer.contains("error")) return refuse(answer["error"].get<std::string>());
  const auto& verdict = answer.at("verdict");
  return verdict == "allow" ? kAllowed : verdict == "deny" ? kDenied : kNotKnown;
}

int answer_one(const ExplainArguments& arguments, const AnswerLines& answer) {
  const json question{{"from", arguments.from},
                      {"to", arguments.to},
                      {"protocol", arguments.protocol},
                      {"port", arguments.port}};
  const auto line = answer(question.dump(-1, ' ', true, json::error_handler_t::replace));
  if (!line) return refuse(line.error().message);
  const json answered = json::parse(*line);
  const int status = status_of(answered);
  if (answered.contains("error")) return status;
  const std::string text =
      arguments.as_json ? answered.dump(2) + "\n" : report_text("explain", answered, false);
  std::fputs(text.c_str(), stdout);
  return std::fflush(stdout) == 0 ? status : kNotKnown;
}

}  // namespace

int run_explain(const ExplainArguments& arguments) {
  if (!arguments.batch) {
    const auto question =
        explain::make_question(arguments.from, arguments.to, arguments.protocol, arguments.port);
    if (!question) return refuse("--" + question.error().message + "; see podwirectl --help");
  }
  Offline offline;
  AnswerLines answer = [&](std::string_view lines) { return offline.answer(lines); };
  if (arguments.manifests.empty()) {
    answer = [&](std::string_view lines) { return ask_podwired(arguments.run_dir, lines); };
  } else if (const auto loaded = offline.load(arguments.manifests, arguments.batch); !loaded) {
    return refuse(loaded.error().message);
  }
  if (!arguments.batch) return answer_one(arguments, answer);
  return answer_batch(STDIN_FILENO, STDOUT_FILENO, answer) ? kAllowed : kNotKnown;
}

}  // namespace podwire::control::ctl
