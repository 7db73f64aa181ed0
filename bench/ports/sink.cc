#include "bench/ports/sink.h"

#include <rte_cycles.h>
#include <rte_mbuf.h>

#include "bench/ports/neighbour.h"

namespace podwire::ports {
namespace {

constexpr std::uint16_t kReceiveBurst = 64;
constexpr std::size_t kLargestFrame = 65536;

}  // namespace

Sink::Sink(Device& device, Arrivals* forward, Arrivals* replies, std::uint64_t tsc_hz)
    : device_(device),
      arrivals_{forward, replies},
      ns_per_cycle_(1e9 / static_cast<double>(tsc_hz)),
      scratch_(kLargestFrame) {}

void Sink::start(std::uint8_t trial) {
  trial_ = trial;
  others_ = {};
}

Received Sink::read(rte_mbuf& frame) noexcept {
  const bool verified =
      (frame.ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD;
  if (frame.nb_segs == 1) {
    return read_frame(rte_pktmbuf_mtod(&frame, std::uint8_t*), frame.pkt_len, verified);
  }
  // Zero-copy memif of DPDK 22.11 counts no more than the first buffer.
  frame.pkt_len = 0;
  for (const rte_mbuf* part = &frame; part != nullptr; part = part->next) {
    frame.pkt_len += part->data_len;
  }
  if (frame.pkt_len > scratch_.size()) return {};
  const auto* whole =
      static_cast<const std::uint8_t*>(rte_pktmbuf_read(&frame, 0, frame.pkt_len, scratch_.data()));
  return read_frame(whole, frame.pkt_len, verified);
}

void Sink::take_foreign(rte_mbuf* frame) noexcept {
  ++others_.foreign;
  if (frame->nb_segs == 1) {
    const unsigned room = frame->data_len + rte_pktmbuf_tailroom(frame);
    const unsigned length = answer_neighbour(rte_pktmbuf_mtod(frame, std::uint8_t*),
                                             frame->data_len, room, device_.mac());
    frame->data_len = static_cast<std::uint16_t>(length);
    frame->pkt_len = length;
    if (length > 0 && device_.transmit(&frame, 1) == 1) return;
  }
  rte_pktmbuf_free(frame);
}

template <typename Each>
void Sink::receive(Each&& each) noexcept {
  rte_mbuf* frames[kReceiveBurst];
  const unsigned count = device_.receive(frames, kReceiveBurst);
  const std::uint64_t now = rte_rdtsc();
  for (unsigned i = 0; i < count; ++i) {
    if (i + 1 < count) rte_prefetch0(rte_pktmbuf_mtod(frames[i + 1], void*));
    const Received received = read(*frames[i]);
    if (received.seen == Seen::foreign) {
      take_foreign(frames[i]);
      continue;
    }
    if (received.seen == Seen::wrong_checksum) {
      ++others_.wrong_checksum;
    } else if ((received.stamp.trial & ~Stamp::kReply) != trial_) {
      ++others_.late;
    } else {
      each(received, frames[i]->pkt_len + kFcs, now);
    }
    rte_pktmbuf_free(frames[i]);
  }
}

void Sink::poll() noexcept {
  receive([this](const Received& received, unsigned bytes, std::uint64_t now) {
    Arrivals* arrivals = arrivals_[(received.stamp.trial & Stamp::kReply) != 0 ? 1 : 0];
    if (arrivals == nullptr) {
      ++others_.late;
      return;
    }
    const auto cycles = static_cast<double>(now - received.stamp.sent_at);
    const auto ns = static_cast<std::uint64_t>(cycles * ns_per_cycle_);
    arrivals->see(received.stamp, bytes, ns);
  });
}

void Sink::poll_each(const std::function<void(const Received&)>& each) {
  receive([&](const Received& received, unsigned, std::uint64_t) { each(received); });
}

}  // namespace podwire::ports
