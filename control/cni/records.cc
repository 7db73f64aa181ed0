#include "control/cni/records.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>

#include "control/cni/asked.h"
#include "control/cni/port_kind.h"

namespace podwire::control {
namespace {

constexpr std::size_t kLongestFile = 65536;

std::string reason() {
  return std::strerror(errno);
}

bool sync(const std::string& path, int flags) {
  const int descriptor = open(path.c_str(), flags | O_CLOEXEC);
  if (descriptor < 0) return false;
  const bool done = fsync(descriptor) == 0;
  close(descriptor);
  return done;
}

Result<void> not_written(const std::string& path, const std::string& why) {
  return fail(path + ": cannot be written: " + why);
}

std::string folder_of(const std::string& path) {
  return std::filesystem::path(path).parent_path();
}

// Whole or not at all; `synced`: and on the disk.
Result<void> write_file(const std::string& path, const std::string& text, bool synced) {
  const std::string draft = path + ".new";
  const int descriptor = open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (descriptor < 0) return not_written(path, reason());
  std::size_t written = 0;
  while (written < text.size()) {
    const auto size = ::write(descriptor, text.data() + written, text.size() - written);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;
    written += static_cast<std::size_t>(size);
  }
  const bool whole = written == text.size() && (!synced || fsync(descriptor) == 0);
  const std::string cause = whole ? "" : reason();
  close(descriptor);
  if (!whole || rename(draft.c_str(), path.c_str()) != 0 ||
      (synced && !sync(folder_of(path), O_RDONLY | O_DIRECTORY))) {
    const std::string why = whole ? reason() : cause;
    unlink(draft.c_str());
    return not_written(path, why);
  }
  return {};
}

nlohmann::json to_json(const Attachment& attachment) {
  nlohmann::json json{{"version", 1},
                      {"containerId", attachment.container_id},
                      {"ifname", attachment.interface},
                      {"network", attachment.network},
                      {"netns", attachment.netns},
                      {"pod", attachment.pod},
                      {"mac", attachment.mac.to_string()},
                      {"mtu", attachment.mtu},
                      {"wishes", cni::to_json(attachment.wishes)},
                      {"port", to_json(attachment.kind)},
                      {"handle", attachment.handle},
                      {"ips", nlohmann::json::array()}};
  for (const auto& ip : attachment.ips) json["ips"].push_back(ip.to_string());
  return json;
}

std::optional<Attachment> from_json(const std::string& text) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  Attachment a;
  std::string mac;
  const std::pair<const char*, std::string*> texts[] = {{"containerId", &a.container_id},
                                                        {"ifname", &a.interface},
                                                        {"network", &a.network},
                                                        {"netns", &a.netns},
                                                        {"pod", &a.pod},
                                                        {"mac", &mac}};
  for (const auto& [key, field] : texts) {
    const auto found = json.find(key);
    if (found == json.end() || !found->is_string()) return std::nullopt;
    *field = found->get<std::string>();
  }
  // Records of before 2026-11-29 have none.
  if (const auto handle = json.find("handle"); handle != json.end()) {
    if (!handle->is_string()) return std::nullopt;
    a.handle = handle->get<std::string>();
  }
  const auto parsed_mac = net::Mac::parse(mac);
  const auto mtu = json.find("mtu");
  const auto ips = json.find("ips");
  const auto version = json.find("version");
  if (!parsed_mac || version == json.end() || *version != 1 || mtu == json.end() ||
      !mtu->is_number_unsigned() || mtu->get<std::uint64_t>() > 65535 || ips == json.end() ||
      !ips->is_array() || !cni::is_container_id(a.container_id) ||
      !cni::is_interface_name(a.interface) || !a.netns.starts_with('/')) {
    return std::nullopt;
  }
  a.mac = *parsed_mac;
  a.mtu = mtu->get<std::uint16_t>();
  if (const auto wishes = json.find("wishes"); wishes != json.end()) {
    std::string error;
    a.wishes = cni::read_wishes(*wishes, error);
    if (!error.empty() || !carry_over(a.wishes, a)) return std::nullopt;
  }
  // One of an older podwired has none: a tap.
  if (const auto port = json.find("port"); port != json.end()) {
    const auto read = read_pod_port(*port);
    if (!read) return std::nullopt;
    a.kind = *read;
  }
  for (const auto& ip : *ips) {
    const auto address =
        ip.is_string() ? net::Address::parse(ip.get<std::string>()) : std::optional<net::Address>{};
    if (!address) return std::nullopt;
    a.ips.push_back(*address);
  }
  return a;
}

}  // namespace

Result<void> write_whole(const std::string& path, const std::string& text) {
  return write_file(path, text, true);
}

std::vector<Result<void>> sync_records(const std::vector<std::string>& paths) {
  std::vector<Result<void>> results;
  std::vector<int> descriptors;
  for (const std::string& path : paths) {
    descriptors.push_back(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    // All on their way before the first is waited for: then the others find their way done.
    if (descriptors.back() >= 0) sync_file_range(descriptors.back(), 0, 0, SYNC_FILE_RANGE_WRITE);
  }
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const bool synced = descriptors[i] >= 0 && fsync(descriptors[i]) == 0;
    results.push_back(synced ? Result<void>{} : not_written(paths[i], reason()));
    if (descriptors[i] >= 0) close(descriptors[i]);
  }
  if (paths.empty() || sync(folder_of(paths[0]), O_RDONLY | O_DIRECTORY)) return results;
  for (std::size_t i = 0; i < paths.size(); ++i) results[i] = not_written(paths[i], reason());
  return results;
}

Result<void> make_private_folder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return fail(path + ": cannot be made: " + error.message());
  if (chmod(path.c_str(), 0700) != 0) return fail(path + ": mode cannot be set: " + reason());
  return {};
}

std::optional<std::string> read_whole(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text;
  text.assign(std::istreambuf_iterator<char>(file), {});
  if (!file || text.size() > kLongestFile) return std::nullopt;
  return text;
}

std::vector<std::string> json_files(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string path = entry.path();
    if (path.ends_with(".json")) {
      files.push_back(path);
    } else if (path.ends_with(".new")) {
      unlink(path.c_str());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

Records::Records(const std::string& state_dir)
    : folder_(state_dir + "/attachments"), pending_folder_(state_dir + "/" + cni::kPendingFolder) {}

std::string Records::path_of(const Attachment& attachment) const {
  return folder_ + "/" + attachment.container_id + "-" + attachment.interface + ".json";
}

Result<void> Records::prepare() {
  if (auto done = make_private_folder(folder_); !done) return done;
  return make_private_folder(pending_folder_);
}

Result<void> Records::write(const Attachment& attachment) {
  return write_file(path_of(attachment), to_json(attachment).dump() + "\n", false);
}

Result<void> Records::remove(const Attachment& attachment) {
  const std::string path = path_of(attachment);
  if (unlink(path.c_str()) != 0 && errno != ENOENT) {
    return fail(path + ": cannot be removed: " + reason());
  }
  return {};
}

std::vector<Attachment> Records::read_all(std::vector<std::string>& problems) {
  std::vector<Attachment> all;
  for (const std::string& path : json_files(folder_)) {
    const auto text = read_whole(path);
    if (text && text->empty()) {
      unlink(path.c_str());
      continue;
    }
    auto attachment = text ? from_json(*text) : std::nullopt;
    if (!attachment) {
      problems.push_back(path + ": is no attachment of podwire; remove it, or the pod again");
      continue;
    }
    all.push_back(std::move(*attachment));
  }
  return all;
}

std::vector<Records::Pending> Records::read_pending(std::vector<std::string>& problems) {
  std::vector<Pending> all;
  for (const std::string& path : json_files(pending_folder_)) {
    const auto text = read_whole(path);
    std::string error = "cannot be read";
    auto request = text ? cni::parse_request(*text, error) : std::nullopt;
    if (!request || request->command != "DEL") {
      problems.push_back(
          path + ": is no pending delete: " + (request ? "command is " + request->command : error));
      continue;
    }
    all.push_back({path, std::move(*request)});
  }
  return all;
}

}  // namespace podwire::control
