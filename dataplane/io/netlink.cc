#include "dataplane/io/netlink.h"

#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace podwire::io {
namespace {

// Sends one request and waits for its acknowledgement. Returns 0 or an errno value.
int request(nlmsghdr* message) {
  mnl_socket* socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
  if (socket == nullptr) return errno;
  message->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
  message->nlmsg_seq = 1;
  int error = 0;
  std::array<char, 8192> answer;
  if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
      mnl_socket_sendto(socket, message, message->nlmsg_len) < 0) {
    error = errno;
  } else {
    const auto length = mnl_socket_recvfrom(socket, answer.data(), answer.size());
    if (length < 0 || mnl_cb_run(answer.data(), static_cast<std::size_t>(length), 1,
                                 mnl_socket_get_portid(socket), nullptr, nullptr) < 0) {
      error = errno;
    }
  }
  mnl_socket_close(socket);
  return error;
}

// A message about one device with room for a few attributes.
struct LinkMessage {
  LinkMessage(std::uint16_t type, int index) {
    header = mnl_nlmsg_put_header(buffer.data());
    header->nlmsg_type = type;
    auto* link = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(header, sizeof(ifinfomsg)));
    link->ifi_family = AF_UNSPEC;
    link->ifi_index = index;
  }
  alignas(nlmsghdr) std::array<char, 256> buffer{};
  nlmsghdr* header;
};

}  // namespace

Result<void> set_link_limits(int index, unsigned max_frame) {
  LinkMessage message(RTM_SETLINK, index);
  mnl_attr_put_u32(message.header, IFLA_GSO_MAX_SIZE, max_frame);
  mnl_attr_put_u32(message.header, IFLA_GRO_MAX_SIZE, max_frame);
  if (const int error = request(message.header); error != 0) {
    return fail(std::string("set gso_max_size of a tap device: ") + std::strerror(error));
  }
  return {};
}

Result<void> take_queueing_away(int index) {
  alignas(nlmsghdr) std::array<char, 256> buffer{};
  nlmsghdr* message = mnl_nlmsg_put_header(buffer.data());
  message->nlmsg_type = RTM_NEWQDISC;
  message->nlmsg_flags = NLM_F_CREATE | NLM_F_REPLACE;
  auto* discipline = static_cast<tcmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(tcmsg)));
  discipline->tcm_family = AF_UNSPEC;
  discipline->tcm_ifindex = index;
  discipline->tcm_parent = TC_H_ROOT;
  mnl_attr_put_strz(message, TCA_KIND, "noqueue");
  if (const int error = request(message); error != 0) {
    return fail(std::string("take the queueing discipline away: ") + std::strerror(error));
  }
  return {};
}

Result<void> remove_link(const std::string& interface) {
  const unsigned index = if_nametoindex(interface.c_str());
  if (index == 0) return {};
  LinkMessage message(RTM_DELLINK, static_cast<int>(index));
  const int error = request(message.header);
  if (error != 0 && error != ENODEV) {
    return fail("remove interface " + interface + ": " + std::strerror(error));
  }
  return {};
}

Result<void> detach_xdp(const std::string& interface) {
  const unsigned index = if_nametoindex(interface.c_str());
  if (index == 0) return fail("device " + interface + " does not exist in this network namespace");
  LinkMessage message(RTM_SETLINK, static_cast<int>(index));
  nlattr* xdp = mnl_attr_nest_start(message.header, IFLA_XDP);
  const int none = -1;
  mnl_attr_put(message.header, IFLA_XDP_FD, sizeof none, &none);
  mnl_attr_nest_end(message.header, xdp);
  if (const int error = request(message.header); error != 0) {
    return fail("take the XDP program off " + interface + ": " + std::strerror(error));
  }
  return {};
}

}  // namespace podwire::io
