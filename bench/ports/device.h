// A DPDK network device for the generator: any string that DPDK takes. One receive and one
// transmit queue. Opened by the main thread; receive() belongs to one thread.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/net/address.h"
#include "dataplane/result.h"

struct rte_mbuf;
struct rte_mempool;

namespace podwire::ports {

struct EalOptions {
  std::vector<unsigned> cores;       // the first is the main thread's
  std::vector<std::string> devices;  // PCI addresses among them are taken, no others
  unsigned memory_mb = 0;            // 0: what the packet buffers come to
  bool hugepages = false;
  std::vector<std::string> extra;  // as they stand
};
Result<void> start_eal(const EalOptions& options);

// Packet buffers for frames of up to `frame_bytes`.
Result<rte_mempool*> make_pool(const std::string& name, unsigned buffers, unsigned frame_bytes);

class Device {
 public:
  static Result<std::unique_ptr<Device>> open(const std::string& text, rte_mempool& receive_pool,
                                              unsigned frame_bytes);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // Waits until the link is up: for memif, until the peer has connected.
  Result<void> wait_for_link(double seconds) const;
  [[nodiscard]] double link_bits_per_second() const;

  [[nodiscard]] std::uint16_t receive(rte_mbuf** out, std::uint16_t most) noexcept;
  // From any thread: with two cores the receiving one answers neighbour requests.
  [[nodiscard]] std::uint16_t transmit(rte_mbuf** frames, std::uint16_t count) noexcept;

  [[nodiscard]] net::Mac mac() const { return mac_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  // Frames that came but found no room: not the device under test's loss, but ours.
  [[nodiscard]] std::uint64_t missed() const;

 private:
  explicit Device(std::string name) : name_(std::move(name)) {}
  Result<void> configure(rte_mempool& receive_pool, unsigned frame_bytes);

  std::string name_;
  std::uint16_t port_ = 0;
  net::Mac mac_;
  bool probed_ = false, started_ = false;
  std::atomic_flag transmitting_;
};

}  // namespace podwire::ports
