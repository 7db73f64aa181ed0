#include "bench/versus/traffic/device.h"

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>

#include <stdexcept>
#include <vector>

namespace podwire::versus {
namespace {

constexpr std::uint16_t kDescriptors = 1024;
// AF_XDP holds up to four rings full of buffers and receives nothing unless a burst of free ones is
// left, however many come back one by one.
constexpr unsigned kBuffers = 32767, kBuffersOnCore = 256, kLinkSeconds = 20;

void must(int error, const std::string& what) {
  if (error < 0) throw std::runtime_error(what + ": " + rte_strerror(-error));
}

void start_eal(const Device::Options& options) {
  std::vector<std::string> arguments{"traffic",
                                     "--no-huge",
                                     "-m",
                                     "256",
                                     "--no-shconf",
                                     "--no-pci",
                                     "--no-telemetry",
                                     "--log-level=lib.eal:error"};
  arguments.push_back("--file-prefix=" + options.prefix);
  arguments.push_back("--lcores=0@" + std::to_string(options.core));
  arguments.push_back("--vdev=" + options.device);
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  if (rte_eal_init(static_cast<int>(pointers.size()), pointers.data()) < 0) {
    throw std::runtime_error("DPDK does not start with device \"" + options.device +
                             "\": " + rte_strerror(rte_errno));
  }
}

}  // namespace

Device::Device(const Options& options)
    : receive_queues_(static_cast<std::uint16_t>(options.receive_queues)) {
  start_eal(options);
  const std::string name = options.device.substr(0, options.device.find(','));
  must(rte_eth_dev_get_port_by_name(name.c_str(), &port_), "no network device \"" + name + "\"");
  pool_ = rte_pktmbuf_pool_create("frames", kBuffers, kBuffersOnCore, 0, RTE_MBUF_DEFAULT_BUF_SIZE,
                                  SOCKET_ID_ANY);
  if (pool_ == nullptr) must(-rte_errno, "no memory for packet buffers");
  configure();
  wait_for_link(kLinkSeconds);
}

Device::~Device() {
  rte_eth_dev_stop(port_);
  rte_eth_dev_close(port_);
  rte_eal_cleanup();
}

void Device::configure() {
  const rte_eth_conf conf{};
  must(rte_eth_dev_configure(port_, receive_queues_, 1, &conf), "cannot configure the device");
  std::uint16_t receive = kDescriptors, transmit = kDescriptors;
  must(rte_eth_dev_adjust_nb_rx_tx_desc(port_, &receive, &transmit), "no queue sizes");
  for (std::uint16_t queue = 0; queue < receive_queues_; ++queue) {
    must(rte_eth_rx_queue_setup(port_, queue, receive, 0, nullptr, pool_), "no receive queue");
  }
  must(rte_eth_tx_queue_setup(port_, 0, transmit, 0, nullptr), "no transmit queue");
  must(rte_eth_dev_start(port_), "the device does not start");
}

void Device::wait_for_link(unsigned seconds) {
  rte_eth_link link{};
  for (unsigned tries = 0; tries < seconds * 100; ++tries) {
    must(rte_eth_link_get_nowait(port_, &link), "no link state");
    if (link.link_status == RTE_ETH_LINK_UP) return;
    rte_delay_us_sleep(10'000);
  }
  throw std::runtime_error("the link did not come up within " + std::to_string(seconds) + " s");
}

rte_mbuf* Device::make(std::size_t size) noexcept {
  rte_mbuf* frame = rte_pktmbuf_alloc(pool_);
  if (frame == nullptr) return nullptr;
  frame->pkt_len = frame->data_len = static_cast<std::uint16_t>(size);
  return frame;
}

unsigned Device::transmit(std::span<rte_mbuf*> frames) noexcept {
  return rte_eth_tx_burst(port_, 0, frames.data(), static_cast<std::uint16_t>(frames.size()));
}

std::span<rte_mbuf*> Device::receive() noexcept {
  next_queue_ = static_cast<std::uint16_t>((next_queue_ + 1U) % receive_queues_);
  return {received_.data(),
          rte_eth_rx_burst(port_, next_queue_, received_.data(), received_.size())};
}

}  // namespace podwire::versus
