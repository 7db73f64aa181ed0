#include "dataplane/io/memif_rings.h"

#include <rte_memcpy.h>

#include <algorithm>

#include "dataplane/io/fresh_buffer.h"
#include "dataplane/io/mempool.h"
#include "dataplane/io/port.h"
#include "dataplane/io/segment.h"
#include "dataplane/net/headers.h"

namespace podwire::io {
namespace {

constexpr unsigned kBurst = 64;
// Descriptors of one frame: 9,000 bytes in buffers of 128.
constexpr unsigned kMaxChain = 96;
constexpr unsigned kLongest = kPacketBytes + kLargeBytes;

// Copies the bytes of a chain of our buffers, in pieces of any size.
class Reader {
 public:
  explicit Reader(const rte_mbuf& frame) : segment_(&frame) {}
  void copy(std::uint8_t* to, std::uint32_t bytes) noexcept {
    while (bytes > 0) {
      if (offset_ == segment_->data_len) {
        segment_ = segment_->next;
        offset_ = 0;
        continue;
      }
      const std::uint32_t part = std::min<std::uint32_t>(bytes, segment_->data_len - offset_);
      rte_memcpy(to, rte_pktmbuf_mtod_offset(segment_, const std::uint8_t*, offset_), part);
      to += part;
      bytes -= part;
      offset_ += part;
    }
  }

 private:
  const rte_mbuf* segment_;
  std::uint32_t offset_ = 0;
};

// Adds `bytes` to a frame of one or two buffers; there is room.
void append(rte_mbuf& first, rte_mbuf* second, const std::uint8_t* from, std::uint32_t bytes) {
  const std::uint32_t head = std::min<std::uint32_t>(bytes, kPacketBytes - first.data_len);
  rte_memcpy(rte_pktmbuf_mtod_offset(&first, std::uint8_t*, first.data_len), from, head);
  first.data_len = static_cast<std::uint16_t>(first.data_len + head);
  if (head == bytes) return;
  rte_memcpy(rte_pktmbuf_mtod_offset(second, std::uint8_t*, second->data_len), from + head,
             bytes - head);
  second->data_len = static_cast<std::uint16_t>(second->data_len + (bytes - head));
  second->pkt_len = second->data_len;
}

}  // namespace

// ---- receive ----

void MemifReceiver::offer_all() noexcept {
  for (unsigned i = 0; i < ring_.size(); ++i) {
    const auto index = static_cast<std::uint16_t>(i);
    ring_.write(index, own_descriptor(index));
  }
  ring_.set_head(static_cast<std::uint16_t>(next_ + ring_.size()));
}

unsigned MemifReceiver::ready() noexcept {
  const std::uint16_t theirs = role_ == MemifRole::server ? ring_.head() : ring_.tail();
  const auto count = static_cast<std::uint16_t>(theirs - next_);
  if (count <= ring_.size()) [[likely]]
    return count;
  memory_.refuse(MemifFault::index);
  return 0;
}

// Gives the buffers of [from, next_) back.
void MemifReceiver::publish(std::uint16_t from) noexcept {
  if (role_ == MemifRole::server) {
    ring_.set_tail(next_);
    return;
  }
  for (std::uint16_t index = from; index != next_; ++index) {
    ring_.write(index, own_descriptor(index));
  }
  ring_.set_head(static_cast<std::uint16_t>(next_ + ring_.size()));
}

// The frames at the front that are one descriptor and one buffer each: nearly all there are.
unsigned MemifReceiver::receive_small(unsigned ready, std::span<rte_mbuf*> out,
                                      rte_mempool& packets) noexcept {
  std::array<const std::uint8_t*, kBurst> sources;
  std::array<std::uint16_t, kBurst> lengths;
  const auto wanted = std::min({ready, static_cast<unsigned>(out.size()), kBurst});
  unsigned count = 0;
  for (; count < wanted; ++count) {
    const memif::Descriptor d = read(static_cast<std::uint16_t>(next_ + count));
    if ((d.flags & memif::kMoreFollows) != 0 || d.length > kPacketBytes ||
        d.length < sizeof(net::Ethernet) || (role_ == MemifRole::client && d.length > own_.bytes)) {
      break;
    }
    sources[count] = memory_.buffer(d);
    if (sources[count] == nullptr) return 0;
    __builtin_prefetch(sources[count]);
    lengths[count] = static_cast<std::uint16_t>(d.length);
  }
  if (count == 0) return 0;
  void** buffers = reinterpret_cast<void**>(out.data());
  if (rte_mempool_get_bulk(&packets, buffers, count) != 0) return 0;
  for (unsigned i = 0; i < count; ++i) {
    if (i + 4 < count) __builtin_prefetch(out[i + 4], 1);
    begin_frame(*out[i], lengths[i]);
    rte_memcpy(static_cast<std::uint8_t*>(out[i]->buf_addr) + RTE_PKTMBUF_HEADROOM, sources[i],
               lengths[i]);
  }
  next_ = static_cast<std::uint16_t>(next_ + count);
  return count;
}

// One frame of any form at the front. Returns 1, or 0 with `next_` moved when it is lost, unmoved
// when it has to wait.
unsigned MemifReceiver::receive_any(unsigned ready, rte_mbuf*& out, rte_mempool& packets,
                                    rte_mempool& large,
                                    std::atomic<std::uint64_t>& missed) noexcept {
  std::array<memif::Descriptor, kMaxChain> chain;
  std::uint64_t bytes = 0;
  unsigned count = 0;
  bool more = true;
  for (; more && count < ready && count < kMaxChain; ++count) {
    chain[count] = read(static_cast<std::uint16_t>(next_ + count));
    const bool fits = role_ == MemifRole::server || chain[count].length <= own_.bytes;
    if (!fits) memory_.refuse(MemifFault::length);
    if (!fits || memory_.buffer(chain[count]) == nullptr) return 0;
    bytes += chain[count].length;
    more = (chain[count].flags & memif::kMoreFollows) != 0;
  }
  if (more) {  // the rest is still to come, unless nothing can come any more
    if (count == kMaxChain || count == ring_.size()) memory_.refuse(MemifFault::chain);
    return 0;
  }
  rte_mbuf* second = nullptr;
  out = nullptr;
  if (bytes >= sizeof(net::Ethernet) && bytes <= kLongest) {
    if ((out = rte_pktmbuf_alloc(&packets)) == nullptr) return 0;
    if (bytes > kPacketBytes && (second = rte_pktmbuf_alloc(&large)) == nullptr) {
      rte_pktmbuf_free(out);
      return 0;
    }
  }
  next_ = static_cast<std::uint16_t>(next_ + count);
  if (out == nullptr) {
    missed.fetch_add(1, std::memory_order_relaxed);
    return 0;
  }
  if (second != nullptr) second->data_off = 0;
  for (unsigned i = 0; i < count; ++i)
    append(*out, second, memory_.buffer(chain[i]), chain[i].length);
  out->pkt_len = static_cast<std::uint32_t>(bytes);
  out->next = second;
  out->nb_segs = second == nullptr ? 1 : 2;
  return 1;
}

unsigned MemifReceiver::receive(std::span<rte_mbuf*> out, rte_mempool& packets, rte_mempool& large,
                                std::atomic<std::uint64_t>& missed) noexcept {
  const unsigned waiting = ready();
  if (waiting == 0 || out.empty()) return 0;
  const std::uint16_t from = next_;
  unsigned count = receive_small(waiting, out, packets);
  if (count == 0) count = receive_any(waiting, out[0], packets, large, missed);
  if (!memory_.sound()) [[unlikely]] {  // what was read may be zeros that nobody sent
    rte_pktmbuf_free_bulk(out.data(), count);
    return 0;
  }
  if (next_ != from) publish(from);
  return count;
}

bool MemifReceiver::rest() noexcept {
  ring_.mask_interrupt(false);
  masked_ = false;
  // The peer looks at the mask after it has moved its index; we the other way round.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (ready() == 0) return true;
  mask();
  return false;
}

// ---- send ----

// Buffers that can be filled now.
unsigned MemifSender::room() noexcept {
  const std::uint16_t size = ring_.size();
  const std::uint16_t theirs = role_ == MemifRole::server ? ring_.head() : ring_.tail();
  const auto distance =
      static_cast<std::uint16_t>(role_ == MemifRole::server ? theirs - next_ : next_ - theirs);
  if (distance > size) [[unlikely]] {
    memory_.refuse(MemifFault::index);
    return 0;
  }
  return role_ == MemifRole::server ? distance : size - distance;
}

// The frames at the front that are one buffer, need nothing done, and fit one of the peer's.
unsigned MemifSender::send_plain(std::span<rte_mbuf*> frames, unsigned room) noexcept {
  std::array<memif::Descriptor, kBurst> descriptors;
  std::array<std::uint8_t*, kBurst> targets;
  const auto wanted = std::min({room, static_cast<unsigned>(frames.size()), kBurst});
  // The peer has just written these lines, and they are written here too.
  for (unsigned i = 0; i < wanted; i += 4) ring_.prefetch(static_cast<std::uint16_t>(next_ + i));
  unsigned count = 0;
  for (; count < wanted; ++count) {
    const rte_mbuf& frame = *frames[count];
    const auto index = static_cast<std::uint16_t>(next_ + count);
    const memif::Descriptor d =
        role_ == MemifRole::server ? ring_.read(index) : own_descriptor(index);
    if (frame.nb_segs != 1 || (frame.ol_flags & kOpenOffloads) != 0 || frame.data_len > d.length)
      break;
    targets[count] = memory_.buffer(d);
    if (targets[count] == nullptr) return 0;
    prefetch_to_write(targets[count]);
    descriptors[count] = d;
  }
  for (unsigned i = 0; i < count; ++i) {
    const rte_mbuf& frame = *frames[i];
    rte_memcpy(targets[i], rte_pktmbuf_mtod(&frame, const std::uint8_t*), frame.data_len);
    fill(static_cast<std::uint16_t>(next_ + i), descriptors[i], frame.data_len, false);
  }
  next_ = static_cast<std::uint16_t>(next_ + count);
  return count;
}

// A frame over as many buffers as it takes.
MemifSender::Put MemifSender::put(const rte_mbuf& frame) noexcept {
  std::array<memif::Descriptor, kMaxChain> chain;
  const unsigned available = room();
  std::uint64_t capacity = 0;
  unsigned count = 0;
  while (capacity < frame.pkt_len) {
    if (count == kMaxChain || count == ring_.size()) return Put::impossible;
    if (count == available) return Put::full;
    const auto index = static_cast<std::uint16_t>(next_ + count);
    chain[count] = role_ == MemifRole::server ? ring_.read(index) : own_descriptor(index);
    if (memory_.buffer(chain[count]) == nullptr) return Put::full;
    capacity += chain[count++].length;
  }
  Reader reader(frame);
  std::uint32_t left = frame.pkt_len;
  for (unsigned i = 0; i < count; ++i) {
    const std::uint32_t part = std::min(left, chain[i].length);
    reader.copy(memory_.buffer(chain[i]), part);
    left -= part;
    fill(static_cast<std::uint16_t>(next_ + i), chain[i], part, i + 1 < count);
  }
  next_ = static_cast<std::uint16_t>(next_ + count);
  return Put::done;
}

MemifSender::Put MemifSender::send_cut(const rte_mbuf& frame, rte_mempool& packets,
                                       const Counts& counts) noexcept {
  Segmentation segments(frame, packets);
  if (!segments.valid()) return Put::impossible;
  // Begun only where it can be ended, as far as that is known before buffers are looked at.
  if (room() < std::min<unsigned>(segments.left(), ring_.size())) return Put::full;
  counts.originated.fetch_add(segments.left() - 1, std::memory_order_relaxed);
  while (segments.left() > 0) {
    rte_mbuf* segment = segments.next();
    const bool sent = segment != nullptr && put(*segment) == Put::done;
    rte_pktmbuf_free(segment);
    if (sent) continue;
    counts.unsent.fetch_add(segments.left() + (segment != nullptr ? 1 : 0),
                            std::memory_order_relaxed);
    break;
  }
  return Put::done;
}

MemifSender::Put MemifSender::send_odd(rte_mbuf& frame, rte_mempool& packets,
                                       const Counts& counts) noexcept {
  if ((frame.ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0) return send_cut(frame, packets, counts);
  if ((frame.ol_flags & kOpenOffloads) != 0 && !complete_checksum(frame)) return Put::impossible;
  return put(frame);
}

unsigned MemifSender::send(std::span<rte_mbuf*> frames, rte_mempool& packets,
                           const Counts& counts) noexcept {
  const std::uint16_t from = next_;
  unsigned taken = 0;
  while (taken < frames.size() && memory_.sound()) {
    const unsigned available = room();
    const unsigned plain = send_plain(frames.subspan(taken), available);
    taken += plain;
    if (plain > 0) continue;
    if (available == 0 || !memory_.sound()) break;
    const Put done = send_odd(*frames[taken], packets, counts);
    if (done == Put::full) break;
    if (done == Put::impossible) counts.unsent.fetch_add(1, std::memory_order_relaxed);
    ++taken;
  }
  if (next_ != from) {
    if (role_ == MemifRole::server) {
      ring_.set_tail(next_);
    } else {
      ring_.set_head(next_);
    }
  }
  rte_pktmbuf_free_bulk(frames.data(), taken);
  return taken;
}

bool MemifSender::wants_interrupt() const noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return !ring_.interrupt_masked();
}

}  // namespace podwire::io
