// Sockets in other network namespaces: a socket stays in the namespace that it was opened in, so
// one thread serves both ends of a connection. Errors are exceptions that name what failed.
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <string>
#include <utility>

namespace podwire::policy_versus {

// A file descriptor that is closed with its owner.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_ = -1;
};

// A network namespace of `ip netns`.
class Namespace {
 public:
  explicit Namespace(std::string name);
  void enter() const;  // the calling thread's new sockets are in it from now on
  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  std::string name_;
  Descriptor file_;
};

// All are non-blocking and of the namespace that the thread is in; ports in host order.
Descriptor listen_tcp(std::uint16_t port);
Descriptor bind_udp(std::uint16_t port);
// The SYN is sent; closing the socket ends the connection by a reset, or sends nothing if there is
// none yet. Source port 0: any.
Descriptor connect_tcp(in_addr to, std::uint16_t port, std::uint16_t source_port);
// One datagram of eight bytes.
void send_udp(in_addr to, std::uint16_t port, std::uint16_t source_port);

// Whether something can be read (an accept is a read) before the time is over.
bool readable(int fd, int timeout_ms);
sockaddr_in socket_address(in_addr address, std::uint16_t port);
[[noreturn]] void fail(const std::string& what);  // with errno's text

}  // namespace podwire::policy_versus
