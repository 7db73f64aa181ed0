#include "dataplane/io/tap_device.h"

#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "dataplane/io/namespace.h"
#include "dataplane/io/netlink.h"
#include "dataplane/io/virtio_header.h"

namespace podwire::io {
namespace {

constexpr unsigned kOffloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;

std::string name_of(const TapSpec& spec) {
  return spec.netns.empty() ? spec.interface : spec.interface + " in " + spec.netns;
}

ifreq request_for(const std::string& interface) {
  ifreq request{};
  interface.copy(request.ifr_name, IFNAMSIZ - 1);
  return request;
}

Error failure(const TapSpec& spec, const char* step, int error) {
  return Error{"tap " + name_of(spec) + ": " + step + ": " + std::strerror(error)};
}

Error attach_failure(const TapSpec& spec, int error) {
  if (error == EBUSY) {
    return Error{"tap " + name_of(spec) +
                 ": another process holds the device; stop it, or remove the interface"};
  }
  if (error == EINVAL || error == EEXIST) {
    return Error{"tap " + name_of(spec) +
                 ": an interface of that name exists and is not a multi-queue tap; remove it"};
  }
  if (error == E2BIG) {
    return Error{"tap " + name_of(spec) +
                 ": all queues of the device are held, by another podwired it seems; stop it"};
  }
  return failure(spec, "TUNSETIFF", error);
}

// One queue more. Runs inside the namespace.
Result<int> open_queue(const TapSpec& spec) {
  const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) {
    return fail(std::string("/dev/net/tun: ") + std::strerror(errno) +
                "; load the tun module or give podwired the device");
  }
  ifreq request = request_for(spec.interface);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;
  int header = sizeof(VirtioHeader);
  const char* step = nullptr;
  int error = 0;
  if (ioctl(fd, TUNSETIFF, &request) < 0) {
    error = errno;
    close(fd);
    return tl::unexpected(attach_failure(spec, error));
  }
  if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0) {
    step = "TUNSETVNETHDRSZ";
  } else if (ioctl(fd, TUNSETOFFLOAD, kOffloads) < 0) {
    step = "TUNSETOFFLOAD";
  } else if (ioctl(fd, TUNSETPERSIST, spec.persistent ? 1 : 0) < 0) {
    step = "TUNSETPERSIST";
  } else {
    return fd;
  }
  error = errno;
  close(fd);
  return tl::unexpected(failure(spec, step, error));
}

// Address, MTU and the limit of unsegmented frames. Runs inside the namespace.
Result<void> configure(const TapSpec& spec) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return tl::unexpected(failure(spec, "socket", errno));
  const char* failed = nullptr;
  const auto step = [&](unsigned long command, ifreq& request, const char* name) {
    if (failed == nullptr && ioctl(fd, command, &request) < 0) failed = name;
  };
  ifreq index = request_for(spec.interface);
  step(SIOCGIFINDEX, index, "find the interface");
  ifreq mac = request_for(spec.interface);
  mac.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  std::copy(spec.mac.bytes.begin(), spec.mac.bytes.end(), mac.ifr_hwaddr.sa_data);
  step(SIOCSIFHWADDR, mac, "set the Ethernet address");
  ifreq mtu = request_for(spec.interface);
  mtu.ifr_mtu = spec.mtu;
  step(SIOCSIFMTU, mtu, "set the MTU");
  ifreq flags = request_for(spec.interface);
  step(SIOCGIFFLAGS, flags, "read its flags");
  const int error = errno;
  close(fd);
  if (failed != nullptr) return tl::unexpected(failure(spec, failed, error));
  // Linux gives each of the 256 queues that a multi-queue tap might have a pfifo_fast when it comes
  // up: 3 MB and most of an attachment's time, before a ring that drops by itself. A device that is
  // up keeps what its pod has chosen; a kernel without disciplines has none to take away.
  if ((flags.ifr_flags & IFF_UP) == 0) static_cast<void>(take_queueing_away(index.ifr_ifindex));
  return set_link_limits(index.ifr_ifindex, kMaxSuperFrame);
}

// Whether the interface is one that /dev/net/tun made. Runs inside the namespace.
bool is_tap(const std::string& interface) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  ethtool_drvinfo info{};
  info.cmd = ETHTOOL_GDRVINFO;
  ifreq request = request_for(interface);
  request.ifr_data = reinterpret_cast<char*>(&info);
  const bool asked = ioctl(fd, SIOCETHTOOL, &request) == 0;
  close(fd);
  return asked && std::strcmp(info.driver, "tun") == 0;
}

// Runs inside the namespace.
Result<void> remove_here(const std::string& interface) {
  if (if_nametoindex(interface.c_str()) == 0) return {};
  if (!is_tap(interface)) return fail("interface " + interface + " is not podwire's: it is no tap");
  return remove_link(interface);
}

void close_all(std::vector<int>& descriptors) {
  for (const int fd : descriptors) close(fd);
  descriptors.clear();
}

Result<std::vector<int>> open_here(const TapSpec& spec) {
  std::vector<int> queues;
  while (queues.size() < spec.queues) {
    auto queue = open_queue(spec);
    if (!queue) {
      close_all(queues);
      return tl::unexpected(queue.error());
    }
    queues.push_back(*queue);
  }
  if (auto done = configure(spec); !done) {
    close_all(queues);
    return tl::unexpected(done.error());
  }
  return queues;
}

}  // namespace

Result<std::vector<int>> open_tap_device(const TapSpec& spec) {
  if (spec.interface.empty() || spec.interface.size() >= IFNAMSIZ) {
    return fail("tap \"" + spec.interface + "\": an interface name has 1 to 15 characters");
  }
  Result<std::vector<int>> queues;
  auto entered = in_namespace(spec.netns, [&] { queues = open_here(spec); });
  if (!entered) return tl::unexpected(entered.error());
  return queues;
}

Result<void> remove_tap_device(const std::string& netns, const std::string& interface) {
  if (!netns.empty() && access(netns.c_str(), F_OK) != 0 && errno == ENOENT) return {};
  Result<void> removed;
  auto entered = in_namespace(netns, [&] { removed = remove_here(interface); });
  if (!entered) return entered;
  return removed;
}

}  // namespace podwire::io
