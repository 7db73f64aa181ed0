// A port on a multi-queue tap device: a kernel pod's interface, or the node's own (host tap).
// Checksum and segmentation offload of the kernel cross it as virtio-net headers, so one TCP
// stream moves in frames of up to 60 KiB. Bursts are read and written through the thread's
// CallBatch where it has one, else by a system call a frame.
#pragma once

#include <rte_mempool.h>

#include <atomic>
#include <memory>
#include <vector>

#include "dataplane/io/port.h"
#include "dataplane/io/tap_device.h"
#include "dataplane/result.h"

namespace podwire::io {

class CallBatch;

class TapPort final : public Port {
 public:
  // `packets` gives each frame's first segment, `large` (buffers of 64 KiB without headroom) the
  // second of those that need one. Both outlive the port. `kind` is a literal: "tap" or "host".
  static Result<std::shared_ptr<TapPort>> open(const TapSpec& spec, rte_mempool& packets,
                                               rte_mempool& large, const char* kind);
  // Descriptors of a tap device with 10-byte virtio-net headers, taken over.
  TapPort(const std::vector<int>& descriptors, rte_mempool& packets, rte_mempool& large,
          const char* kind);
  ~TapPort() override;

  [[nodiscard]] unsigned queues() const noexcept override;
  unsigned receive(unsigned queue, std::span<rte_mbuf*> out) noexcept override;
  unsigned transmit(unsigned worker, std::span<rte_mbuf*> frames) noexcept override;
  [[nodiscard]] int wait_descriptor(unsigned queue) const noexcept override;
  [[nodiscard]] bool up() const noexcept override;
  [[nodiscard]] const char* kind() const noexcept override { return kind_; }
  [[nodiscard]] Extra extra() const noexcept override;

 private:
  struct Landing;  // buffers for frames that are read
  struct Burst;    // one that grows
  // Its worker's alone but for the descriptor.
  struct alignas(64) Queue {
    int descriptor;
    unsigned last = 0, before = 0;  // frames of the two latest bursts that were not empty
  };
  bool receive_some(int descriptor, unsigned wanted, Landing& landing, Burst& burst) noexcept;
  bool take(int result, rte_mbuf& first, rte_mbuf& second) noexcept;

  // blocked: not now, or never again; the frame itself is good. impossible: its flags contradict
  // it.
  enum class Write : unsigned char { done, blocked, impossible };
  Write outcome(int result) noexcept;
  Write write_frame(int descriptor, rte_mbuf& frame) noexcept;
  unsigned write_one(int descriptor, std::span<rte_mbuf*> frames) noexcept;
  unsigned write_some(int descriptor, std::span<rte_mbuf*> frames, CallBatch& calls) noexcept;
  void finish(rte_mbuf* frame, unsigned merged, Write written) noexcept;

  std::vector<Queue> queues_;
  rte_mempool& packets_;
  rte_mempool& large_;
  const char* kind_;
  std::atomic<bool> up_{true};
  std::atomic<std::uint64_t> missed_{0}, unsent_{0};  // rare; any worker
};

}  // namespace podwire::io
