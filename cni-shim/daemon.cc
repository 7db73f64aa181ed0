#include "cni-shim/daemon.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "cni-shim/descriptor.h"

namespace podwire::cni {
namespace {

// Longer than a podwired needs, shorter than the patience of a runtime.
constexpr int kPatienceSeconds = 30;
constexpr std::size_t kLongestReply = std::size_t{1} << 20;

Reply broken(const std::string& path, const std::string& why) {
  return {Code::try_later, path + ": " + why, nullptr};
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
  if (!write_all(socket_fd.get(), line)) {
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

}  // namespace podwire::cni
