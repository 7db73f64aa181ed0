#include "control/ctl/server.h"

#include <string_view>
#include <utility>

#include "control/ctl/client.h"

namespace podwire::control::ctl {
namespace {

using nlohmann::json;

std::string line_of(const json& answered) {
  return answered.dump(-1, ' ', false, json::error_handler_t::replace);
}
std::string error_line(const std::string& sentence) {
  return line_of({{"error", sentence}});
}

Result<FlowFilter> read_filter(const json& request) {
  FlowFilter filter;
  const std::pair<const char*, std::string*> texts[] = {
      {"pod", &filter.pod}, {"service", &filter.service}, {"protocol", &filter.protocol}};
  for (const auto& [key, field] : texts) {
    const auto found = request.find(key);
    if (found == request.end()) continue;
    if (!found->is_string()) return fail(std::string(key) + " is not a string");
    *field = found->get<std::string>();
  }
  if (const auto limit = request.find("limit"); limit != request.end()) {
    if (!limit->is_number_unsigned() || limit->get<std::uint64_t>() > 10'000'000) {
      return fail("limit is not a number from 0 to 10000000");
    }
    filter.limit = limit->get<std::size_t>();
  }
  return filter;
}

// Remote pods that questions were asked about; a chunk of questions has a tenth of it at most.
constexpr std::size_t kMostPods = 8192;
// Of a request: the lines of a batch come in chunks of Explainer::kMostBytes, at worst escaped.
constexpr std::size_t kLongestLine = 6 * explain::Explainer::kMostBytes + 1024;

// The answers as an array, with a tab after each comma: JSON has it as a space, none of the answers
// holds one, and so podwirectl finds their ends without reading them.
std::string array_of(std::string_view lines) {
  std::string array = "[";
  array.reserve(lines.size() + lines.size() / 64 + 2);
  for (std::size_t end; (end = lines.find('\n')) != std::string_view::npos;) {
    if (array.size() > 1) array += kBetweenAnswers;
    array += lines.substr(0, end);
    lines.remove_prefix(end + 1);
  }
  return array + "]";
}

std::string explain_lines(const json& request, const State& state, explain::Explainer& explainer) {
  const auto lines = request.find("lines");
  if (lines == request.end() || !lines->is_string()) return error_line("lines is not a string");
  const auto& text = lines->get_ref<const std::string&>();
  if (text.size() > explain::Explainer::kMostBytes) return error_line("lines are too long");
  const std::string answers =
      explainer.answer_lines(text, {state.snapshot, &state.attachments, state.publishes});
  return std::string(kResult) + array_of(answers) + "}";
}

constexpr std::pair<const char*, json (*)(const Sources&)> kReports[] = {
    {"status", status}, {"pods", pods},   {"services", services}, {"policies", policies},
    {"bgp", bgp},       {"drops", drops}, {"counters", counters}, {"top", top}};

}  // namespace

std::string answer(const std::string& line, const Sources& sources, explain::Explainer& explainer) {
  const json request = json::parse(line, nullptr, false);
  if (!request.is_object()) return error_line("the request is not a JSON object");
  const auto command = request.find("command");
  if (command == request.end() || !command->is_string()) {
    return error_line("command is missing or not a string");
  }
  const auto name = command->get<std::string>();
  if (name == "flows") {
    const auto filter = read_filter(request);
    if (!filter) return error_line(filter.error().message);
    const auto rows = flows(sources, *filter);
    return rows ? line_of({{"result", *rows}}) : error_line(rows.error().message);
  }
  if (name == "routes") {
    const auto to = request.find("to");
    if (to != request.end() && !to->is_string()) return error_line("to is not a string");
    const auto rows = routes(sources, to == request.end() ? "" : to->get<std::string>());
    return rows ? line_of({{"result", *rows}}) : error_line(rows.error().message);
  }
  if (name == "explain") return explain_lines(request, sources.state, explainer);
  for (const auto& [known, report] : kReports) {
    if (name == known) return line_of({{"result", report(sources)}});
  }
  return error_line("command \"" + name + "\" is not known to this podwired");
}

Server::Server(boost::asio::io_context& io, const std::string& run_dir, Sources sources)
    : explainer_(sources.state.store, sources.state.config.node_name, kMostPods),
      lines_(
          io, LineServerOptions{.path = run_dir + "/" + kSocketName, .longest_line = kLongestLine},
          [this, sources](const std::string& line, const LineServer::Reply& reply) {
            reply(answer(line, sources, explainer_));
          },
          error_line) {}

}  // namespace podwire::control::ctl
