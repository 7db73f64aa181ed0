#include "control/cni/port_socket.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>

namespace podwire::control {
namespace {

constexpr unsigned kMostLeftovers = 4096;  // files that a pod may leave in its folder

std::string last_error() {
  return std::strerror(errno);
}

bool is_abstract(const PodPort& port) {
  return port.socket.starts_with('@');
}

std::string parent_of(const std::string& path) {
  return std::filesystem::path(path).parent_path();
}

// The pods' folders stand in one that everybody may pass through and nobody list.
Result<void> make_parent(const std::string& path) {
  if (mkdir(path.c_str(), 0711) == 0) {
    if (chmod(path.c_str(), 0711) == 0) return {};  // whatever the umask is
  } else if (errno == EEXIST) {
    return {};
  }
  return fail("port.socket: folder " + path + " cannot be made: " + last_error());
}

// A pod that serves the socket makes it there; one that calls only passes through.
mode_t folder_mode(const PodPort& port) {
  const mode_t group = (port.mode & 0060) != 0 ? (port.client ? 0070 : 0050) : 0;
  return 0700 | group;
}

Result<void> make_folder_of(const PodPort& port) {
  if (auto made = make_parent(parent_of(port.folder)); !made) return made;
  if (mkdir(port.folder.c_str(), 0700) != 0 && errno != EEXIST) {
    return fail("port.socket: folder " + port.folder + " cannot be made: " + last_error());
  }
  const int folder = open(port.folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  const uid_t owner = port.client ? port.owner : 0;  // the pod may not replace what podwire serves
  const bool done = folder >= 0 && fchown(folder, owner, port.group) == 0 &&
                    fchmod(folder, folder_mode(port)) == 0;
  const std::string error = last_error();
  if (folder >= 0) close(folder);
  if (done) return {};
  return fail("port.socket: folder " + port.folder + ": owner and mode: " + error);
}

// Where everybody may write, anybody can be the other side.
Result<void> check_closed(const std::string& folder, const struct stat& info) {
  if (!S_ISDIR(info.st_mode)) return fail("port.socket: " + folder + " is no folder");
  if ((info.st_mode & 0002) == 0) return {};
  return fail("port.socket: everybody may write to " + folder + "; choose another folder");
}

Result<void> check_folder_of(const PodPort& port) {
  const std::string folder = parent_of(port.socket);
  struct stat info {};
  if (lstat(folder.c_str(), &info) == 0) return check_closed(folder, info);
  return fail("port.socket: folder " + folder + ": " + last_error());
}

Result<std::shared_ptr<io::Port>> open_on_socket(DataplaneLink& dataplane, const Attachment& of) {
  const PodPort& port = of.kind;
  if (port.kind == PortKind::vhost_user) {
    return dataplane.open_vhost_user({.path = port.socket, .queues = port.queues});
  }
  MemifRequest request;
  if (is_abstract(port)) request.netns = of.netns;
  request.socket = port.socket;
  request.client = port.client;
  request.queues = port.queues;
  request.ring_size = port.ring_size;
  request.owner = port.owner;
  request.group = port.group;
  request.mode = port.mode;
  return dataplane.open_memif(request);
}

// What is in the folder, with it; never what a link in it leads to. False: there is too much.
bool clear_folder(const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code error;
  unsigned seen = 0;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    if (++seen > kMostLeftovers) return false;
  }
  fs::remove_all(folder, error);
  return !error;
}

}  // namespace

Result<void> check_socket_place(const PodPort& port) {
  if (port.socket.empty() || is_abstract(port)) return {};
  const std::string folder = parent_of(port.folder.empty() ? port.socket : port.folder);
  struct stat info {};
  if (lstat(folder.c_str(), &info) != 0) return {};
  return check_closed(folder, info);
}

Result<std::shared_ptr<io::Port>> open_socket_port(DataplaneLink& dataplane, const Attachment& of) {
  const PodPort& port = of.kind;
  Result<void> ready;
  if (!port.folder.empty()) ready = make_folder_of(port);
  if (ready && !is_abstract(port)) ready = check_folder_of(port);
  Result<std::shared_ptr<io::Port>> opened =
      ready ? open_on_socket(dataplane, of) : tl::unexpected(ready.error());
  // Only when it is empty: another interface of the pod may have its socket there.
  if (!opened && !port.folder.empty()) rmdir(port.folder.c_str());
  return opened;
}

Result<void> close_socket_port(const PodPort& port, const std::vector<Attachment>& others) {
  if (port.folder.empty()) return {};  // a port has removed its own socket
  struct stat info {};
  if (lstat(port.socket.c_str(), &info) == 0 && S_ISSOCK(info.st_mode)) {
    unlink(port.socket.c_str());
  }
  if (rmdir(port.folder.c_str()) == 0 || errno == ENOENT) return {};
  const bool shared = std::any_of(others.begin(), others.end(), [&](const Attachment& other) {
    return other.kind.folder == port.folder;
  });
  if (shared || clear_folder(port.folder)) return {};
  return fail("folder " + port.folder +
              " of a pod that is gone holds more than podwire removes; "
              "remove it");
}

Result<void> check_socket_port(const Attachment& of) {
  const PodPort& port = of.kind;
  if (access(of.netns.c_str(), F_OK) != 0) return fail(of.netns + ": " + last_error());
  if (is_abstract(port) || port.client) return {};
  struct stat info {};
  if (lstat(port.socket.c_str(), &info) != 0 || !S_ISSOCK(info.st_mode)) {
    return fail(of.interface + ": its socket " + port.socket + " is gone");
  }
  return {};
}

}  // namespace podwire::control
