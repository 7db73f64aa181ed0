#include "control/cni/netlink.h"

#include <cerrno>

namespace podwire::control {

Netlink::Netlink() {
  socket_ = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
  if (socket_ != nullptr && mnl_socket_bind(socket_, 0, MNL_SOCKET_AUTOPID) < 0) {
    mnl_socket_close(socket_);
    socket_ = nullptr;
  }
}

Netlink::~Netlink() {
  if (socket_ != nullptr) mnl_socket_close(socket_);
}

nlmsghdr* Netlink::begin(std::uint16_t type, std::uint16_t flags) {
  message_ = mnl_nlmsg_put_header(buffer_.data());
  message_->nlmsg_type = type;
  message_->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
  message_->nlmsg_seq = ++sequence_;
  return message_;
}

int Netlink::send() {
  if (mnl_socket_sendto(socket_, message_, message_->nlmsg_len) < 0) return errno;
  alignas(nlmsghdr) std::array<char, 8192> answer;
  const auto port = mnl_socket_get_portid(socket_);
  for (;;) {
    const auto size = mnl_socket_recvfrom(socket_, answer.data(), answer.size());
    if (size < 0) return errno;
    const int state = mnl_cb_run(answer.data(), static_cast<std::size_t>(size), sequence_, port,
                                 nullptr, nullptr);
    if (state < 0) return errno;
    if (state == MNL_CB_STOP) return 0;
  }
}

}  // namespace podwire::control
