// One DPDK device on the calling thread. Starts the EAL, without hugepages
// and beside any other DPDK program.
#pragma once

#include <rte_mbuf.h>

#include <array>
#include <span>
#include <string>

namespace podwire::versus {

class Device {
 public:
  static constexpr unsigned kBurst = 32;

  struct Options {
    std::string device;  // DPDK's device string
    std::string prefix;  // DPDK's --file-prefix
    unsigned core = 0, receive_queues = 1;
  };
  // Waits until the link is up: with memif, until the other side has connected. Throws
  // std::runtime_error with a sentence.
  explicit Device(const Options& options);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // An unfilled frame of `size` bytes, or nullptr.
  [[nodiscard]] rte_mbuf* make(std::size_t size) noexcept;
  // Takes a prefix; the rest stays the caller's.
  [[nodiscard]] unsigned transmit(std::span<rte_mbuf*> frames) noexcept;
  // The frames of one queue; the queues take turns.
  [[nodiscard]] std::span<rte_mbuf*> receive() noexcept;

 private:
  void configure();
  void wait_for_link(unsigned seconds);

  std::uint16_t port_ = 0, receive_queues_ = 1, next_queue_ = 0;
  rte_mempool* pool_ = nullptr;
  std::array<rte_mbuf*, 2 * kBurst> received_{};
};

}  // namespace podwire::versus
