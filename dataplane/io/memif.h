// A memif port: shared memory with a program in a pod that speaks memif (DPDK's net_memif, VPP,
// libmemif). podwire is the server by default. The peer's memory is hostile: a peer that breaks the
// rules loses its connection, with the reason in down_reason(), and may come back.
//
//   memif thread:  MemifConnector ── attach(link) / detach() ──▶ MemifPort ◀── workers
//
// A link that was detached is unmapped once every worker has passed a quiescent point.
#pragma once

#include <rte_mempool.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/io/event_signal.h"
#include "dataplane/io/memif_handshake.h"
#include "dataplane/io/memif_socket.h"
#include "dataplane/io/port.h"

namespace podwire::io {

class MemifService;

struct MemifSpec {
  MemifAddress address;
  MemifTerms terms;
  // Idle queues wait for the peer's eventfd. False: they are polled each round, and the peer is
  // told never to write it.
  bool interrupts = true;
};

class MemifPort final : public Port {
 public:
  // Made by MemifService::open(). `service` and the pools outlive it; `workers` is how many
  // transmit.
  MemifPort(std::shared_ptr<MemifService> service, const MemifSpec& spec, unsigned workers,
            rte_mempool& packets, rte_mempool& large);
  ~MemifPort() override;
  // Descriptors for the queues' waits. Before it is used.
  Result<void> prepare();

  [[nodiscard]] unsigned queues() const noexcept override;
  unsigned receive(unsigned queue, std::span<rte_mbuf*> out) noexcept override;
  unsigned transmit(unsigned worker, std::span<rte_mbuf*> frames) noexcept override;
  [[nodiscard]] int wait_descriptor(unsigned queue) const noexcept override;
  [[nodiscard]] unsigned patience() const noexcept override { return 256; }
  [[nodiscard]] bool rest(unsigned queue) noexcept override;
  [[nodiscard]] bool up() const noexcept override { return up_.load(std::memory_order_relaxed); }
  [[nodiscard]] const char* kind() const noexcept override { return "memif"; }
  [[nodiscard]] Extra extra() const noexcept override;
  [[nodiscard]] std::string down_reason() const override;

  // Memif thread only. attach(): the last link was detached, and workers have forgotten it.
  void attach(std::unique_ptr<MemifLink> link);
  std::unique_ptr<MemifLink> detach();

 private:
  struct Queue {
    Descriptor wait;       // an epoll set: the peer's eventfd, and ours when a link comes
    bool resting = false;  // its worker's
  };
  void wake(Queue& queue, MemifReceiver* receiver) noexcept;
  void give_up() noexcept;

  const std::shared_ptr<MemifService> service_;
  const bool interrupts_;
  const unsigned workers_;
  rte_mempool& packets_;
  rte_mempool& large_;
  std::vector<Queue> queues_;
  Descriptor came_;  // an eventfd of ours: a link has come
  alignas(64) std::atomic<MemifLink*> link_{nullptr};
  std::atomic<bool> up_{false};
  std::atomic<std::uint64_t> originated_{0}, missed_{0}, unsent_{0};  // rare; any worker
};

}  // namespace podwire::io
