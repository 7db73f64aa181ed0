#include "cni-shim/daemon.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace podwire::cni {
namespace {

// Longer than a podwired needs, shorter than the patience of a runtime.
constexpr int kPatienceSeconds = 30;
constexpr std::size_t kLongestReply = std::size_t{1} << 20;

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return number_; }

 private:
  int number_;
};

bool write_all(int descriptor, const std::string& text, bool to_socket) {
  std::size_t done = 0;
  while (done < text.size()) {
    const char* rest = text.data() + done;
    const auto size = to_socket ? send(descriptor, rest, text.size() - done, MSG_NOSIGNAL)
                                : write(descriptor, rest, text.size() - done);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return false;
    done += static_cast<std::size_t>(size);
  }
  return true;
}

Reply broken(const std::string& path, const std::string& why) {
  return {Code::try_later, path + ": " + why, nullptr};
}

std::string note_path(const std::string& state_dir, const Request& request) {
  return state_dir + "/" + kPendingFolder + "/" + request.container_id + "-" + request.interface +
         ".json";
}

}  // namespace

std::optional<Reply> ask(const std::string& socket_path, const Request& request) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof address.sun_path) {
    return Reply{Code::config, "runDir: " + socket_path + " is too long for a socket", nullptr};
  }
  std::memcpy(address.sun_path, socket_path.c_str(), socket_path.size() + 1);
  const Descriptor socket_fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (socket_fd.get() < 0) return broken(socket_path, std::strerror(errno));
  const timeval patience{kPatienceSeconds, 0};
  setsockopt(socket_fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(socket_fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (connect(socket_fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    if (errno == ENOENT || errno == ECONNREFUSED) return std::nullopt;
    return broken(socket_path, std::strerror(errno));
  }
  const std::string line =
      to_json(request).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  if (!write_all(socket_fd.get(), line, true)) {
    return broken(socket_path, "podwired did not take the request");
  }
  std::string text;
  char chunk[4096];
  while (text.find('\n') == std::string::npos && text.size() < kLongestReply) {
    const auto size = recv(socket_fd.get(), chunk, sizeof chunk, 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      return broken(socket_path, "podwired did not answer in time");
    }
    if (size <= 0) return broken(socket_path, "podwired hung up before it answered");
    text.append(chunk, static_cast<std::size_t>(size));
  }
  const auto reply = parse_reply(text);
  return reply ? *reply : broken(socket_path, "podwired's answer makes no sense");
}

std::string note_delete(const std::string& state_dir, const Request& request) {
  const std::string folder = state_dir + "/" + kPendingFolder;
  const std::string path = note_path(state_dir, request);
  const auto failed = [](const std::string& what) { return what + ": " + std::strerror(errno); };
  for (const std::string& made : {state_dir, folder}) {
    if (mkdir(made.c_str(), 0700) != 0 && errno != EEXIST) return failed(made);
  }
  const std::string draft = path + ".new";
  const Descriptor file(open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (file.get() < 0) return failed(draft);
  const std::string text =
      to_json(request).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (!write_all(file.get(), text + "\n", false) || fsync(file.get()) != 0 ||
      rename(draft.c_str(), path.c_str()) != 0) {
    std::string why = failed(path);
    unlink(draft.c_str());
    return why;
  }
  const Descriptor parent(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (parent.get() < 0 || fsync(parent.get()) != 0) return failed(folder);
  return {};
}

void drop_note(const std::string& state_dir, const Request& request) {
  unlink(note_path(state_dir, request).c_str());
}

}  // namespace podwire::cni
