#include "dataplane/io/uplink.h"

#include <dirent.h>
#include <net/if.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_ip.h>
#include <rte_pause.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "dataplane/io/netlink.h"
#include "dataplane/io/segment.h"
#include "dataplane/net/headers.h"

namespace podwire::io {
namespace {

constexpr std::uint16_t kDescriptors = 1024;
constexpr unsigned kSendTries = 3;
constexpr unsigned kCutBurst = 64;
constexpr std::uint16_t kLeastLargest = RTE_ETHER_MTU + RTE_ETHER_HDR_LEN;
constexpr int kAfXdp = 44;  // AF_XDP, missing from older C libraries

// Sockets of packet drivers among this process's descriptors, ascending.
std::vector<int> packet_sockets() {
  std::vector<int> found;
  DIR* folder = opendir("/proc/self/fd");
  if (folder == nullptr) return found;
  while (const dirent* entry = readdir(folder)) {
    const int fd = std::atoi(entry->d_name);
    int domain = 0;
    socklen_t size = sizeof domain;
    if (fd > 0 && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
        (domain == AF_PACKET || domain == kAfXdp)) {
      found.push_back(fd);
    }
  }
  closedir(folder);
  std::sort(found.begin(), found.end());
  return found;
}

std::string namespace_number() {
  struct stat info {};
  return stat("/proc/self/ns/net", &info) == 0 ? std::to_string(info.st_ino) : "0";
}

std::uint16_t kernel_mtu(const std::string& device, std::uint16_t otherwise) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return otherwise;
  ifreq request{};
  device.copy(request.ifr_name, IFNAMSIZ - 1);
  const bool known = ioctl(fd, SIOCGIFMTU, &request) == 0;
  close(fd);
  return known ? static_cast<std::uint16_t>(std::clamp(request.ifr_mtu, 68, 65535)) : otherwise;
}

std::string probe_sentence(const DeviceString& device, int error) {
  const std::string start = "uplink \"" + device.name + "\": ";
  const bool pci = device.name.find(':') != std::string::npos;
  if (error == -EBUSY || error == -EEXIST) return start + "the device is in use; stop its user";
  if (pci) {
    return start +
           "no such PCI device, or it is bound to a kernel driver; bind it with "
           "`dpdk-devbind.py -b vfio-pci " +
           device.name + "`";
  }
  return start +
         "no DPDK driver takes this device (its own message may be above); give a PCI "
         "address, \"net_af_xdp0,iface=eth0\" or \"net_af_packet0,iface=eth0\"";
}

}  // namespace

Result<std::shared_ptr<Uplink>> Uplink::open(const std::string& text, unsigned workers,
                                             rte_mempool& packets) {
  const DeviceString device = parse_device_string(text);
  if (device.name.empty()) return fail("uplink: name a DPDK device, e.g. net_af_xdp0,iface=eth0");
  std::shared_ptr<Uplink> uplink(new Uplink(packets));
  uplink->name_ = device.name;
  uplink->largest_frame_ = device.largest_frame();
  if (uplink->largest_frame_ < kLeastLargest) {
    return fail("uplink \"" + text + "\": buffers for frames of " +
                std::to_string(uplink->largest_frame_) + " bytes are too small, since one has " +
                std::to_string(kLeastLargest) + "; raise bsize or framesz, or leave it out");
  }
  const auto before = packet_sockets();
  if (auto done = uplink->prepare_kernel_device(device); !done) return tl::unexpected(done.error());
  if (auto done = uplink->probe(device, workers); !done) return tl::unexpected(done.error());
  if (auto done = uplink->configure(workers); !done) return tl::unexpected(done.error());
  uplink->find_wait_descriptors(before);
  return uplink;
}

Result<void> Uplink::prepare_kernel_device(const DeviceString& device) {
  const bool xdp = device.is_driver("net_af_xdp");
  const bool packet = device.is_driver("net_af_packet");
  std::string key = device.name;
  if (xdp || packet) {
    kernel_device_ = device.value("iface");
    if (kernel_device_.empty()) {
      return fail("uplink \"" + name_ + "\": say which device with iface=, e.g. " + name_ +
                  ",iface=eth0");
    }
    if (if_nametoindex(kernel_device_.c_str()) == 0) {
      return fail("uplink: device " + kernel_device_ +
                  " does not exist in this network namespace; see `ip link`");
    }
    key = namespace_number() + "-" + kernel_device_;
  }
  auto lock = LockFile::take("uplink-" + key);
  if (!lock) {
    return fail("uplink: " + (kernel_device_.empty() ? name_ : kernel_device_) + " is in use by " +
                lock.error().message + "; stop it first");
  }
  lock_ = std::move(*lock);
  if (kernel_device_.empty()) return {};
  if (xdp) {
    // One program on the device, ours; libxdp's dispatcher for several needs a mounted bpffs.
    setenv("LIBXDP_SKIP_DISPATCHER", "1", 0);
    if (auto done = detach_xdp(kernel_device_); !done) return done;
  }
  auto block = IngressBlock::put(kernel_device_);
  // XDP takes the frames before the kernel sees them; there the chain is a second lock only.
  if (!block && packet) return tl::unexpected(block.error());
  if (block) ingress_block_ = std::move(*block);
  return {};
}

Result<void> Uplink::probe(const DeviceString& device, unsigned workers) {
  if (rte_eth_dev_get_port_by_name(device.name.c_str(), &port_) == 0) return {};  // by eal-arg
  const int error = rte_dev_probe(device.with_defaults(workers).c_str());
  if (error != 0) return fail(probe_sentence(device, error));
  if (rte_eth_dev_get_port_by_name(device.name.c_str(), &port_) != 0) {
    return fail("uplink \"" + name_ + "\": the device is no network port");
  }
  probed_ = true;
  return {};
}

Result<void> Uplink::configure(unsigned workers) {
  rte_eth_dev_info info{};
  if (const int error = rte_eth_dev_info_get(port_, &info); error != 0) {
    return fail("uplink \"" + name_ + "\": " + rte_strerror(-error));
  }
  receive_queues_ = std::clamp<unsigned>(info.max_rx_queues, 1, workers);
  transmit_queues_ = std::clamp<unsigned>(info.max_tx_queues, 1, workers);
  rte_eth_conf conf{};
  const std::uint64_t hashes =
      (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_SCTP) &
      info.flow_type_rss_offloads;
  if (receive_queues_ > 1 && hashes != 0) {
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf.rx_adv_conf.rss_conf.rss_hf = hashes;
  }
  conf.rxmode.offloads = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM & info.rx_offload_capa;
  constexpr std::uint64_t kChecksums =
      RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
  const auto has = [&](std::uint64_t offloads) {
    const bool all = (info.tx_offload_capa & offloads) == offloads;
    if (all) conf.txmode.offloads |= offloads;
    return all;
  };
  device_chains_ = has(RTE_ETH_TX_OFFLOAD_MULTI_SEGS);
  device_checksums_ = has(kChecksums);
  device_cuts_ = device_chains_ && device_checksums_ && has(RTE_ETH_TX_OFFLOAD_TCP_TSO);
  device_cuts_tunnels_ =
      device_cuts_ && has(RTE_ETH_TX_OFFLOAD_IPIP_TNL_TSO | RTE_ETH_TX_OFFLOAD_OUTER_IPV4_CKSUM);
  const int error = rte_eth_dev_configure(port_, static_cast<std::uint16_t>(receive_queues_),
                                          static_cast<std::uint16_t>(transmit_queues_), &conf);
  if (error != 0) {
    return fail("uplink \"" + name_ + "\": cannot configure " + std::to_string(receive_queues_) +
                " queues: " + rte_strerror(-error));
  }
  if (transmit_queues_ < workers) locks_ = std::make_unique<Lock[]>(transmit_queues_);
  return set_up_queues();
}

Result<void> Uplink::set_up_queues() {
  std::uint16_t receive_descriptors = kDescriptors, transmit_descriptors = kDescriptors;
  int error = rte_eth_dev_adjust_nb_rx_tx_desc(port_, &receive_descriptors, &transmit_descriptors);
  const auto socket = static_cast<unsigned>(std::max(rte_eth_dev_socket_id(port_), 0));
  for (unsigned q = 0; error == 0 && q < receive_queues_; ++q) {
    error = rte_eth_rx_queue_setup(port_, static_cast<std::uint16_t>(q), receive_descriptors,
                                   socket, nullptr, &packets_);
  }
  for (unsigned q = 0; error == 0 && q < transmit_queues_; ++q) {
    error = rte_eth_tx_queue_setup(port_, static_cast<std::uint16_t>(q), transmit_descriptors,
                                   socket, nullptr);
  }
  if (error == 0) error = rte_eth_dev_start(port_);
  if (error == -EBUSY) {
    return fail("uplink \"" + name_ + "\": another program receives from this device; stop it");
  }
  if (error != 0) {
    return fail("uplink \"" + name_ + "\": the device does not start: " + rte_strerror(-error));
  }
  started_ = true;
  // Multicast carries neighbour discovery. A device without the switch has no filter either.
  if (rte_eth_allmulticast_enable(port_) != 0) static_cast<void>(rte_eth_promiscuous_enable(port_));
  rte_ether_addr address{};
  static_cast<void>(rte_eth_macaddr_get(port_, &address));
  std::copy(std::begin(address.addr_bytes), std::end(address.addr_bytes), mac_.bytes.begin());
  std::uint16_t mtu = RTE_ETHER_MTU;
  static_cast<void>(rte_eth_dev_get_mtu(port_, &mtu));
  mtu_ = kernel_device_.empty() ? mtu : std::min(mtu, kernel_mtu(kernel_device_, mtu));
  return {};
}

void Uplink::find_wait_descriptors(const std::vector<int>& before) {
  // Neither driver says which sockets are its own. They are those that came with it, in the order
  // of its queues; if their number does not fit, the queues are polled.
  std::vector<int> own;
  for (const int fd : packet_sockets()) {
    if (!std::binary_search(before.begin(), before.end(), fd)) own.push_back(fd);
  }
  if (own.size() == receive_queues_ && !kernel_device_.empty()) wait_descriptors_ = std::move(own);
}

Uplink::~Uplink() {
  if (started_) rte_eth_dev_stop(port_);
  if (probed_) {
    rte_eth_dev_info info{};
    const bool known = rte_eth_dev_info_get(port_, &info) == 0;
    rte_eth_dev_close(port_);
    if (known && info.device != nullptr) rte_dev_remove(info.device);
  }
}

int Uplink::wait_descriptor(unsigned queue) const noexcept {
  return queue < wait_descriptors_.size() ? wait_descriptors_[queue] : -1;
}

Port::Extra Uplink::extra() const noexcept {
  rte_eth_stats stats{};
  static_cast<void>(rte_eth_stats_get(port_, &stats));
  return {.originated = originated_.load(std::memory_order_relaxed),
          .missed = stats.imissed,
          .unsent = unsent_.load(std::memory_order_relaxed)};
}

unsigned Uplink::receive(unsigned queue, std::span<rte_mbuf*> out) noexcept {
  return rte_eth_rx_burst(port_, static_cast<std::uint16_t>(queue), out.data(),
                          static_cast<std::uint16_t>(out.size()));
}

// DPDK wants the headers' lengths, and for cutting a pseudo-header's sum without the length and an
// IPv4 checksum of zero (rte_mbuf_core.h, RTE_MBUF_F_TX_TCP_SEG).
void Uplink::hand_to_device(rte_mbuf& frame) const noexcept {
  const auto layout = layout_of(frame);
  if (!layout) return;
  auto* data = rte_pktmbuf_mtod(&frame, std::uint8_t*);
  frame.l2_len = layout->outer_l3;
  if (layout->is_tunnel()) {
    frame.outer_l2_len = layout->outer_l3;
    frame.outer_l3_len = layout->l3 - layout->outer_l3;
    frame.l2_len = 0;
    frame.ol_flags |=
        RTE_MBUF_F_TX_TUNNEL_IPIP | RTE_MBUF_F_TX_OUTER_IPV4 | RTE_MBUF_F_TX_OUTER_IP_CKSUM;
    reinterpret_cast<net::Ipv4*>(data + layout->outer_l3)->checksum = net::be16();
  }
  frame.l3_len = layout->l4 - layout->l3;
  frame.l4_len = layout->payload - layout->l4;
  std::uint16_t pseudo = 0;
  if (layout->family == net::Family::v4) {
    frame.ol_flags |= RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM;
    auto* ip = reinterpret_cast<rte_ipv4_hdr*>(data + layout->l3);
    ip->hdr_checksum = 0;
    pseudo = rte_ipv4_phdr_cksum(ip, frame.ol_flags);
  } else {
    frame.ol_flags |= RTE_MBUF_F_TX_IPV6;
    pseudo = rte_ipv6_phdr_cksum(reinterpret_cast<const rte_ipv6_hdr*>(data + layout->l3),
                                 frame.ol_flags);
  }
  const std::size_t field = layout->protocol == net::protocol::tcp ? offsetof(net::Tcp, checksum)
                                                                   : offsetof(net::Udp, checksum);
  std::memcpy(data + layout->l4 + field, &pseudo, sizeof pseudo);
}

// Makes a frame one that the device takes as it is, if that can be done without making several.
Uplink::Finish Uplink::finish(rte_mbuf*& frame) noexcept {
  const std::uint64_t open = frame->ol_flags & (RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG);
  if (frame->pkt_len > largest_frame_ && (open & RTE_MBUF_F_TX_TCP_SEG) == 0) return Finish::lost;
  if (open == 0 && frame->nb_segs == 1) return Finish::ready;
  if (open != 0) {
    const auto layout = layout_of(*frame);
    if (!layout) return Finish::lost;
    const bool cut = (open & RTE_MBUF_F_TX_TCP_SEG) != 0;
    if (cut && layout->payload + frame->tso_segsz > largest_frame_) return Finish::lost;
    const bool by_device = cut ? (layout->is_tunnel() ? device_cuts_tunnels_ : device_cuts_)
                               : device_checksums_ && !layout->is_tunnel();
    if (by_device) {
      hand_to_device(*frame);
    } else if (cut) {
      return Finish::cut;
    } else if (!complete_checksum(*frame)) {
      return Finish::lost;
    }
  }
  if (frame->nb_segs > 1 && !device_chains_) {
    rte_mbuf* whole = copied_into_one(*frame, packets_);
    if (whole == nullptr) return Finish::lost;
    rte_pktmbuf_free(frame);
    frame = whole;
  }
  return Finish::ready;
}

unsigned Uplink::send(unsigned queue, rte_mbuf** frames, unsigned count) noexcept {
  unsigned sent = 0;
  for (unsigned idle = 0; sent < count && idle < kSendTries;) {
    const unsigned now = rte_eth_tx_burst(port_, static_cast<std::uint16_t>(queue), frames + sent,
                                          static_cast<std::uint16_t>(count - sent));
    sent += now;
    if (now == 0) ++idle;
  }
  return sent;
}

void Uplink::send_cut(unsigned queue, rte_mbuf* frame) noexcept {
  Segmentation segments(*frame, packets_);
  if (!segments.valid()) count_unsent(1);
  if (segments.left() > 1) {
    originated_.fetch_add(segments.left() - 1, std::memory_order_relaxed);
  }
  std::array<rte_mbuf*, kCutBurst> burst;
  while (segments.valid() && segments.left() > 0) {
    unsigned made = 0;
    while (made < kCutBurst && segments.left() > 0) {
      rte_mbuf* segment = segments.next();
      if (segment == nullptr) break;
      burst[made++] = segment;
    }
    const unsigned sent = send(queue, burst.data(), made);
    for (unsigned i = sent; i < made; ++i) rte_pktmbuf_free(burst[i]);
    count_unsent(made - sent);
    if (sent < kCutBurst && segments.left() > 0) {  // no buffers, or the device is full
      count_unsent(segments.left());
      break;
    }
  }
  rte_pktmbuf_free(frame);
}

unsigned Uplink::transmit_on(unsigned queue, std::span<rte_mbuf*> frames) noexcept {
  unsigned taken = 0;
  while (taken < frames.size()) {
    unsigned end = taken;
    Finish last = Finish::ready;
    while (end < frames.size() && (last = finish(frames[end])) == Finish::ready) ++end;
    taken += send(queue, frames.data() + taken, end - taken);
    if (taken < end) return taken;
    if (last == Finish::ready) break;
    if (last == Finish::cut) {
      send_cut(queue, frames[taken]);
    } else {
      rte_pktmbuf_free(frames[taken]);
      count_unsent(1);
    }
    ++taken;
  }
  return taken;
}

unsigned Uplink::transmit(unsigned worker, std::span<rte_mbuf*> frames) noexcept {
  const unsigned queue = worker % transmit_queues_;
  if (locks_ == nullptr) return transmit_on(queue, frames);
  std::atomic_flag& lock = locks_[queue].taken;
  while (lock.test_and_set(std::memory_order_acquire)) rte_pause();
  const unsigned taken = transmit_on(queue, frames);
  lock.clear(std::memory_order_release);
  return taken;
}

}  // namespace podwire::io
