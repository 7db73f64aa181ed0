// The port to the outside: any DPDK ethdev. What the device cannot do itself (checksums, cutting
// TCP, chains of buffers) is done in software.
#pragma once

#include <rte_ether.h>
#include <rte_mempool.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/io/device_string.h"
#include "dataplane/io/ingress_block.h"
#include "dataplane/io/lock_file.h"
#include "dataplane/io/port.h"
#include "dataplane/net/address.h"
#include "dataplane/result.h"

namespace podwire::io {

class Uplink final : public Port {
 public:
  // Probes, configures and starts the device with a receive and a transmit queue per worker where
  // the device has so many. Control thread, after EAL start. The error says what to do.
  static Result<std::shared_ptr<Uplink>> open(const std::string& device, unsigned workers,
                                              rte_mempool& packets);
  ~Uplink() override;

  [[nodiscard]] net::Mac mac() const { return mac_; }
  [[nodiscard]] std::uint16_t mtu() const { return mtu_; }
  // The largest IP packet that the device can be given, whatever the MTU; longer ones are unsent.
  [[nodiscard]] std::uint16_t largest_mtu() const { return largest_frame_ - RTE_ETHER_HDR_LEN; }
  // The kernel's device behind it ("eth0"), or empty.
  [[nodiscard]] const std::string& kernel_device() const { return kernel_device_; }

  [[nodiscard]] unsigned queues() const noexcept override { return receive_queues_; }
  unsigned receive(unsigned queue, std::span<rte_mbuf*> out) noexcept override;
  unsigned transmit(unsigned worker, std::span<rte_mbuf*> frames) noexcept override;
  [[nodiscard]] int wait_descriptor(unsigned queue) const noexcept override;
  [[nodiscard]] bool up() const noexcept override { return up_.load(std::memory_order_relaxed); }
  [[nodiscard]] const char* kind() const noexcept override { return "uplink"; }
  [[nodiscard]] Extra extra() const noexcept override;

 private:
  explicit Uplink(rte_mempool& packets) : packets_(packets) {}
  Result<void> prepare_kernel_device(const DeviceString& device);
  Result<void> probe(const DeviceString& device, unsigned workers);
  Result<void> configure(unsigned workers);
  Result<void> set_up_queues();
  void find_wait_descriptors(const std::vector<int>& before);

  enum class Finish : unsigned char { ready, cut, lost };
  Finish finish(rte_mbuf*& frame) noexcept;
  void hand_to_device(rte_mbuf& frame) const noexcept;
  unsigned send(unsigned queue, rte_mbuf** frames, unsigned count) noexcept;
  void send_cut(unsigned queue, rte_mbuf* frame) noexcept;
  unsigned transmit_on(unsigned queue, std::span<rte_mbuf*> frames) noexcept;
  void count_unsent(std::uint64_t frames) noexcept {
    unsent_.fetch_add(frames, std::memory_order_relaxed);
  }

  rte_mempool& packets_;
  std::string name_;
  std::string kernel_device_;
  LockFile lock_;
  IngressBlock ingress_block_;
  std::uint16_t port_ = 0;
  bool probed_ = false, started_ = false;
  net::Mac mac_;
  std::uint16_t mtu_ = 1500, largest_frame_ = 65535;
  unsigned receive_queues_ = 1, transmit_queues_ = 1;
  bool device_chains_ = false, device_checksums_ = false, device_cuts_ = false,
       device_cuts_tunnels_ = false;
  std::vector<int> wait_descriptors_;
  struct alignas(64) Lock {
    std::atomic_flag taken;
  };
  std::unique_ptr<Lock[]> locks_;  // one per transmit queue when workers share them; else null
  std::atomic<bool> up_{true};
  std::atomic<std::uint64_t> originated_{0}, unsent_{0};
};

}  // namespace podwire::io
