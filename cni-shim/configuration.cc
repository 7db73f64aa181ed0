#include "cni-shim/configuration.h"

#include <sys/stat.h>

#include <cstdlib>

#include "cni-shim/capabilities.h"
#include "cni-shim/results.h"

namespace podwire::cni {
namespace {

using nlohmann::json;

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

// ipam.type: absent, empty or "podwire" for our own addresses; else the name of a program.
std::string read_ipam(const json& all, std::string& into) {
  const auto found = all.find("ipam");
  if (found == all.end() || found->is_null()) return {};
  if (!found->is_object()) return "ipam: is not an object";
  const auto type = found->find("type");
  if (type == found->end()) return {};
  if (!type->is_string()) return "ipam.type: is not a string";
  into = type->get<std::string>();
  if (into == "podwire") into.clear();
  if (into.find('/') != std::string::npos || into == "." || into == "..") {
    return "ipam.type: \"" + into + "\" is not the name of a plugin";
  }
  return {};
}

// What its values mean, podwired says. For ADD alone: a mistake made later keeps no pod from its
// end.
std::optional<Refused> read_port(const json& all, PortWish& into) {
  std::string error;
  const auto found = all.find("port");
  if (found != all.end() && !found->is_null()) read_port_wish(*found, "port", into, error);
  if (error.empty()) return std::nullopt;
  return Refused{Code::config, error};
}

std::optional<Refused> check_version(const std::string& command, const std::string& version) {
  if (rank(version) == 0) {
    return Refused{Code::version, "incompatible CNI versions: cniVersion is \"" + version +
                                      "\", podwire-cni speaks 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"};
  }
  const std::size_t needed = command == "CHECK"                       ? rank("0.4.0")
                             : command == "GC" || command == "STATUS" ? rank("1.1.0")
                                                                      : 0;
  if (rank(version) < needed) {
    return Refused{Code::version, command + " does not exist in cniVersion " + version};
  }
  return std::nullopt;
}

// K8S_POD_... of "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;..."; IP and MAC as CONVENTIONS.md has
// them for runtimes without capabilities.
void read_arguments(const std::string& text, bool own_addresses, Request& request) {
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
    if (key == "MAC") request.wishes.mac = value;
    if (key == "IP" && own_addresses && !value.empty()) request.wishes.addresses = {value};
  }
}

bool is_own_namespace(const std::string& path) {
  struct stat own {
  }, other{};
  return stat("/proc/self/ns/net", &own) == 0 && stat(path.c_str(), &other) == 0 &&
         own.st_dev == other.st_dev && own.st_ino == other.st_ino;
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

std::optional<Refused> read_names(const Environment& environment, Request& request) {
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
  return std::nullopt;
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

std::string value_of(const Environment& environment, const char* name) {
  const auto found = environment.find(name);
  return found == environment.end() ? "" : found->second;
}

std::string missing_variables(const Environment& environment, const std::string& command) {
  const bool of_one = is_of_one_attachment(command);
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
  if (auto refused = check_version(command, into.version)) return refused;
  for (const auto& error :
       {read_folder(into.all, "runDir", into.run_dir),
        read_folder(into.all, "stateDir", into.state_dir), read_ipam(into.all, into.ipam)}) {
    if (!error.empty()) return Refused{Code::config, error};
  }
  return std::nullopt;
}

std::optional<Refused> read_request(const Environment& environment, const Configuration& config,
                                    Request& request) {
  request.network = config.name;
  read_arguments(value_of(environment, "CNI_ARGS"), config.ipam.empty(), request);
  if (request.command == "GC") {
    const std::string error = read_valid_attachments(config.all, request);
    if (!error.empty()) return Refused{Code::config, error};
  }
  if (request.command == "GC" || request.command == "STATUS") return std::nullopt;
  if (auto refused = read_names(environment, request)) return refused;
  if (request.command == "ADD") {
    if (auto refused = read_port(config.all, request.wishes.port)) return refused;
    return read_capabilities(config, request.wishes);
  }
  if (request.command != "CHECK") return std::nullopt;
  const auto previous = config.all.find("prevResult");
  if (previous == config.all.end()) {
    return Refused{Code::config, "prevResult: is missing, CHECK needs it"};
  }
  std::string error;
  const auto result = read_result(*previous, "prevResult", error);
  if (!result) return Refused{Code::config, error};
  request.addresses = addresses_of(*result, request.interface, request.netns);
  return std::nullopt;
}

}  // namespace podwire::cni
