// Which erased slots may be used again. Erasures are counted into epochs; one quiescence token is
// taken for a whole epoch, so an erasure costs no token and needs no list: the slot's record keeps
// the epoch's number. Any thread.
#pragma once

#include <atomic>
#include <cstdint>

#include "dataplane/tables/quiescence.h"

namespace podwire::flow {

class Grace {
 public:
  explicit Grace(tables::Quiescence& quiescence) : quiescence_(quiescence) {}

  // The number to note for what was just unlinked. Reading it after the unlinking is what makes
  // it right: the epoch's token is taken only after the epoch has moved on from this number.
  [[nodiscard]] std::uint32_t epoch_of_erasure() noexcept {
    const std::uint32_t epoch = epoch_.load(std::memory_order_seq_cst);
    if (!erased_.load(std::memory_order_seq_cst)) erased_.store(true, std::memory_order_seq_cst);
    return epoch;
  }

  [[nodiscard]] bool over(std::uint32_t epoch) const noexcept {
    return static_cast<std::int32_t>(safe_.load(std::memory_order_acquire) - epoch) >= 0;
  }

  // Closes the open epoch if something was erased in it, and ends the closed one's grace period if
  // every reader has reported. Never waits; cheap when there is nothing to do.
  void advance() noexcept {
    if (!waiting_.load(std::memory_order_relaxed) && !erased_.load(std::memory_order_relaxed)) {
      return;
    }
    if (advancing_.load(std::memory_order_relaxed) ||
        advancing_.exchange(true, std::memory_order_acquire)) {
      return;
    }
    if (waiting_.load(std::memory_order_relaxed) && quiescence_.passed(token_)) {
      safe_.store(closed_, std::memory_order_release);
      waiting_.store(false, std::memory_order_relaxed);
    }
    if (!waiting_.load(std::memory_order_relaxed) &&
        erased_.exchange(false, std::memory_order_seq_cst)) {
      closed_ = epoch_.fetch_add(1, std::memory_order_seq_cst);
      token_ = quiescence_.begin();
      waiting_.store(true, std::memory_order_relaxed);
    }
    advancing_.store(false, std::memory_order_release);
  }

 private:
  tables::Quiescence& quiescence_;
  alignas(64) std::atomic<std::uint32_t> epoch_{1};  // open: erasures are counted into it
  std::atomic<bool> erased_{false};                  // something was, in the open epoch
  alignas(64) std::atomic<std::uint32_t> safe_{0};   // grace is over up to and with this one
  std::atomic<bool> waiting_{false};
  std::atomic<bool> advancing_{false};  // guards the two below
  std::uint32_t closed_ = 0;            // the epoch whose token we wait for
  std::uint64_t token_ = 0;
};

}  // namespace podwire::flow
