#include "bench/policy_versus/connections/sockets.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <system_error>

namespace podwire::policy_versus {
namespace {

constexpr int kBacklog = 4096;

Descriptor open_socket(int type, std::uint16_t port) {
  Descriptor made(socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (made.get() < 0) fail("socket");
  if (port == 0) return made;
  const auto own = socket_address({INADDR_ANY}, port);
  if (bind(made.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0) {
    fail("port " + std::to_string(port));
  }
  return made;
}

}  // namespace

Descriptor::~Descriptor() {
  if (fd_ >= 0) close(fd_);
}

Namespace::Namespace(std::string name)
    : name_(std::move(name)), file_(open(("/run/netns/" + name_).c_str(), O_RDONLY | O_CLOEXEC)) {
  if (file_.get() < 0) fail("namespace " + name_);
}

void Namespace::enter() const {
  if (setns(file_.get(), CLONE_NEWNET) != 0) fail("entering namespace " + name_);
}

Descriptor listen_tcp(std::uint16_t port) {
  auto made = open_socket(SOCK_STREAM, port);
  if (listen(made.get(), kBacklog) != 0) fail("listen");
  return made;
}

Descriptor bind_udp(std::uint16_t port) {
  return open_socket(SOCK_DGRAM, port);
}

Descriptor connect_tcp(in_addr to, std::uint16_t port, std::uint16_t source_port) {
  auto made = open_socket(SOCK_STREAM, source_port);
  const linger at_once{1, 0};
  setsockopt(made.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  const auto peer = socket_address(to, port);
  if (connect(made.get(), reinterpret_cast<const sockaddr*>(&peer), sizeof peer) != 0 &&
      errno != EINPROGRESS) {
    fail("connect");
  }
  return made;
}

void send_udp(in_addr to, std::uint16_t port, std::uint16_t source_port) {
  const auto made = open_socket(SOCK_DGRAM, source_port);
  const auto peer = socket_address(to, port);
  const std::uint64_t payload = 0;
  if (sendto(made.get(), &payload, sizeof payload, 0, reinterpret_cast<const sockaddr*>(&peer),
             sizeof peer) < 0) {
    fail("sendto");
  }
}

bool readable(int fd, int timeout_ms) {
  pollfd asked{fd, POLLIN, 0};
  return poll(&asked, 1, timeout_ms) > 0;
}

sockaddr_in socket_address(in_addr address, std::uint16_t port) {
  sockaddr_in made{};
  made.sin_family = AF_INET;
  made.sin_port = htons(port);
  made.sin_addr = address;
  return made;
}

void fail(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

}  // namespace podwire::policy_versus
