// A port whose peer is a virtual machine or a DPDK program: virtio-net over a vhost-user socket.
// The peer listens, we connect, and connect again whenever it was gone. librte_vhost speaks the
// protocol (io/vhost_library.h); the rings are ours (io/virtqueue.h), so that what the peer writes
// into its memory is checked here, and super-frames and partial checksums cross as they are.
//
//   control: open ── Port                                   keeper: connects, hangs up
//   library's thread: before(message) ─ rings taken away ─ after(message) ─ rings given back
//   workers: receive, transmit under a ring's lock, never longer than a burst
//
// A peer that breaks the protocol, or takes its memory away, loses its connection: the port is
// down, down_reason() says why, and it is tried again half a second later.
#pragma once

#include <rte_mempool.h>
#include <rte_spinlock.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "dataplane/io/descriptor.h"
#include "dataplane/io/port.h"
#include "dataplane/io/sigbus_guard.h"
#include "dataplane/io/vhost_library.h"
#include "dataplane/io/virtqueue.h"
#include "dataplane/result.h"

namespace podwire::io {

struct VhostUserSpec {
  std::string path;     // of the peer's socket: absolute, at most 107 bytes
  unsigned queues = 1;  // pairs, 1 to kMaxVhostQueues; the peer may use fewer
};
inline constexpr unsigned kMaxVhostQueues = 64;  // a pair has two of the protocol's 256 rings

class VhostUserPort final : public Port, private VhostPeer {
 public:
  // The port is down until its peer comes. `packets` and `large` as for a tap; both outlive it.
  static Result<std::shared_ptr<VhostUserPort>> open(const VhostUserSpec& spec,
                                                     rte_mempool& packets, rte_mempool& large);
  ~VhostUserPort() override;

  [[nodiscard]] unsigned queues() const noexcept override { return pairs_; }
  unsigned receive(unsigned queue, std::span<rte_mbuf*> out) noexcept override;
  unsigned transmit(unsigned worker, std::span<rte_mbuf*> frames) noexcept override;
  [[nodiscard]] int wait_descriptor(unsigned queue) const noexcept override;
  [[nodiscard]] unsigned patience() const noexcept override { return 64; }
  [[nodiscard]] bool rest(unsigned queue) noexcept override;
  [[nodiscard]] bool up() const noexcept override;
  [[nodiscard]] std::string down_reason() const override;
  [[nodiscard]] const char* kind() const noexcept override { return "vhost-user"; }
  [[nodiscard]] Extra extra() const noexcept override;

 private:
  // Pairs as the standard numbers them: 2q is the guest's receive queue, 2q + 1 its transmit queue.
  struct alignas(RTE_CACHE_LINE_SIZE) Ring {
    rte_spinlock_t lock = RTE_SPINLOCK_INITIALIZER;
    Virtqueue queue;           // under the lock
    std::uint64_t features{};  // of the peer; under the lock
    int call = -1, kick = -1;  // the library's descriptors while the queue is attached
    bool ready = false;        // the library's word; its thread only
  };

  VhostUserPort(VhostUserSpec spec, rte_mempool& packets, rte_mempool& large);
  Result<void> make_descriptors();

  [[nodiscard]] const std::string& path() const override { return spec_.path; }
  void connected(int device) override;
  void disconnected() override;
  [[nodiscard]] Pass before(VhostMessage& message, bool unread) override;
  [[nodiscard]] bool after(const VhostMessage& message, bool lost) override;
  void ring_ready(unsigned ring, bool ready) override;
  void device_running(bool running) override;
  [[nodiscard]] bool unwanted() override;
  [[nodiscard]] bool misbehaved() const override { return bad_.load(std::memory_order_relaxed); }

  [[nodiscard]] bool within_budget() noexcept;
  void take_memory();
  void drop_memory() noexcept;
  void take_ring(unsigned ring);
  void leave_ring(unsigned ring) noexcept;
  void take_ready_rings();
  void leave_rings() noexcept;
  void count_pairs() noexcept;
  void object(const std::string& sentence);
  void set_reason(std::string reason);

  unsigned send(Ring& ring, std::span<rte_mbuf*> frames) noexcept;
  unsigned send_as_they_are(Ring& ring, std::span<rte_mbuf*> frames) noexcept;
  void send_cut(Ring& ring, rte_mbuf* frame) noexcept;
  void look_for_trouble(const Ring& ring) noexcept;
  void tell_peer(Ring& ring) noexcept;

  const VhostUserSpec spec_;
  const unsigned pairs_;
  rte_mempool& packets_;
  rte_mempool& large_;
  std::unique_ptr<Ring[]> rings_;
  std::vector<Descriptor> waits_;  // an epoll set a pair: the peer's kicks, and nudge_
  Descriptor nudge_;               // eventfd: rings have been given back

  int device_ = -1;  // this and the next four: keeper's and library's thread
  bool running_ = false;
  GuestMemory memory_;
  std::vector<SigbusWatch> watches_;
  std::uint64_t budget_ = 0, budget_at_ms_ = 0;

  std::atomic<unsigned> sendable_{0};  // pairs whose receive queue is attached, from 0 on
  std::atomic<bool> lost_{false};      // the peer's memory went away
  std::atomic<bool> bad_{false};       // the peer misbehaved
  std::atomic<Virtqueue::Fault> fault_{Virtqueue::Fault::none};  // found by a worker
  mutable std::mutex reason_mutex_;
  std::string reason_;

  std::atomic<std::uint64_t> originated_{0}, missed_{0}, unsent_{0};  // rare; any worker
};

}  // namespace podwire::io
