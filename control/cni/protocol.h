// What podwire-cni and podwired say to each other: one JSON line there, one back, on
// <runDir>/cni.sock. The only header the plugin shares with the daemon; standard library and
// nlohmann-json. Names and codes are the CNI specification's (containernetworking/cni SPEC.md
// 1.1.0). Any thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "control/cni/wishes.h"

namespace podwire::cni {

inline constexpr const char* kSocketName = "cni.sock";
inline constexpr const char* kDefaultRunDir = "/run/podwire";
inline constexpr const char* kDefaultStateDir = "/var/lib/podwire";
// Deletes that found no podwired: <stateDir>/pending-deletes/<id>-<ifname>.json, each a Request.
inline constexpr const char* kPendingFolder = "pending-deletes";
inline constexpr std::size_t kLongestRequest = std::size_t{1} << 20;  // GC names every attachment
inline constexpr std::size_t kLongestId = 200;                        // it becomes a file's name

enum class Code : std::uint16_t {
  ok = 0,
  version = 1,
  unsupported_field = 2,
  unknown_container = 3,
  environment = 4,
  io = 5,
  decode = 6,
  config = 7,
  netns = 8,
  try_later = 11,
  not_available = 50,
  check_failed = 100,  // from 100 on: the plugin's own
  address_refused = 101,
  pod_refused = 102,
  internal = 999,
};

// pkg/utils/utils.go: ^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$
inline bool is_container_id(const std::string& id) {
  const auto alphanumeric = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  return !id.empty() && id.size() <= kLongestId && alphanumeric(id.front()) &&
         std::all_of(id.begin(), id.end(),
                     [&](char c) { return alphanumeric(c) || c == '_' || c == '.' || c == '-'; });
}
// pkg/utils/utils.go ValidateInterfaceName, linux/net/core/dev.c dev_valid_name
inline bool is_interface_name(const std::string& name) {
  return !name.empty() && name.size() <= 15 && name != "." && name != ".." &&
         std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return c > ' ' && c != '/' && c != ':' && c != 0x7f; });
}

inline bool is_of_one_attachment(const std::string& command) {
  return command == "ADD" || command == "DEL" || command == "CHECK";
}

struct AttachmentName {
  std::string container_id, interface;
  auto operator<=>(const AttachmentName&) const = default;
};

struct Request {
  std::string command;                           // ADD DEL CHECK GC STATUS
  std::string network;                           // the configuration's `name`
  std::string container_id, interface;           // not in GC and STATUS
  std::string netns;                             // absolute path; DEL: may be empty
  std::string pod_namespace, pod_name, pod_uid;  // of CNI_ARGS; empty when not given
  std::vector<std::string> addresses;            // CHECK: those of prevResult, "10.0.0.1/32"
  std::vector<AttachmentName> valid;             // GC: what stays
  Wishes wishes;                                 // ADD
};

struct Reply {
  Code code = Code::ok;
  std::string message;
  nlohmann::json result;  // ADD: a result in the form of 1.1.0, without cniVersion; else null
  // ADD of a port that is no kernel interface: as the Network Plumbing Working Group's device-info
  // specification 1.1.0 has it; else null
  nlohmann::json device_info{};
};

inline nlohmann::json to_json(const Request& request) {
  nlohmann::json json{{"command", request.command},
                      {"network", request.network},
                      {"containerId", request.container_id},
                      {"ifname", request.interface},
                      {"netns", request.netns},
                      {"podNamespace", request.pod_namespace},
                      {"podName", request.pod_name},
                      {"podUid", request.pod_uid},
                      {"addresses", request.addresses},
                      {"wishes", to_json(request.wishes)}};
  json["valid"] = nlohmann::json::array();
  for (const auto& name : request.valid) {
    json["valid"].push_back({{"containerId", name.container_id}, {"ifname", name.interface}});
  }
  return json;
}

inline nlohmann::json to_json(const Reply& reply) {
  nlohmann::json json{{"code", static_cast<unsigned>(reply.code)}};
  if (!reply.message.empty()) json["message"] = reply.message;
  if (!reply.result.is_null()) json["result"] = reply.result;
  if (!reply.device_info.is_null()) json["deviceInfo"] = reply.device_info;
  return json;
}

namespace detail {

// Empty: fine. Unknown keys are left alone, so that plugin and daemon may differ in age.
inline std::string read_text(const nlohmann::json& json, const char* key, std::string& into) {
  const auto found = json.find(key);
  if (found == json.end()) return {};
  if (!found->is_string()) return std::string(key) + " is not a string";
  into = found->get<std::string>();
  if (into.find('\0') != std::string::npos) return std::string(key) + " holds a zero byte";
  return {};
}

inline std::string read_valid(const nlohmann::json& json, std::vector<AttachmentName>& into) {
  const auto found = json.find("valid");
  if (found == json.end()) return {};
  if (!found->is_array()) return "valid is not a list";
  for (const auto& item : *found) {
    AttachmentName name;
    if (!item.is_object()) return "valid holds something that is not an object";
    for (const auto& error : {read_text(item, "containerId", name.container_id),
                              read_text(item, "ifname", name.interface)}) {
      if (!error.empty()) return "valid: " + error;
    }
    into.push_back(std::move(name));
  }
  return {};
}

inline std::string check_request(const Request& r) {
  const bool of_one = is_of_one_attachment(r.command);
  if (!of_one && r.command != "GC" && r.command != "STATUS") {
    return "command \"" + r.command + "\" is not known";
  }
  if (!of_one) return {};
  if (!is_container_id(r.container_id)) {
    return "containerId \"" + r.container_id + "\" is not a container's ID";
  }
  if (!is_interface_name(r.interface)) {
    return "ifname \"" + r.interface + "\" is not an interface's name";
  }
  if (r.netns.empty() ? r.command != "DEL" : r.netns.front() != '/') {
    return "netns \"" + r.netns + "\" is not an absolute path";
  }
  return {};
}

}  // namespace detail

// Foreign bytes to a checked request, or one sentence.
inline std::optional<Request> parse_request(const std::string& line, std::string& error) {
  const auto json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_object()) {
    error = "the request is not a JSON object";
    return std::nullopt;
  }
  Request r;
  const std::pair<const char*, std::string*> texts[] = {
      {"command", &r.command},  {"network", &r.network}, {"containerId", &r.container_id},
      {"ifname", &r.interface}, {"netns", &r.netns},     {"podNamespace", &r.pod_namespace},
      {"podName", &r.pod_name}, {"podUid", &r.pod_uid}};
  for (const auto& [key, field] : texts) {
    error = detail::read_text(json, key, *field);
    if (!error.empty()) return std::nullopt;
  }
  if (const auto found = json.find("addresses"); found != json.end()) {
    if (!found->is_array()) error = "addresses is not a list";
    for (const auto& item : *found) {
      if (!item.is_string()) {
        error = "addresses holds something that is not a string";
        break;
      }
      r.addresses.push_back(item.get<std::string>());
    }
  }
  if (error.empty()) error = detail::read_valid(json, r.valid);
  if (const auto found = json.find("wishes"); error.empty() && found != json.end()) {
    r.wishes = read_wishes(*found, error);
  }
  if (error.empty()) error = detail::check_request(r);
  if (!error.empty()) return std::nullopt;
  // What GC and STATUS say of one attachment means nothing, and nobody has checked it.
  if (!is_of_one_attachment(r.command)) r.container_id = r.interface = r.netns = {};
  return r;
}

inline std::optional<Reply> parse_reply(const std::string& line) {
  const auto json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  const auto code = json.find("code");
  if (code == json.end() || !code->is_number_unsigned()) return std::nullopt;
  Reply reply;
  reply.code = static_cast<Code>(code->get<unsigned>());
  if (!detail::read_text(json, "message", reply.message).empty()) return std::nullopt;
  reply.result = json.value("result", nlohmann::json());
  reply.device_info = json.value("deviceInfo", nlohmann::json());
  return reply;
}

}  // namespace podwire::cni
