#include "control/ipam/journal.h"

#include <unistd.h>

#include <optional>

#include "control/cni/records.h"

namespace podwire::control {
namespace {

using nlohmann::json;

std::optional<Journal::Note> note_of(const std::string& text) {
  const auto value = json::parse(text, nullptr, false);
  if (!value.is_object()) return std::nullopt;
  Journal::Note note;
  const std::pair<const char*, std::string*> texts[] = {{"containerId", &note.name.container_id},
                                                        {"ifname", &note.name.interface},
                                                        {"handle", &note.handle}};
  for (const auto& [key, field] : texts) {
    const auto found = value.find(key);
    if (found == value.end() || !found->is_string()) return std::nullopt;
    *field = found->get<std::string>();
  }
  const auto ips = value.find("ips");
  if (note.handle.empty() || ips == value.end() || !ips->is_array()) return std::nullopt;
  for (const json& ip : *ips) {
    const auto address =
        ip.is_string() ? net::Address::parse(ip.get<std::string>()) : std::optional<net::Address>{};
    if (!address) return std::nullopt;
    note.addresses.push_back(*address);
  }
  return note;
}

}  // namespace

std::string Journal::path_of(const cni::AttachmentName& name) const {
  return folder_ + "/" + name.container_id + "-" + name.interface + ".json";
}

Result<void> Journal::prepare() {
  return make_private_folder(folder_);
}

Result<void> Journal::write(const Note& note) {
  json value{{"containerId", note.name.container_id},
             {"ifname", note.name.interface},
             {"handle", note.handle},
             {"ips", json::array()}};
  for (const net::Address& ip : note.addresses) value["ips"].push_back(ip.to_string());
  return write_whole(path_of(note.name), value.dump() + "\n");
}

void Journal::remove(const cni::AttachmentName& name) {
  unlink(path_of(name).c_str());
}

std::vector<Journal::Note> Journal::read_all(std::vector<std::string>& problems) const {
  std::vector<Note> all;
  for (const std::string& path : json_files(folder_)) {
    const auto text = read_whole(path);
    auto note = text ? note_of(*text) : std::nullopt;
    if (note) {
      all.push_back(std::move(*note));
    } else {
      problems.push_back(path + ": is no note of podwire about addresses; remove it");
    }
  }
  return all;
}

}  // namespace podwire::control
