#include "cni-shim/plugin.h"

#include <sys/stat.h>

#include <array>
#include <cstdlib>
#include <iterator>

#include "cni-shim/daemon.h"

namespace podwire::cni {
namespace {

using nlohmann::json;

constexpr std::array kVersions = {"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"};
constexpr const char* kNewest = "1.1.0";
constexpr std::size_t kLongestInput = std::size_t{4} << 20;

// 0 for a version that is not spoken; else its place in kVersions + 1.
std::size_t rank(const std::string& version) {
  for (std::size_t i = 0; i < kVersions.size(); ++i) {
    if (version == kVersions[i]) return i + 1;
  }
  return 0;
}

// Error texts go through here, so that no byte of the outside can break the output.
std::string text_of(const json& value) {
  return value.dump(4, ' ', false, json::error_handler_t::replace) + "\n";
}

Outcome failure(const std::string& version, Code code, const std::string& message) {
  const json error{{"cniVersion", rank(version) == 0 ? kNewest : version},
                   {"code", static_cast<unsigned>(code)},
                   {"msg", message}};
  return {text_of(error), 1};
}

std::string value_of(const Environment& environment, const char* name) {
  const auto found = environment.find(name);
  return found == environment.end() ? "" : found->second;
}

// Names the variables that the command needs and that are missing or empty.
std::string missing_variables(const Environment& environment, const std::string& command) {
  const bool of_one = command == "ADD" || command == "CHECK" || command == "DEL";
  std::string missing;
  const auto need = [&](const char* name) {
    if (!value_of(environment, name).empty()) return;
    missing += (missing.empty() ? "" : ",") + std::string(name);
  };
  if (of_one) need("CNI_CONTAINERID");
  if (command == "ADD" || command == "CHECK") need("CNI_NETNS");
  if (of_one) need("CNI_IFNAME");
  if (of_one || command == "GC" || command == "STATUS") need("CNI_PATH");
  return missing;
}

// K8S_POD_... of "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;..."
void read_arguments(const std::string& text, Request& request) {
  for (std::size_t from = 0; from < text.size();) {
    const std::size_t end = std::min(text.find(';', from), text.size());
    const std::string pair = text.substr(from, end - from);
    const std::size_t equals = pair.find('=');
    from = end + 1;
    if (equals == std::string::npos) continue;
    const std::string key = pair.substr(0, equals);
    const std::string value = pair.substr(equals + 1);
    if (key == "K8S_POD_NAMESPACE") request.pod_namespace = value;
    if (key == "K8S_POD_NAME") request.pod_name = value;
    if (key == "K8S_POD_UID") request.pod_uid = value;
  }
}

struct Configuration {
  json all;
  std::string version, name;
  std::string run_dir = kDefaultRunDir, state_dir = kDefaultStateDir;
};

// Empty: fine.
std::string read_folder(const json& all, const char* key, std::string& into) {
  const auto found = all.find(key);
  if (found == all.end()) return {};
  if (!found->is_string() || !found->get<std::string>().starts_with('/')) {
    return std::string(key) + ": is not an absolute path";
  }
  into = found->get<std::string>();
  return {};
}

// In the order of skel.go: decode (6), the name (7), the version (1), then our own keys (7).
struct Refused {
  Code code;
  std::string message;
};
std::optional<Refused> read_configuration(const std::string& text, const std::string& command,
                                          Configuration& into) {
  into.all = json::parse(text, nullptr, false);
  if (!into.all.is_object())
    return Refused{Code::decode, "network configuration is no JSON object"};
  const auto version = into.all.find("cniVersion");
  if (version != into.all.end() && !version->is_string()) {
    return Refused{Code::decode, "cniVersion: is not a string"};
  }
  // SPEC.md: a configuration without one is of 0.1.0.
  into.version = version == into.all.end() ? "0.1.0" : version->get<std::string>();
  const auto name = into.all.find("name");
  if (name == into.all.end() || !name->is_string() || name->get<std::string>().empty()) {
    return Refused{Code::config, "name: is missing"};
  }
  into.name = name->get<std::string>();
  if (!is_container_id(into.name)) {
    return Refused{Code::config, "name: \"" + into.name +
                                     "\" holds other characters than letters, digits, _ . and -"};
  }
  if (rank(into.version) == 0) {
    return Refused{Code::version, "incompatible CNI versions: cniVersion is \"" + into.version +
                                      "\", podwire-cni speaks 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"};
  }
  const std::size_t needed = command == "CHECK"                       ? rank("0.4.0")
                             : command == "GC" || command == "STATUS" ? rank("1.1.0")
                                                                      : 0;
  if (rank(into.version) < needed) {
    return Refused{Code::version, command + " does not exist in cniVersion " + into.version};
  }
  for (const auto& error : {read_folder(into.all, "runDir", into.run_dir),
                            read_folder(into.all, "stateDir", into.state_dir)}) {
    if (!error.empty()) return Refused{Code::config, error};
  }
  return std::nullopt;
}

bool is_own_namespace(const std::string& path) {
  struct stat own {
  }, other{};
  return stat("/proc/self/ns/net", &own) == 0 && stat(path.c_str(), &other) == 0 &&
         own.st_dev == other.st_dev && own.st_ino == other.st_ino;
}

void read_previous_result(const json& all, Request& request) {
  const auto previous = all.find("prevResult");
  if (previous == all.end() || !previous->is_object()) return;
  const auto ips = previous->find("ips");
  if (ips == previous->end() || !ips->is_array()) return;
  for (const auto& ip : *ips) {
    if (ip.is_object() && ip.contains("address") && ip["address"].is_string()) {
      request.addresses.push_back(ip["address"].get<std::string>());
    }
  }
}

std::string read_valid_attachments(const json& all, Request& request) {
  auto found = all.find("cni.dev/valid-attachments");
  if (found == all.end()) found = all.find("cni.dev/attachments");  // libcni's older spelling
  if (found == all.end()) return "cni.dev/valid-attachments: is missing";
  if (!found->is_array()) return "cni.dev/valid-attachments: is not a list";
  for (const auto& item : *found) {
    const auto text = [&](const char* key) {
      return item.is_object() && item.contains(key) && item[key].is_string()
                 ? item[key].get<std::string>()
                 : std::string();
    };
    const AttachmentName name{text("containerID"), text("ifname")};
    if (name.container_id.empty() || name.interface.empty()) {
      return "cni.dev/valid-attachments: one names no containerID or no ifname";
    }
    request.valid.push_back(name);
  }
  return {};
}

std::optional<Refused> read_request(const Environment& environment, const Configuration& config,
                                    Request& request) {
  request.network = config.name;
  read_arguments(value_of(environment, "CNI_ARGS"), request);
  if (request.command == "GC") {
    const std::string error = read_valid_attachments(config.all, request);
    if (!error.empty()) return Refused{Code::config, error};
  }
  if (request.command == "GC" || request.command == "STATUS") return std::nullopt;
  request.container_id = value_of(environment, "CNI_CONTAINERID");
  request.interface = value_of(environment, "CNI_IFNAME");
  request.netns = value_of(environment, "CNI_NETNS");
  if (!is_container_id(request.container_id)) {
    return Refused{Code::environment,
                   "CNI_CONTAINERID: \"" + request.container_id + "\" is not a container's ID"};
  }
  if (!is_interface_name(request.interface)) {
    return Refused{Code::environment,
                   "CNI_IFNAME: \"" + request.interface + "\" is not an interface's name"};
  }
  if (!request.netns.empty() && request.netns.front() != '/') {
    return Refused{Code::environment, "CNI_NETNS: \"" + request.netns + "\" is no absolute path"};
  }
  if (request.command != "DEL" && value_of(environment, "CNI_NETNS_OVERRIDE").empty() &&
      is_own_namespace(request.netns)) {
    return Refused{Code::netns, "CNI_NETNS: is the namespace the plugin itself runs in"};
  }
  if (request.command == "CHECK") {
    if (!config.all.contains("prevResult")) {
      return Refused{Code::config, "prevResult: is missing, CHECK needs it"};
    }
    read_previous_result(config.all, request);
  }
  return std::nullopt;
}

Outcome from_reply(const Reply& reply, const Configuration& config, const std::string& command) {
  if (reply.code != Code::ok) return failure(config.version, reply.code, reply.message);
  if (command != "ADD") return {};
  if (!reply.result.is_object()) {
    return failure(config.version, Code::internal, "podwired answered ADD without a result");
  }
  return {text_of(convert_result(reply.result, config.version)), 0};
}

Outcome delete_later(const Request& request, const Configuration& config,
                     const std::string& socket) {
  const std::string error = note_delete(config.state_dir, request);
  if (!error.empty()) {
    return failure(config.version, Code::try_later,
                   "podwired does not answer and the delete cannot be noted: " + error);
  }
  // A podwired that has come up meanwhile may have looked for notes before ours was there.
  const auto reply = ask(socket, request);
  if (!reply) return {};
  if (reply->code == Code::ok) drop_note(config.state_dir, request);
  return from_reply(*reply, config, request.command);
}

Outcome print_versions(const std::string& text) {
  const json all = json::parse(text, nullptr, false);
  std::string version = kNewest;
  if (all.is_object() && all.contains("cniVersion") && all["cniVersion"].is_string()) {
    version = all["cniVersion"].get<std::string>();
  }
  return {text_of({{"cniVersion", version}, {"supportedVersions", kVersions}}), 0};
}

}  // namespace

Environment read_environment() {
  Environment environment;
  for (const char* name : {"CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS",
                           "CNI_PATH", "CNI_NETNS_OVERRIDE"}) {
    if (const char* value = std::getenv(name)) environment[name] = value;
  }
  return environment;
}

json convert_result(json result, const std::string& version) {
  result["cniVersion"] = version;
  if (rank(version) < rank("1.1.0")) {
    for (auto& interface : result["interfaces"]) {
      interface.erase("mtu");
      interface.erase("socketPath");
      interface.erase("pciID");
    }
  }
  if (rank(version) < rank("1.0.0")) {
    for (auto& ip : result["ips"]) {
      const bool v6 = ip.value("address", "").find(':') != std::string::npos;
      ip["version"] = v6 ? "6" : "4";
    }
  }
  return result;
}

Outcome run(const Environment& environment, std::istream& input) {
  const std::string command = value_of(environment, "CNI_COMMAND");
  if (command.empty()) {
    return failure(kNewest, Code::environment, "required env variables [CNI_COMMAND] missing");
  }
  const std::string missing = missing_variables(environment, command);
  if (!missing.empty()) {
    return failure(kNewest, Code::environment, "required env variables [" + missing + "] missing");
  }
  std::string text;
  for (char chunk[4096]; input.read(chunk, sizeof chunk) || input.gcount() > 0;) {
    text.append(chunk, static_cast<std::size_t>(input.gcount()));
    if (text.size() > kLongestInput) {
      return failure(kNewest, Code::io, "network configuration is longer than 4 MiB");
    }
  }
  if (input.bad()) return failure(kNewest, Code::io, "network configuration cannot be read");
  if (command == "VERSION") return print_versions(text);

  Configuration config;
  if (const auto refused = read_configuration(text, command, config)) {
    return failure(config.version, refused->code, refused->message);
  }
  Request request;
  request.command = command;
  const bool known = command == "ADD" || command == "DEL" || command == "CHECK" ||
                     command == "GC" || command == "STATUS";
  if (!known) {
    return failure(config.version, Code::environment, "unknown CNI_COMMAND: " + command);
  }
  if (const auto refused = read_request(environment, config, request)) {
    return failure(config.version, refused->code, refused->message);
  }
  const std::string socket = config.run_dir + "/" + kSocketName;
  if (const auto reply = ask(socket, request)) return from_reply(*reply, config, command);
  if (command == "DEL") return delete_later(request, config, socket);
  return failure(config.version, command == "STATUS" ? Code::not_available : Code::try_later,
                 "podwired does not answer at " + socket + "; is it running?");
}

}  // namespace podwire::cni
