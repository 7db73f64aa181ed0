#include "bench/ports/device.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_log.h>
#include <rte_pause.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "dataplane/io/uplink.h"

namespace podwire::ports {
namespace {

constexpr std::uint16_t kDescriptors = 2048;

bool is_virtual(const std::string& device) {
  return device.starts_with("net_") || device.starts_with("virtio_user");
}

}  // namespace

Result<void> start_eal(const EalOptions& options) {
  std::string lcores = "--lcores=";
  for (std::size_t i = 0; i < options.cores.size(); ++i) {
    lcores += (i == 0 ? "" : ",") + std::to_string(i) + "@" + std::to_string(options.cores[i]);
  }
  const std::string memory = std::to_string(options.memory_mb);
  // One file for all of its memory, so that memif and virtio peers can map it.
  std::vector<std::string> words{"ports", lcores,
                                 "--file-prefix=podwire-ports-" + std::to_string(::getpid()),
                                 "--no-telemetry", "--no-shconf", "--single-file-segments",
                                 // memif complains of a missing secondary process channel.
                                 "--log-level=lib.eal:error", "--log-level=pmd.net.memif:crit"};
  if (options.hugepages) {
    words.insert(words.end(), {"--huge-unlink", "--socket-mem=" + memory});
  } else {
    words.insert(words.end(), {"--no-huge", "-m", memory});
  }
  const auto first_pci =
      std::find_if_not(options.devices.begin(), options.devices.end(), is_virtual);
  if (first_pci == options.devices.end()) words.emplace_back("--no-pci");
  for (const auto& device : options.devices) {
    if (!is_virtual(device)) words.insert(words.end(), {"-a", device});
  }
  words.insert(words.end(), options.extra.begin(), options.extra.end());
  std::vector<char*> arguments;
  for (auto& word : words) arguments.push_back(word.data());
  if (rte_eal_init(static_cast<int>(arguments.size()), arguments.data()) < 0) {
    return fail(std::string("DPDK does not start: ") + rte_strerror(rte_errno) +
                "; its own message is above");
  }
  return {};
}

Result<rte_mempool*> make_pool(const std::string& name, unsigned buffers, unsigned frame_bytes) {
  const auto room = static_cast<std::uint16_t>(
      RTE_PKTMBUF_HEADROOM + std::max(frame_bytes, unsigned{RTE_MBUF_DEFAULT_DATAROOM}));
  rte_mempool* pool = rte_pktmbuf_pool_create(name.c_str(), buffers, 256, 0, room, SOCKET_ID_ANY);
  if (pool == nullptr) {
    return fail("no memory for " + std::to_string(buffers) +
                " packet buffers; raise --memory-mb (now: " + rte_strerror(rte_errno) + ")");
  }
  return pool;
}

Result<std::unique_ptr<Device>> Device::open(const std::string& text, rte_mempool& receive_pool,
                                             unsigned frame_bytes) {
  const auto wanted = io::parse_device_string(text);
  std::unique_ptr<Device> device(new Device(wanted.name));
  if (rte_eth_dev_get_port_by_name(wanted.name.c_str(), &device->port_) != 0) {
    if (rte_dev_probe(text.c_str()) != 0 ||
        rte_eth_dev_get_port_by_name(wanted.name.c_str(), &device->port_) != 0) {
      return fail("device \"" + text +
                  "\": no DPDK driver takes it; give a PCI address bound to vfio-pci, or e.g. "
                  "net_memif0,socket=/run/x.sock,socket-abstract=no");
    }
    device->probed_ = true;
  }
  if (auto done = device->configure(receive_pool, frame_bytes); !done) {
    return tl::unexpected(done.error());
  }
  return device;
}

Result<void> Device::configure(rte_mempool& receive_pool, unsigned frame_bytes) {
  const auto sentence = [&](const char* what, int error) {
    return fail("device " + name_ + ": " + what + ": " + rte_strerror(-error));
  };
  rte_eth_conf conf{};
  if (const int error = rte_eth_dev_configure(port_, 1, 1, &conf); error != 0) {
    return sentence("cannot be configured", error);
  }
  const auto payload = static_cast<std::uint16_t>(frame_bytes - RTE_ETHER_HDR_LEN);
  if (payload > RTE_ETHER_MTU) {
    const int error = rte_eth_dev_set_mtu(port_, payload);
    if (error != 0 && error != -ENOTSUP) return sentence("does not take frames so large", error);
  }
  std::uint16_t in = kDescriptors, out = kDescriptors;
  int error = rte_eth_dev_adjust_nb_rx_tx_desc(port_, &in, &out);
  const auto socket = static_cast<unsigned>(std::max(rte_eth_dev_socket_id(port_), 0));
  if (error == 0) error = rte_eth_rx_queue_setup(port_, 0, in, socket, nullptr, &receive_pool);
  if (error == 0) error = rte_eth_tx_queue_setup(port_, 0, out, socket, nullptr);
  if (error == 0) error = rte_eth_dev_start(port_);
  if (error != 0) return sentence("does not start", error);
  started_ = true;
  static_cast<void>(rte_eth_promiscuous_enable(port_));
  rte_ether_addr address{};
  static_cast<void>(rte_eth_macaddr_get(port_, &address));
  std::copy(std::begin(address.addr_bytes), std::end(address.addr_bytes), mac_.bytes.begin());
  return {};
}

Device::~Device() {
  if (started_) rte_eth_dev_stop(port_);
  if (!probed_) return;
  rte_eth_dev_info info{};
  const bool known = rte_eth_dev_info_get(port_, &info) == 0;
  rte_eth_dev_close(port_);
  if (known && info.device != nullptr) rte_dev_remove(info.device);
}

Result<void> Device::wait_for_link(double seconds) const {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  do {
    rte_eth_link link{};
    if (rte_eth_link_get_nowait(port_, &link) == 0 && link.link_status == RTE_ETH_LINK_UP) {
      return {};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  } while (std::chrono::steady_clock::now() < end);
  return fail("device " + name_ +
              ": no link; is the cable in, or for memif and virtio, the peer running?");
}

double Device::link_bits_per_second() const {
  rte_eth_link link{};
  if (rte_eth_link_get_nowait(port_, &link) != 0 || link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN) {
    return 0;
  }
  return link.link_speed * 1e6;
}

std::uint16_t Device::receive(rte_mbuf** out, std::uint16_t most) noexcept {
  return rte_eth_rx_burst(port_, 0, out, most);
}

std::uint16_t Device::transmit(rte_mbuf** frames, std::uint16_t count) noexcept {
  while (transmitting_.test_and_set(std::memory_order_acquire)) rte_pause();
  const std::uint16_t taken = rte_eth_tx_burst(port_, 0, frames, count);
  transmitting_.clear(std::memory_order_release);
  return taken;
}

std::uint64_t Device::missed() const {
  rte_eth_stats stats{};
  if (rte_eth_stats_get(port_, &stats) != 0) return 0;
  return stats.imissed + stats.rx_nombuf;
}

}  // namespace podwire::ports
