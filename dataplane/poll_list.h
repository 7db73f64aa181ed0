// What one worker polls: its queues of every port. An uplink's each round, since asking it costs no
// system call; the others while they give frames, else when epoll says so. Rebuilt when ports come
// or go. Its worker's thread only.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <vector>

#include "dataplane/batch.h"
#include "dataplane/io/port.h"
#include "dataplane/tables/ports.h"

namespace podwire {

class PollList {
 public:
  // `wake_descriptor` ends a wait at once when it becomes readable (an eventfd); -1: none.
  PollList(unsigned worker, unsigned workers, int wake_descriptor);
  ~PollList();
  PollList(const PollList&) = delete;
  PollList& operator=(const PollList&) = delete;

  // Takes the ports of `table`. Their drivers must outlive the next rebuild.
  void rebuild(const tables::PortTable& table);

  // Polls every hot queue once and hands frames to `process(burst)`, which empties the burst.
  // Returns how many came.
  template <typename F>
  unsigned receive(Burst& burst, F&& process) noexcept {
    unsigned total = 0;
    for (std::size_t i = 0; i < hot_.size();) {
      const unsigned count = receive_from(queues_[hot_[i]], burst);
      total += count;
      if (count > 0 && kBatchSize - burst.size() < kLeastRoom) process(burst);
      if (count == 0 && cool(i)) continue;
      ++i;
    }
    if (!burst.empty()) process(burst);
    return total;
  }

  // Asks epoll which cold queues have frames. Waits up to `timeout_us` (0: not at all).
  void wait(std::uint32_t timeout_us) noexcept;

  // Every queue has a descriptor that ends a wait: a long one delays nothing.
  [[nodiscard]] bool can_wait_long() const { return polled_only_ == 0; }
  // Only queues that are polled each round anyway are hot.
  [[nodiscard]] bool quiet() const { return hot_.size() == always_; }
  [[nodiscard]] std::size_t size() const { return queues_.size(); }

 private:
  // A burst into less room than this would cost a call for little.
  static constexpr unsigned kLeastRoom = kBatchSize / 2;
  struct Queue {
    io::Port* port;
    PortId id;
    unsigned queue;
    int descriptor;
    bool always;        // polled each round
    unsigned patience;  // empty polls before it turns cold
    bool hot = true;
    unsigned empty_polls = 0;
  };
  void add(const tables::PortInfo& info, PortId id);
  unsigned receive_from(Queue& queue, Burst& burst) noexcept;
  bool cool(std::size_t place) noexcept;
  void heat(std::uint32_t index) noexcept;

  const unsigned worker_, workers_;
  const int wake_descriptor_;
  int epoll_ = -1;
  std::vector<Queue> queues_;
  std::vector<std::uint32_t> hot_;  // places in queues_
  std::size_t always_ = 0;          // queues polled each round
  std::size_t polled_only_ = 0;     // queues without a descriptor, among them
};

}  // namespace podwire
