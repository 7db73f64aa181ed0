#include "cni-shim/capabilities.h"

#include <strings.h>

#include <algorithm>
#include <array>

#include "cni-shim/device_info.h"

namespace podwire::cni {
namespace {

using nlohmann::json;

// Those that runtimes fill in and that mean nothing to podwire, yet harm nobody.
constexpr std::array kUnused = {"io.kubernetes.cri.pod-annotations", "aliases"};

Refused unsupported(const std::string& key, const json& value, const std::string& why) {
  return {Code::unsupported_field,
          key + ": " + value.dump(-1, ' ', true, json::error_handler_t::replace) + " " + why};
}

// An address of the capability `ips` may come with a length; ours are of one host anyway.
std::string without_length(const std::string& address) {
  return address.substr(0, address.find('/'));
}

constexpr std::array kOurCase = {"hostPort",    "containerPort", "protocol",   "hostIP",
                                 "ingressRate", "ingressBurst",  "egressRate", "egressBurst"};

// containerd writes HostPort where others write hostPort: Go's decoder, which plugins have, takes
// both.
json in_our_case(const json& item) {
  if (!item.is_object()) return item;
  json renamed = json::object();
  for (const auto& [key, value] : item.items()) {
    std::string name = key;
    for (const char* known : kOurCase) {
      if (strcasecmp(key.c_str(), known) == 0) name = known;
    }
    renamed[name] = value;
  }
  return renamed;
}

std::optional<Refused> read_one(const json& runtime, const std::string& key, bool own_addresses,
                                Wishes& wishes) {
  const json& value = runtime.at(key);
  const std::string place = "runtimeConfig." + key;
  std::string error;
  detail::Reader read(runtime, "runtimeConfig", error);
  if (key == "mac") {
    read.text("mac", wishes.mac);
  } else if (key == "ips") {
    std::vector<std::string> addresses;
    read.texts("ips", addresses);
    if (!own_addresses) addresses.clear();  // the IPAM plugin reads them
    if (!addresses.empty()) wishes.addresses.clear();
    for (const auto& address : addresses) wishes.addresses.push_back(without_length(address));
  } else if (key == "portMappings") {
    read.list("portMappings", [&](const json& item, const std::string& where) {
      wishes.port_mappings.push_back(read_port_mapping(in_our_case(item), where, error));
    });
  } else if (key == "bandwidth") {
    wishes.bandwidth = read_bandwidth(in_our_case(value), place, error);
  } else if (key == kDeviceInfoCapability) {
    std::string path;
    read.text(kDeviceInfoCapability, path);
    if (error.empty() && !path.starts_with('/')) error = place + " is not an absolute path";
  } else if (key == "deviceID") {
    read.text("deviceID", wishes.device);
  } else if (own_addresses && std::find(kUnused.begin(), kUnused.end(), key) == kUnused.end()) {
    return unsupported(place, value, "is of a capability that podwire-cni does not have");
  }
  if (error.empty()) return std::nullopt;
  return Refused{Code::config, error};
}

}  // namespace

std::optional<Refused> read_capabilities(const Configuration& config, Wishes& wishes) {
  std::string error;
  detail::Reader read(config.all, "configuration", error);
  read.text("deviceID", wishes.device);  // Multus writes it beside the others
  if (!error.empty()) return Refused{Code::config, error};
  const auto runtime = config.all.find("runtimeConfig");
  if (runtime == config.all.end() || runtime->is_null()) return std::nullopt;
  if (!runtime->is_object()) return Refused{Code::config, "runtimeConfig: is not an object"};
  for (const auto& [key, value] : runtime->items()) {
    if (value.is_null()) continue;
    if (auto refused = read_one(*runtime, key, config.ipam.empty(), wishes)) return refused;
  }
  return std::nullopt;
}

}  // namespace podwire::cni
