#include "cni-shim/plugin.h"

#include "cni-shim/invocation.h"
#include "cni-shim/results.h"

namespace podwire::cni {
namespace {

using nlohmann::json;

constexpr std::size_t kLongestInput = std::size_t{4} << 20;

// Error texts go through here, so that no byte of the outside can break the output.
std::string text_of(const json& value) {
  return value.dump(4, ' ', false, json::error_handler_t::replace) + "\n";
}

Outcome failure(const std::string& version, const Refused& refused) {
  const json error{{"cniVersion", rank(version) == 0 ? kNewest : version},
                   {"code", static_cast<unsigned>(refused.code)},
                   {"msg", refused.message}};
  return {text_of(error), 1};
}

std::optional<Refused> read_input(std::istream& input, std::string& text) {
  for (char chunk[4096]; input.read(chunk, sizeof chunk) || input.gcount() > 0;) {
    text.append(chunk, static_cast<std::size_t>(input.gcount()));
    if (text.size() > kLongestInput) {
      return Refused{Code::io, "network configuration is longer than 4 MiB"};
    }
  }
  if (input.bad()) return Refused{Code::io, "network configuration cannot be read"};
  return std::nullopt;
}

Outcome print_versions(const std::string& text) {
  const json all = json::parse(text, nullptr, false);
  std::string version = kNewest;
  if (all.is_object() && all.contains("cniVersion") && all["cniVersion"].is_string()) {
    version = all["cniVersion"].get<std::string>();
  }
  return {text_of({{"cniVersion", version}, {"supportedVersions", kVersions}}), 0};
}

Outcome carry_out(const Environment& environment, const Configuration& config, Request request) {
  const std::string command = request.command;
  Invocation invocation(environment, config, std::move(request));
  json result;
  const std::optional<Refused> refused = command == "ADD"     ? invocation.add(result)
                                         : command == "DEL"   ? invocation.remove()
                                         : command == "CHECK" ? invocation.check()
                                         : command == "GC"    ? invocation.collect_garbage()
                                                              : invocation.status();
  if (refused) return failure(config.version, *refused);
  return command == "ADD" ? Outcome{text_of(result), 0} : Outcome{};
}

}  // namespace

Outcome run(const Environment& environment, std::istream& input) {
  const std::string command = value_of(environment, "CNI_COMMAND");
  const std::string missing =
      command.empty() ? "CNI_COMMAND" : missing_variables(environment, command);
  if (!missing.empty()) {
    return failure(kNewest,
                   {Code::environment, "required env variables [" + missing + "] missing"});
  }
  std::string text;
  if (const auto refused = read_input(input, text)) return failure(kNewest, *refused);
  if (command == "VERSION") return print_versions(text);
  Configuration config;
  if (const auto refused = read_configuration(text, command, config)) {
    return failure(config.version, *refused);
  }
  Request request;
  request.command = command;
  const bool known = command == "ADD" || command == "DEL" || command == "CHECK" ||
                     command == "GC" || command == "STATUS";
  if (!known) {
    return failure(config.version, {Code::environment, "unknown CNI_COMMAND: " + command});
  }
  if (const auto refused = read_request(environment, config, request)) {
    return failure(config.version, *refused);
  }
  return carry_out(environment, config, std::move(request));
}

}  // namespace podwire::cni
