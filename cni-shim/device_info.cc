#include "cni-shim/device_info.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "cni-shim/descriptor.h"

namespace podwire::cni {
namespace {

using nlohmann::json;

std::string draft_of(const std::string& path) {
  return path + ".podwire-new";
}

}  // namespace

std::string device_info_path(const json& configuration) {
  const auto runtime = configuration.find("runtimeConfig");
  if (runtime == configuration.end() || !runtime->is_object()) return {};
  const auto path = runtime->find(kDeviceInfoCapability);
  if (path == runtime->end() || !path->is_string()) return {};
  const auto text = path->get<std::string>();
  return text.starts_with('/') && text.find('\0') == std::string::npos ? text : std::string();
}

std::string write_device_info(const std::string& path, const json& info) {
  std::error_code none;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), none);
  const std::string draft = draft_of(path);
  const Descriptor file(
      open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (file.get() < 0) return path + ": " + std::strerror(errno);
  const bool written = write_all(file.get(), info.dump(2) + "\n");
  if (written && rename(draft.c_str(), path.c_str()) == 0) return {};
  std::string why = path + ": " + std::strerror(errno);
  unlink(draft.c_str());
  return why;
}

void remove_device_info(const std::string& path) {
  if (path.empty()) return;
  unlink(path.c_str());
  unlink(draft_of(path).c_str());
}

}  // namespace podwire::cni
