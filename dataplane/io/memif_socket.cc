#include "dataplane/io/memif_socket.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <thread>

#include "dataplane/io/namespace.h"

namespace podwire::io {
namespace {

constexpr std::size_t kLongestName = sizeof(sockaddr_un::sun_path) - 1;
constexpr int kBacklog = 4;
// More descriptors than this beside one message are closed by the kernel; two are already refused.
constexpr std::size_t kMaxPassed = 4;

struct SocketName {
  sockaddr_un address{};
  socklen_t length = 0;
};

SocketName name_of(const MemifAddress& where) {
  SocketName name;
  name.address.sun_family = AF_UNIX;
  where.socket.copy(name.address.sun_path, kLongestName);
  if (where.is_abstract()) name.address.sun_path[0] = '\0';
  // The exact length: padding would be part of an abstract name.
  name.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + where.socket.size() +
                                       (where.is_abstract() ? 0 : 1));
  return name;
}

Descriptor new_socket() {
  return Descriptor(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

const sockaddr* as_sockaddr(const SocketName& name) {
  return reinterpret_cast<const sockaddr*>(&name.address);
}

std::string error_at(const MemifAddress& where, const char* step, int error) {
  return "memif socket " + where.socket + ": " + step + ": " + std::strerror(error);
}

// A socket whose server is dead makes way for ours; anything else is left alone.
Result<void> remove_stale(const MemifAddress& where) {
  struct stat file {};
  if (lstat(where.socket.c_str(), &file) != 0) return {};
  if (!S_ISSOCK(file.st_mode)) {
    return fail("memif socket " + where.socket + ": a file that is no socket is there");
  }
  const Descriptor probe = new_socket();
  const SocketName name = name_of(where);
  const int done = connect(probe.get(), as_sockaddr(name), name.length);
  if (done == 0 || errno != ECONNREFUSED) {
    return fail("memif socket " + where.socket + ": another process serves it");
  }
  if (unlink(where.socket.c_str()) != 0) return fail(error_at(where, "unlink", errno));
  return {};
}

// The owner of the very socket that was bound: whoever can write to its folder may have put
// something else in its place.
Result<void> give_to_owner(const MemifAddress& where) {
  const Descriptor file(open(where.socket.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat info {};
  if (!file || fstat(file.get(), &info) != 0) return fail(error_at(where, "open", errno));
  if (!S_ISSOCK(info.st_mode) || info.st_nlink != 1) {
    return fail("memif socket " + where.socket + ": something else was put in its place");
  }
  if (fchownat(file.get(), "", where.owner, where.group, AT_EMPTY_PATH) != 0) {
    return fail(error_at(where, "chown", errno));
  }
  return {};
}

Result<Descriptor> bind_here(const MemifAddress& where) {
  Descriptor listener = new_socket();
  if (!listener) return fail(error_at(where, "socket", errno));
  const SocketName name = name_of(where);
  if (!where.is_abstract()) {
    // The file's mode is the socket's own less the mask of this thread, which ends with it.
    if (unshare(CLONE_FS) != 0) return fail(error_at(where, "unshare", errno));
    umask(0);
    if (fchmod(listener.get(), where.mode) != 0) return fail(error_at(where, "chmod", errno));
  }
  if (bind(listener.get(), as_sockaddr(name), name.length) != 0) {
    return fail(error_at(where, "bind", errno));
  }
  if (!where.is_abstract()) {
    if (auto done = give_to_owner(where); !done) return tl::unexpected(done.error());
  }
  if (listen(listener.get(), kBacklog) != 0) return fail(error_at(where, "listen", errno));
  return listener;
}

}  // namespace

Result<void> check_memif_address(const MemifAddress& where) {
  const std::string start = "memif socket \"" + where.socket + "\": ";
  if (where.socket.size() < 2 || (where.socket[0] != '@' && where.socket[0] != '/')) {
    return fail(start + "give \"@name\" or an absolute path");
  }
  if (where.socket.size() > kLongestName) {
    return fail(start + std::to_string(where.socket.size()) + " bytes, at most " +
                std::to_string(kLongestName) + " fit");
  }
  if (where.socket.find('\0') != std::string::npos) return fail(start + "holds a zero byte");
  return {};
}

Result<Descriptor> listen_memif(const MemifAddress& where) {
  if (!where.is_abstract()) {
    if (auto done = remove_stale(where); !done) return tl::unexpected(done.error());
  }
  Result<Descriptor> made = fail("");
  if (!where.is_abstract()) {
    std::thread([&] { made = bind_here(where); }).join();
    return made;
  }
  const auto entered = in_namespace(where.netns, [&] { made = bind_here(where); });
  if (!entered) return tl::unexpected(entered.error());
  return made;
}

void remove_memif_socket(const MemifAddress& where) {
  struct stat file {};
  if (where.is_abstract() || lstat(where.socket.c_str(), &file) != 0) return;
  if (S_ISSOCK(file.st_mode)) unlink(where.socket.c_str());
}

Result<Descriptor> connect_memif(const MemifAddress& where) {
  Descriptor made;
  int error = 0;
  const auto call = [&](const SocketName& name) {
    made = new_socket();
    if (!made || connect(made.get(), as_sockaddr(name), name.length) != 0) error = errno;
  };
  if (where.is_abstract()) {
    const auto entered = in_namespace(where.netns, [&] { call(name_of(where)); });
    if (!entered) return tl::unexpected(entered.error());
  } else {
    // The folder may be the pod's: a link in the socket's place leads nowhere.
    const Descriptor file(open(where.socket.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!file) return fail(error_at(where, "connect", errno));
    struct stat info {};
    if (fstat(file.get(), &info) != 0 || !S_ISSOCK(info.st_mode)) {
      return fail("memif socket " + where.socket + ": a file that is no socket is there");
    }
    MemifAddress opened;
    opened.socket = "/proc/self/fd/" + std::to_string(file.get());
    call(name_of(opened));
  }
  if (error != 0) return fail(error_at(where, "connect", error));
  return made;
}

std::string memif_peer(int connection) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return "pid=?";
  return "pid=" + std::to_string(peer.pid) + " uid=" + std::to_string(peer.uid) +
         " gid=" + std::to_string(peer.gid);
}

Result<std::optional<MemifReceived>> receive_memif(int connection) {
  MemifReceived received;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxPassed * sizeof(int))> control{};
  iovec data{&received.message, sizeof received.message};
  msghdr header{};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  const ssize_t length = recvmsg(connection, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (length < 0) {
    if (errno == EAGAIN || errno == EINTR) return std::nullopt;
    return fail(std::string("its connection: ") + std::strerror(errno));
  }
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      received.passed.emplace_back(fd);
    }
  }
  if (length == 0) return fail("it closed its connection");
  if (static_cast<std::size_t>(length) != sizeof received.message ||
      (header.msg_flags & MSG_TRUNC) != 0) {
    return fail("a message of " + std::to_string(length) + " bytes");
  }
  if ((header.msg_flags & MSG_CTRUNC) != 0) return fail("a message with too many descriptors");
  return received;
}

Result<void> send_memif(int connection, const memif::Message& message, int passed) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  memif::Message copy = message;
  iovec data{&copy, sizeof copy};
  msghdr header{};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  if (passed >= 0) {
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof passed);
    std::memcpy(CMSG_DATA(c), &passed, sizeof passed);
  }
  const ssize_t sent = sendmsg(connection, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent == static_cast<ssize_t>(sizeof copy)) return {};
  if (sent < 0 && errno == EAGAIN) return fail("it does not read its messages");
  return fail(std::string("its connection: ") + (sent < 0 ? std::strerror(errno) : "cut short"));
}

}  // namespace podwire::io
