#include "bench/ports/connections.h"

#include <rte_cycles.h>
#include <rte_mbuf.h>

#include <algorithm>

namespace podwire::ports {
namespace {

constexpr unsigned kBeginAtOnce = 16;
constexpr unsigned kLookAtOnce = 8;  // slots, for connections that are stuck
constexpr double kEndSeconds = 0.2;  // for what is under way at the end

}  // namespace

Connections::Connections(const End& client, const End& server, rte_mempool& pool,
                         const FlowSpace& space, std::uint32_t open_at_once, unsigned frame_length)
    : ends_{client, server},
      pool_(pool),
      space_(space),
      slots_(open_at_once),
      length_(frame_length),
      ns_per_cycle_(1e9 / static_cast<double>(rte_get_tsc_hz())),
      patience_(
          static_cast<std::uint64_t>(kPatienceSeconds * static_cast<double>(rte_get_tsc_hz()))),
      pacer_(0, 1, 0) {
  for (std::uint32_t i = open_at_once; i-- > 0;) {
    slots_[i].connection = i;
    slots_[i].awaited = kStepsOfConnection;
    free_.push_back(i);
  }
}

Connections::~Connections() {
  for (Outbox& outbox : outboxes_) {
    for (std::size_t i = outbox.sent; i < outbox.frames.size(); ++i) {
      rte_pktmbuf_free(outbox.frames[i]);
    }
  }
}

void Connections::begin(Slot& slot, std::uint64_t now) noexcept {
  slot.connection += static_cast<std::uint32_t>(slots_.size());
  slot.awaited = 0;
  slot.begun_at = now;
  ++done_.opened;
  send(slot, now);
}

void Connections::begin_some(std::uint64_t now) noexcept {
  const auto room = static_cast<std::uint32_t>(std::min<std::size_t>(kBeginAtOnce, free_.size()));
  for (std::uint32_t due = pacer_.take(now, room); due > 0; --due) {
    Slot& slot = slots_[free_.back()];
    free_.pop_back();
    begin(slot, now);
  }
}

void Connections::send(Slot& slot, std::uint64_t now) noexcept {
  slot.moved_at = now;
  rte_mbuf* frame = rte_pktmbuf_alloc(&pool_);
  if (frame == nullptr) return;  // as if it were lost
  const bool server = slot.awaited % 2 != 0;
  frame->data_len = static_cast<std::uint16_t>(length_);
  frame->pkt_len = length_;
  const Stamp stamp{Stamp::kMark, static_cast<std::uint8_t>(trial_ | (server ? Stamp::kReply : 0)),
                    slot.connection, slot.awaited, now};
  const auto& maker = ends_[server].maker;
  maker.make(rte_pktmbuf_mtod(frame, std::uint8_t*), length_,
             server ? slot.reply : space_.tuple(slot.connection), stamp,
             segment_of_step(slot.awaited, length_ - maker.shape().stamp_at()));
  outboxes_[server].frames.push_back(frame);
}

void Connections::flush() noexcept {
  for (unsigned end = 0; end < 2; ++end) {
    Outbox& outbox = outboxes_[end];
    while (!outbox.empty()) {
      const auto left = std::min<std::size_t>(outbox.frames.size() - outbox.sent, kBurst);
      const unsigned taken = ends_[end].device.transmit(outbox.frames.data() + outbox.sent,
                                                        static_cast<std::uint16_t>(left));
      outbox.sent += taken;
      done_.packets_sent += taken;
      if (taken < left) break;
    }
    if (outbox.empty()) {
      outbox.frames.clear();
      outbox.sent = 0;
    }
  }
}

void Connections::advance(const Received& received, std::uint64_t now) noexcept {
  const Stamp& stamp = received.stamp;
  Slot& slot = slots_[stamp.flow % slots_.size()];
  if (slot.connection != stamp.flow || slot.awaited != stamp.sequence) return;  // given up
  ++done_.packets_received;
  if (stamp.sequence == 0) slot.reply = received.tuple.swapped();
  if (++slot.awaited < kStepsOfConnection) return send(slot, now);
  ++done_.completed;
  done_.duration_ns.record(
      static_cast<std::uint64_t>(static_cast<double>(now - slot.begun_at) * ns_per_cycle_));
  free_.push_back(static_cast<std::uint32_t>(&slot - slots_.data()));
}

void Connections::give_up_some(std::uint64_t now) noexcept {
  for (unsigned i = 0; i < kLookAtOnce; ++i) {
    Slot& slot = slots_[looked_at_];
    if (++looked_at_ == slots_.size()) looked_at_ = 0;
    if (slot.awaited == kStepsOfConnection || now - slot.moved_at < patience_) continue;
    slot.awaited = kStepsOfConnection;
    ++done_.failed;
    free_.push_back(static_cast<std::uint32_t>(&slot - slots_.data()));
  }
}

void Connections::poll() noexcept {
  const std::uint64_t now = rte_rdtsc();
  const auto take = [&](const Received& received) { advance(received, now); };
  ends_[1].sink.poll_each(take);
  if (&ends_[0].sink != &ends_[1].sink) ends_[0].sink.poll_each(take);
  give_up_some(now);
  flush();
}

ConnectionsDone Connections::run(std::uint8_t trial, double per_second, double seconds) {
  const double hz = static_cast<double>(rte_get_tsc_hz());
  trial_ = trial;
  done_ = {};
  pacer_ = Pacer(per_second, rte_get_tsc_hz(), static_cast<std::uint32_t>(slots_.size()));
  const std::uint64_t start = rte_rdtsc();
  pacer_.start(start);
  const auto end = start + static_cast<std::uint64_t>(seconds * hz);
  for (std::uint64_t now = start; now < end; now = rte_rdtsc()) {
    // While the device takes no more, what is under way goes first.
    if (outboxes_[0].empty()) begin_some(now);
    poll();
  }
  done_.seconds = seconds;
  ConnectionsDone done = done_;
  const auto last = end + static_cast<std::uint64_t>(kEndSeconds * hz);
  while (free_.size() < slots_.size() && rte_rdtsc() < last) poll();
  done.failed = done_.failed + slots_.size() - free_.size();
  done.wrong_checksum = ends_[1].sink.others().wrong_checksum;
  if (&ends_[0].sink != &ends_[1].sink) {
    done.wrong_checksum += ends_[0].sink.others().wrong_checksum;
  }
  return done;
}

}  // namespace podwire::ports
