#include "bench/ports/traffic.h"

#include <rte_mbuf.h>

#include <algorithm>
#include <charconv>
#include <numeric>

namespace podwire::ports {
namespace {

constexpr std::uint32_t kLeastBacklog = 4 * kBurst;

}  // namespace

double Traffic::mean_size() const {
  return static_cast<double>(std::accumulate(sizes.begin(), sizes.end(), 0U)) /
         static_cast<double>(sizes.size());
}

unsigned Traffic::largest_size() const {
  return *std::max_element(sizes.begin(), sizes.end());
}

std::vector<unsigned> sizes_of(const std::string& text, const FrameShape& shape) {
  if (text == "imix") {
    const unsigned small = std::max(64U, shape.least_size());
    return {small, 570, small, small, 570, small, 1518, small, 570, small, 570, small};
  }
  unsigned size = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return {size};
}

Sender::Sender(Device& device, rte_mempool& pool, const FrameMaker& maker, const Traffic& traffic,
               const FlowSpace& space, const std::vector<FlowTuple>* learned)
    : device_(device),
      pool_(pool),
      maker_(maker),
      traffic_(traffic),
      space_(space),
      learned_(learned),
      slots_(traffic.flows),
      next_flow_(traffic.flows),
      pacer_(0, 1, 0),
      flow_pacer_(0, 1, 0) {
  std::uint32_t flow = 0;
  for (Slot& slot : slots_) slot.flow = flow++;
}

Sender::~Sender() {
  free_pending();
}

void Sender::start(std::uint8_t trial, double packets_per_second, std::uint64_t tsc_hz,
                   std::uint64_t now) {
  trial_ = trial;
  sent_ = {};
  refused_ = false;
  for (Slot& slot : slots_) slot.sequence = 0;
  const double backlog = packets_per_second * traffic_.backlog_seconds;
  pacer_ = Pacer(packets_per_second, tsc_hz,
                 std::max(kLeastBacklog, static_cast<std::uint32_t>(backlog)));
  pacer_.start(now);
  flow_pacer_ = Pacer(traffic_.new_flows_per_second, tsc_hz, traffic_.flows);
  flow_pacer_.start(now);
}

void Sender::poll(std::uint64_t now) noexcept {
  if (pending_count_ > 0) return transmit();
  if (traffic_.new_flows_per_second > 0) move_flows(now);
  const std::uint64_t skipped = pacer_.skipped();
  const unsigned due = pacer_.take(now, kBurst);
  (refused_ ? sent_.refused : sent_.late) += pacer_.skipped() - skipped;
  refused_ = false;
  if (due == 0) return;
  const unsigned made = make_burst(due, now);
  if (made < due) {  // the device holds every buffer
    pacer_.give_back(due - made);
    refused_ = true;
  }
  transmit();
}

void Sender::move_flows(std::uint64_t now) noexcept {
  for (std::uint32_t due = flow_pacer_.take(now, kBurst); due > 0; --due) {
    slots_[next_moved_] = {next_flow_++, 0};
    if (++next_moved_ == slots_.size()) next_moved_ = 0;
    ++sent_.new_flows;
  }
}

unsigned Sender::make_burst(unsigned count, std::uint64_t now) noexcept {
  if (rte_pktmbuf_alloc_bulk(&pool_, pending_.data(), count) != 0) return 0;
  for (unsigned i = 0; i < count; ++i) {
    Slot& slot = slots_[next_slot_];
    if (traffic_.every_packet_new) slot = {next_flow_++, 0};
    if (++next_slot_ == slots_.size()) next_slot_ = 0;
    const unsigned size = traffic_.sizes[next_size_];
    if (++next_size_ == traffic_.sizes.size()) next_size_ = 0;
    rte_mbuf* frame = pending_[i];
    frame->data_len = static_cast<std::uint16_t>(size - kFcs);
    frame->pkt_len = frame->data_len;
    const FlowTuple tuple = learned_ != nullptr ? (*learned_)[slot.flow] : space_.tuple(slot.flow);
    maker_.make(rte_pktmbuf_mtod(frame, std::uint8_t*), frame->data_len, tuple,
                {Stamp::kMark, trial_, slot.flow, slot.sequence++, now});
    sent_.bytes += size;
  }
  sent_.packets += count;
  if (traffic_.every_packet_new) sent_.new_flows += count;
  first_pending_ = 0;
  pending_count_ = count;
  return count;
}

void Sender::transmit() noexcept {
  const unsigned taken = device_.transmit(pending_.data() + first_pending_,
                                          static_cast<std::uint16_t>(pending_count_));
  first_pending_ += taken;
  pending_count_ -= taken;
  refused_ |= pending_count_ > 0;
}

void Sender::free_pending() noexcept {
  for (unsigned i = 0; i < pending_count_; ++i) {
    rte_mbuf* frame = pending_[first_pending_ + i];
    sent_.bytes -= frame->pkt_len + kFcs;
    rte_pktmbuf_free(frame);
  }
  sent_.packets -= pending_count_;
  pending_count_ = 0;
}

void Sender::stop(std::uint64_t now) noexcept {
  free_pending();
  // What was still due at the end, less what is too little to tell from a burst's delay.
  const std::uint64_t scheduled = pacer_.scheduled(now);
  const std::uint64_t accounted = sent_.packets + sent_.refused + sent_.late;
  if (scheduled > accounted + kBurst)
    (refused_ ? sent_.refused : sent_.late) += scheduled - accounted;
}

void Arrivals::start() {
  for (Window& window : windows_) window.packets = {};
  arrived_.packets = arrived_.bytes = 0;
  arrived_.reordered = arrived_.duplicated = arrived_.stale = 0;
  arrived_.latency_ns.clear();
}

void Arrivals::see(const Stamp& stamp, unsigned bytes, std::uint64_t latency_ns) noexcept {
  Window& window = windows_[stamp.flow % windows_.size()];
  // A flow of a higher number has taken this one's place; a straggler of the old one counts, but
  // nothing is known of its order any more.
  if (stamp.flow < window.flow) {
    ++arrived_.stale;
  } else {
    if (stamp.flow > window.flow) window = {stamp.flow, {}};
    const Order order = window.packets.see(stamp.sequence);
    if (order == Order::duplicated) {
      ++arrived_.duplicated;
      return;
    }
    arrived_.reordered += order == Order::reordered;
    arrived_.stale += order == Order::stale;
  }
  ++arrived_.packets;
  arrived_.bytes += bytes;
  arrived_.latency_ns.record(latency_ns);
}

}  // namespace podwire::ports
