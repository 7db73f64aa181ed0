#include "cni-shim/delegate.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "cni-shim/process.h"
#include "cni-shim/results.h"

namespace podwire::cni {
namespace {

using nlohmann::json;

// libcni's FindInPath: the first folder that has it. Empty: none.
std::string find_program(const std::string& name, const std::string& path) {
  for (std::size_t from = 0; from <= path.size();) {
    const std::size_t end = std::min(path.find(':', from), path.size());
    std::string candidate = path.substr(from, end - from) + "/" + name;
    struct stat file {};
    if (end > from && stat(candidate.c_str(), &file) == 0 && S_ISREG(file.st_mode) &&
        access(candidate.c_str(), X_OK) == 0) {
      return candidate;
    }
    from = end + 1;
  }
  return {};
}

// An error is on standard output; one that is no JSON is the plugin's own fault.
Refused said(const std::string& type, const Ended& ended) {
  const json error = json::parse(ended.output, nullptr, false);
  std::string message;
  Code code = Code::internal;
  if (error.is_object()) {
    if (const auto found = error.find("code");
        found != error.end() && found->is_number_unsigned() && *found != 0) {
      code = static_cast<Code>(found->get<unsigned>());
    }
    for (const char* key : {"msg", "details"}) {
      const auto found = error.find(key);
      if (found == error.end() || !found->is_string() || *found == "") continue;
      message += (message.empty() ? "" : ": ") + found->get<std::string>();
    }
  }
  if (message.empty()) message = "ends with exit code " + std::to_string(ended.exit_code);
  return {code, "ipam " + type + ": " + message};
}

}  // namespace

std::string Delegation::type() const {
  return configuration.at("ipam").at("type").get<std::string>();
}

std::optional<Refused> Delegation::run(const std::string& verb, std::string& output) const {
  const std::string path = value_of(environment, "CNI_PATH");
  const std::string program = find_program(type(), path);
  if (program.empty()) {
    return Refused{Code::config,
                   "ipam.type: there is no plugin \"" + type() + "\" in CNI_PATH " + path};
  }
  auto changes = environment;
  changes["CNI_COMMAND"] = verb;
  changes["CNI_CONTAINERID"] = name.container_id;
  changes["CNI_IFNAME"] = name.interface;
  changes["CNI_NETNS"] = netns;
  const Ended ended = run_program(
      program, changes, configuration.dump(-1, ' ', false, json::error_handler_t::replace));
  if (!ended.error.empty()) return Refused{Code::internal, program + ": " + ended.error};
  if (ended.exit_code != 0) return said(type(), ended);
  output = ended.output;
  return std::nullopt;
}

std::optional<Refused> Delegation::add(json& result) const {
  std::string output, error;
  if (auto refused = run("ADD", output)) return refused;
  const json raw = json::parse(output, nullptr, false);
  const auto read = read_result(raw, "ipam " + type() + ": its result", error);
  if (!read) return Refused{Code::decode, error};
  result = *read;
  return std::nullopt;
}

std::optional<Refused> Delegation::remove() const {
  std::string output;
  return run("DEL", output);
}

std::optional<Refused> Delegation::check() const {
  std::string output;
  return run("CHECK", output);
}

std::optional<Refused> Delegation::forward(const std::string& verb) const {
  std::string output;
  if (auto refused = run("VERSION", output)) return refused;
  const json versions = json::parse(output, nullptr, false);
  const auto supported =
      versions.is_object() ? versions.value("supportedVersions", json()) : json();
  if (std::find(supported.begin(), supported.end(), kNewest) == supported.end()) return {};
  return run(verb, output);
}

std::optional<Refused> read_given(const json& result, const std::string& type, Wishes& wishes) {
  const std::string place = "ipam " + type + ": its result";
  wishes.delegated = true;
  wishes.addresses.clear();
  std::set<bool> families;
  for (const json& ip : result.at("ips")) {
    const std::string address = ip.at("address").get<std::string>();
    if (!families.insert(address.find(':') == std::string::npos).second) {
      return Refused{Code::config, place + " has two addresses of one family, " + address +
                                       " is one of them: a port of podwire has one"};
    }
    wishes.addresses.push_back(address.substr(0, address.find('/')));
  }
  if (wishes.addresses.empty()) return Refused{Code::config, place + " has no address"};
  std::string error;
  for (std::size_t i = 0; i < result.at("routes").size(); ++i) {
    wishes.routes.push_back(
        read_route(result["routes"][i], place + ".routes[" + std::to_string(i) + "]", error));
  }
  if (!error.empty()) return Refused{Code::config, error};
  return std::nullopt;
}

}  // namespace podwire::cni
