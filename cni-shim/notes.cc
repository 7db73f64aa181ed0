#include "cni-shim/notes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "cni-shim/descriptor.h"

namespace podwire::cni {
namespace {

using nlohmann::json;

std::string path_of(const std::string& state_dir, const char* folder, const AttachmentName& name) {
  return state_dir + "/" + folder + "/" + name.container_id + "-" + name.interface + ".json";
}

std::optional<json> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  json read = json::parse(text, nullptr, false);
  if (!file || !read.is_object()) return std::nullopt;
  return read;
}

std::string failed(const std::string& what) {
  return what + ": " + std::strerror(errno);
}

std::string write_whole(const std::string& path, const std::string& text) {
  const std::string draft = path + ".new";
  const std::string folder = std::filesystem::path(path).parent_path();
  const Descriptor file(open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (file.get() < 0) return failed(draft);
  if (!write_all(file.get(), text) || fsync(file.get()) != 0 ||
      rename(draft.c_str(), path.c_str()) != 0) {
    std::string why = failed(path);
    unlink(draft.c_str());
    return why;
  }
  const Descriptor parent(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (parent.get() < 0 || fsync(parent.get()) != 0) return failed(folder);
  return {};
}

}  // namespace

std::string write_note(const std::string& state_dir, const char* folder, const AttachmentName& name,
                       const json& note) {
  for (const std::string& made : {state_dir, state_dir + "/" + folder}) {
    if (mkdir(made.c_str(), 0700) != 0 && errno != EEXIST) return failed(made);
  }
  const std::string text = note.dump(-1, ' ', false, json::error_handler_t::replace);
  return write_whole(path_of(state_dir, folder, name), text + "\n");
}

std::optional<json> read_note(const std::string& state_dir, const char* folder,
                              const AttachmentName& name) {
  return read_file(path_of(state_dir, folder, name));
}

std::vector<json> read_notes(const std::string& state_dir, const char* folder) {
  std::vector<json> notes;
  std::error_code error;
  for (const auto& one : std::filesystem::directory_iterator(state_dir + "/" + folder, error)) {
    if (one.path().extension() == ".new") unlink(one.path().c_str());
    if (one.path().extension() != ".json") continue;
    if (auto note = read_file(one.path())) notes.push_back(std::move(*note));
  }
  return notes;
}

void drop_note(const std::string& state_dir, const char* folder, const AttachmentName& name) {
  const std::string path = path_of(state_dir, folder, name);
  unlink(path.c_str());
  unlink((path + ".new").c_str());
}

}  // namespace podwire::cni
