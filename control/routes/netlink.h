// rtnetlink over libmnl, as far as podwire needs it (rtnetlink(7)). In the network namespace of the
// thread that opens it. Control thread only.
#pragma once

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/net/address.h"
#include "dataplane/result.h"

namespace podwire::control::routes {

// A message under construction.
class Message {
 public:
  Message(std::uint16_t type, std::uint16_t flags);
  // The fixed header that follows nlmsghdr: ifaddrmsg, rtmsg, ndmsg, ifinfomsg.
  template <typename Header>
  Header& header() {
    return *static_cast<Header*>(mnl_nlmsg_put_extra_header(header_, sizeof(Header)));
  }
  void put(std::uint16_t type, const net::Address& address);  // 4 or 16 bytes
  void put_u32(std::uint16_t type, std::uint32_t value);
  void put_bytes(std::uint16_t type, const void* bytes, std::size_t size);
  [[nodiscard]] nlmsghdr* raw() { return header_; }

 private:
  alignas(nlmsghdr) std::array<char, 4096> buffer_{};
  nlmsghdr* header_;
};

// Attributes by type; the message outlives this.
class Attributes {
 public:
  Attributes(const nlmsghdr& message, unsigned header_size);
  [[nodiscard]] const nlattr* find(std::uint16_t type) const {
    return type < all_.size() ? all_[type] : nullptr;
  }
  [[nodiscard]] std::optional<std::uint32_t> u32(std::uint16_t type) const;
  // 4 or 16 bytes.
  [[nodiscard]] std::optional<net::Address> address(std::uint16_t type) const;

 private:
  std::array<const nlattr*, 64> all_{};
};

class Netlink {
 public:
  // `groups`: RTNLGRP_... whose events receive() shall see.
  static Result<Netlink> open(const std::vector<unsigned>& groups = {});
  [[nodiscard]] int descriptor() const { return mnl_socket_get_fd(socket_.get()); }

  using Each = std::function<void(const nlmsghdr&)>;
  // Sends and waits for the kernel's answer; the error names the kernel's reason.
  Result<void> request(Message& message);
  // The errno of the last refused request().
  [[nodiscard]] int last_error() const { return last_error_; }
  // Everything of a kind, anew from the start when it changed meanwhile: `restart` is called then.
  Result<void> dump(std::uint16_t type, std::uint8_t family, const Each& each,
                    const std::function<void()>& restart);

  enum class Received : std::uint8_t { nothing, some, overrun };
  // What has arrived for the groups; never waits. After an overrun events are lost: dump again.
  Received receive(const Each& each);

 private:
  struct Close {
    void operator()(mnl_socket* socket) const { mnl_socket_close(socket); }
  };
  explicit Netlink(mnl_socket* socket);
  Result<bool> dump_once(std::uint16_t type, std::uint8_t family, const Each& each);

  std::unique_ptr<mnl_socket, Close> socket_;
  std::vector<char> buffer_;
  std::uint32_t sequence_ = 0;
  int last_error_ = 0;
};

}  // namespace podwire::control::routes
