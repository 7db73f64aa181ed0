// One netlink socket of the current network namespace, for requests that change something and are
// acknowledged. Control thread only.
#pragma once

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

#include <array>
#include <cstdint>

namespace podwire::control {

class Netlink {
 public:
  Netlink();  // ok() says whether it worked
  ~Netlink();
  Netlink(const Netlink&) = delete;
  Netlink& operator=(const Netlink&) = delete;
  [[nodiscard]] bool ok() const { return socket_ != nullptr; }

  // Begins a request; add a body and attributes to it, then send().
  nlmsghdr* begin(std::uint16_t type, std::uint16_t flags);
  // 0, or errno as the kernel reports it.
  int send();

 private:
  mnl_socket* socket_ = nullptr;
  nlmsghdr* message_ = nullptr;
  std::uint32_t sequence_ = 0;
  alignas(nlmsghdr) std::array<char, 1024> buffer_{};
};

}  // namespace podwire::control
