#include "dataplane/io/vhost_receive.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "dataplane/io/vhost_message.h"

namespace podwire::io {
namespace {

constexpr std::size_t kHeaderBytes = 12;

thread_local int unasked = 0;

bool is_library_thread() noexcept {
  // rte_vhost_driver_start() names it.
  static thread_local const bool is = [] {
    std::array<char, 16> name{};
    return pthread_getname_np(pthread_self(), name.data(), name.size()) == 0 &&
           std::string_view(name.data()) == "vhost-events";
  }();
  return is;
}

// Those for which the library makes queues, and that come without descriptors.
bool names_a_ring_alone(std::uint32_t request) noexcept {
  switch (request) {
    case VhostMessage::set_vring_num:
    case VhostMessage::set_vring_addr:
    case VhostMessage::set_vring_base:
    case VhostMessage::get_vring_base:
    case VhostMessage::set_vring_enable:
    case VhostMessage::set_inflight_fd:  // never negotiated
      return true;
    default:
      return false;
  }
}

int close_descriptors(msghdr& message) noexcept {
  int closed = 0;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i, ++closed) {
      int descriptor = -1;
      std::memcpy(&descriptor, CMSG_DATA(part) + i * sizeof descriptor, sizeof descriptor);
      close(descriptor);
    }
  }
  message.msg_controllen = 0;
  return closed;
}

void look_at(msghdr& message) noexcept {
  unasked = 0;
  std::uint32_t request = 0;
  if (message.msg_iovlen != 1 || message.msg_iov[0].iov_len != kHeaderBytes) return;
  std::memcpy(&request, message.msg_iov[0].iov_base, sizeof request);
  if (names_a_ring_alone(request)) unasked = close_descriptors(message);
}

}  // namespace

int unasked_descriptors() noexcept {
  return unasked;
}

}  // namespace podwire::io

extern "C" __attribute__((visibility("default"))) ssize_t recvmsg(int socket, msghdr* message,
                                                                  int flags) {
  const ssize_t count = syscall(SYS_recvmsg, socket, message, flags);
  if (count > 0 && podwire::io::is_library_thread()) podwire::io::look_at(*message);
  return count;
}
