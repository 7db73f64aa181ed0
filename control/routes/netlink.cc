#include "control/routes/netlink.h"

#include <linux/nexthop.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace podwire::control::routes {
namespace {

constexpr std::size_t kBufferBytes = 65536;    // of one answer; the kernel fills up to 32 KiB
constexpr int kEventBytes = 32 * 1024 * 1024;  // of events that wait for us: some 40,000
constexpr timeval kAnswerTimeout{2, 0};
constexpr unsigned kDumpAttempts = 10;

std::string reason(int error) {
  return std::strerror(error);
}

}  // namespace

Message::Message(std::uint16_t type, std::uint16_t flags)
    : header_(mnl_nlmsg_put_header(buffer_.data())) {
  header_->nlmsg_type = type;
  header_->nlmsg_flags = flags;
}

void Message::put(std::uint16_t type, const net::Address& address) {
  if (address.is_v4()) {
    put_bytes(type, address.bytes.data() + 12, 4);
  } else {
    put_bytes(type, address.bytes.data(), 16);
  }
}

void Message::put_u32(std::uint16_t type, std::uint32_t value) {
  mnl_attr_put_u32(header_, type, value);
}

void Message::put_bytes(std::uint16_t type, const void* bytes, std::size_t size) {
  mnl_attr_put(header_, type, size, bytes);
}

Attributes::Attributes(const nlmsghdr& message, unsigned header_size) {
  mnl_attr_parse(
      &message, header_size,
      [](const nlattr* attribute, void* data) {
        auto& all = *static_cast<decltype(all_)*>(data);
        const std::uint16_t type = mnl_attr_get_type(attribute);
        if (type < all.size()) all[type] = attribute;
        return MNL_CB_OK;
      },
      &all_);
}

std::optional<std::uint32_t> Attributes::u32(std::uint16_t type) const {
  const nlattr* found = find(type);
  if (found == nullptr || mnl_attr_get_payload_len(found) != 4) return std::nullopt;
  return mnl_attr_get_u32(found);
}

std::optional<net::Address> Attributes::address(std::uint16_t type) const {
  const nlattr* found = find(type);
  if (found == nullptr) return std::nullopt;
  const void* bytes = mnl_attr_get_payload(found);
  const std::uint16_t size = mnl_attr_get_payload_len(found);
  if (size == 16) return net::Address::from_v6(bytes);
  if (size != 4) return std::nullopt;
  std::uint32_t raw;
  std::memcpy(&raw, bytes, 4);
  return net::Address::from_v4(net::be32::from_raw(raw));
}

Netlink::Netlink(mnl_socket* socket) : socket_(socket), buffer_(kBufferBytes) {}

Result<Netlink> Netlink::open(const std::vector<unsigned>& groups) {
  mnl_socket* socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
  if (socket == nullptr) return fail("netlink socket: " + reason(errno));
  Netlink netlink(socket);
  if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) != 0) {
    return fail("netlink socket cannot be bound: " + reason(errno));
  }
  const int descriptor = netlink.descriptor();
  setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &kAnswerTimeout, sizeof kAnswerTimeout);
  int on = 1;
  // Only with this flag does the kernel check what a dump asks for, and filter it.
  mnl_socket_setsockopt(socket, NETLINK_GET_STRICT_CHK, &on, sizeof on);
  if (!groups.empty()) {
    // Past rmem_max for those who may; the plain option is the fallback.
    if (setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &kEventBytes, sizeof kEventBytes) != 0) {
      setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &kEventBytes, sizeof kEventBytes);
    }
  }
  for (unsigned group : groups) {
    if (mnl_socket_setsockopt(socket, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0) {
      return fail("netlink group " + std::to_string(group) + ": " + reason(errno));
    }
  }
  return netlink;
}

Result<void> Netlink::request(Message& message) {
  nlmsghdr* header = message.raw();
  header->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
  header->nlmsg_seq = ++sequence_;
  last_error_ = 0;
  if (mnl_socket_sendto(socket_.get(), header, header->nlmsg_len) < 0) {
    last_error_ = errno;
    return fail("netlink request: " + reason(last_error_));
  }
  while (true) {
    const auto size = mnl_socket_recvfrom(socket_.get(), buffer_.data(), buffer_.size());
    if (size < 0 && errno == EINTR) continue;
    const int status = size < 0
                           ? -1
                           : mnl_cb_run(buffer_.data(), static_cast<std::size_t>(size), sequence_,
                                        mnl_socket_get_portid(socket_.get()), nullptr, nullptr);
    if (status == MNL_CB_STOP) return {};
    if (status < 0) {
      if (errno == ESRCH || errno == EPROTO) continue;  // the answer to an earlier request
      last_error_ = errno;
      return fail(reason(last_error_));
    }
  }
}

Result<bool> Netlink::dump_once(std::uint16_t type, std::uint8_t family, const Each& each) {
  Message message(type, NLM_F_REQUEST | NLM_F_DUMP);
  switch (type) {
    case RTM_GETLINK:
      message.header<ifinfomsg>().ifi_family = AF_UNSPEC;
      break;
    case RTM_GETADDR:
      message.header<ifaddrmsg>().ifa_family = family;
      break;
    case RTM_GETROUTE:
      message.header<rtmsg>().rtm_family = family;
      break;
    case RTM_GETNEXTHOP:
      message.header<nhmsg>().nh_family = family;
      break;
    default:
      message.header<ndmsg>().ndm_family = family;
      break;
  }
  message.raw()->nlmsg_seq = ++sequence_;
  if (mnl_socket_sendto(socket_.get(), message.raw(), message.raw()->nlmsg_len) < 0) {
    return fail("netlink dump: " + reason(errno));
  }
  const auto call = [](const nlmsghdr* header, void* data) -> int {
    (*static_cast<const Each*>(data))(*header);
    return MNL_CB_OK;
  };
  bool whole = true;
  while (true) {
    const auto size = mnl_socket_recvfrom(socket_.get(), buffer_.data(), buffer_.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return fail("netlink dump: " + reason(errno));
    const auto* first = reinterpret_cast<const nlmsghdr*>(buffer_.data());
    int left = static_cast<int>(size);
    // The kernel marks each part that it made after a change; libmnl would stop at the first.
    for (const nlmsghdr* h = first; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
      if ((h->nlmsg_flags & NLM_F_DUMP_INTR) != 0) whole = false;
      const_cast<nlmsghdr*>(h)->nlmsg_flags &= static_cast<std::uint16_t>(~NLM_F_DUMP_INTR);
    }
    const int status =
        mnl_cb_run(buffer_.data(), static_cast<std::size_t>(size), sequence_,
                   mnl_socket_get_portid(socket_.get()), call, const_cast<Each*>(&each));
    if (status == MNL_CB_STOP) return whole;
    if (status < 0 && errno != ESRCH && errno != EPROTO) {
      return fail("netlink dump: " + reason(errno));
    }
  }
}

Result<void> Netlink::dump(std::uint16_t type, std::uint8_t family, const Each& each,
                           const std::function<void()>& restart) {
  for (unsigned attempt = 0; attempt < kDumpAttempts; ++attempt) {
    restart();
    const auto whole = dump_once(type, family, each);
    if (!whole) return tl::unexpected(whole.error());
    if (*whole) return {};
  }
  return fail("netlink dump: the kernel's tables change too fast to be read");
}

Netlink::Received Netlink::receive(const Each& each) {
  Received received = Received::nothing;
  while (true) {
    const auto size = recv(descriptor(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (size < 0) {
      if (errno == EINTR) continue;
      if (errno == ENOBUFS) {
        received = Received::overrun;
        continue;
      }
      return received;
    }
    if (received == Received::nothing) received = Received::some;
    int left = static_cast<int>(size);
    for (const auto* h = reinterpret_cast<const nlmsghdr*>(buffer_.data()); mnl_nlmsg_ok(h, left);
         h = mnl_nlmsg_next(h, &left)) {
      each(*h);
    }
  }
}

}  // namespace podwire::control::routes
