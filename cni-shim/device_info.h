// The file by which a pod's program finds its port (k8snetworkplumbingwg device-info-spec 1.1.0):
// the runtime names it, Multus copies what is in it into the pod's annotation network-status.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace podwire::cni {

inline constexpr const char* kDeviceInfoCapability = "CNIDeviceInfoFile";

// Of runtimeConfig; empty when it names none, or nothing that could be one.
std::string device_info_path(const nlohmann::json& configuration);
// There whole or not at all; folders are made. Empty; or why it cannot be written.
std::string write_device_info(const std::string& path, const nlohmann::json& info);
// Also what was left of writing it. Nothing for an empty path.
void remove_device_info(const std::string& path);

}  // namespace podwire::cni
