#include "dataplane/io/tap.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "dataplane/check.h"
#include "dataplane/io/call_batch.h"
#include "dataplane/io/merge.h"
#include "dataplane/io/virtio_header.h"

namespace podwire::io {
namespace {

// A burst ends here, so that the frames of one round stay in the second-level cache between the
// copy in and the copy out.
constexpr unsigned kBurstBytes = 256 * 1024;
// Segments of one frame on transmit; what podwire makes has two, a reassembled one a few more.
constexpr unsigned kMaxSegments = 60;
// Frames that a burst reads, or must have to be written, before calls are batched: a call of its
// own is the cheaper way for a few.
constexpr unsigned kSingly = 4;
// The header stands in front of the frame, in the first buffer's headroom: one piece of memory
// less for the kernel to walk.
constexpr unsigned kHeader = sizeof(VirtioHeader);
static_assert(RTE_PKTMBUF_HEADROOM >= kHeader);

using Parts = std::array<iovec, kMaxSegments + 1>;

// What the call returns, or -errno; made again when a signal has interrupted it.
template <typename Call>
int call_once(Call&& call) noexcept {
  ssize_t result = 0;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : static_cast<int>(result);
}

// The pieces of memory of a frame with its header in front, which is put into the first buffer's
// headroom, or where there is none into `apart`. Zero: the frame's flags contradict it.
unsigned parts_of(rte_mbuf& frame, VirtioHeader& apart, Parts& parts) noexcept {
  if (frame.nb_segs > kMaxSegments || !make_virtio_header(frame, apart)) return 0;
  unsigned used = 0;
  const bool fits = rte_pktmbuf_headroom(&frame) >= kHeader && rte_mbuf_refcnt_read(&frame) == 1;
  if (fits) {
    auto* start = rte_pktmbuf_mtod_offset(&frame, std::uint8_t*, -static_cast<int>(kHeader));
    std::memcpy(start, &apart, kHeader);
    parts[used++] = {start, kHeader + std::size_t{frame.data_len}};
  } else {
    parts[used++] = {&apart, kHeader};
    parts[used++] = {rte_pktmbuf_mtod(&frame, void*), frame.data_len};
  }
  for (rte_mbuf* segment = frame.next; segment != nullptr; segment = segment->next) {
    parts[used++] = {rte_pktmbuf_mtod(segment, void*), segment->data_len};
  }
  return used;
}

}  // namespace

// Pairs of buffers: a frame's first segment, and the large second of those that need one. What no
// frame has taken goes back at the end.
struct TapPort::Landing {
  explicit Landing(TapPort& port) : packets(port.packets_), large(port.large_) {}
  Landing(const Landing&) = delete;
  Landing& operator=(const Landing&) = delete;
  ~Landing() {
    for (unsigned i = 0; i < firsts; ++i) rte_pktmbuf_free(first[i]);
    for (unsigned i = 0; i < seconds; ++i) rte_pktmbuf_free(second[i]);
  }
  // How many pairs there are, up to `wanted`.
  unsigned fill(unsigned wanted) noexcept {
    while (firsts < wanted && (first[firsts] = rte_pktmbuf_alloc(&packets)) != nullptr) ++firsts;
    while (seconds < wanted && (second[seconds] = rte_pktmbuf_alloc(&large)) != nullptr) {
      second[seconds++]->data_off = 0;
    }
    return std::min({wanted, firsts, seconds});
  }
  // Frames have taken firsts, and seconds, out of the first `used` pairs: null there.
  void close_gaps(unsigned used) noexcept {
    firsts = without_gaps(first, firsts, used);
    seconds = without_gaps(second, seconds, used);
  }

  rte_mempool &packets, &large;
  unsigned firsts = 0, seconds = 0;
  std::array<rte_mbuf*, CallBatch::kCalls> first, second;

 private:
  static unsigned without_gaps(std::array<rte_mbuf*, CallBatch::kCalls>& buffers, unsigned count,
                               unsigned used) noexcept {
    auto* const end = std::remove(buffers.data(), buffers.data() + used, nullptr);
    auto* const last = std::copy(buffers.data() + used, buffers.data() + count, end);
    return static_cast<unsigned>(last - buffers.data());
  }
};

struct TapPort::Burst {
  std::span<rte_mbuf*> out;
  unsigned expected;
  unsigned count = 0, bytes = 0;

  [[nodiscard]] bool full() const { return count == out.size() || bytes >= kBurstBytes; }
  // How many frames to read by one call. A read that finds nothing costs what is gained by batching
  // four: so no more than are expected, nor than have come before.
  [[nodiscard]] unsigned next() const {
    if (count < kSingly || expected < count + kSingly || CallBatch::mine() == nullptr) return 1;
    const unsigned fit = (kBurstBytes - bytes) / std::max(bytes / count, 1U);
    const auto left = static_cast<unsigned>(out.size()) - count;
    return std::clamp(std::min({count, expected - count, left, fit}), 1U, CallBatch::kCalls);
  }
};

Result<std::shared_ptr<TapPort>> TapPort::open(const TapSpec& spec, rte_mempool& packets,
                                               rte_mempool& large, const char* kind) {
  auto descriptors = open_tap_device(spec);
  if (!descriptors) return tl::unexpected(descriptors.error());
  return std::make_shared<TapPort>(*descriptors, packets, large, kind);
}

TapPort::TapPort(const std::vector<int>& descriptors, rte_mempool& packets, rte_mempool& large,
                 const char* kind)
    : packets_(packets), large_(large), kind_(kind) {
  check(!descriptors.empty(), "a tap port has at least one queue");
  for (const int descriptor : descriptors) queues_.push_back({descriptor});
}

TapPort::~TapPort() {
  for (const Queue& queue : queues_) close(queue.descriptor);
}

unsigned TapPort::queues() const noexcept {
  return static_cast<unsigned>(queues_.size());
}

int TapPort::wait_descriptor(unsigned queue) const noexcept {
  return queues_[queue].descriptor;
}

bool TapPort::up() const noexcept {
  return up_.load(std::memory_order_relaxed);
}

Port::Extra TapPort::extra() const noexcept {
  return {.originated = 0,
          .missed = missed_.load(std::memory_order_relaxed),
          .unsent = unsent_.load(std::memory_order_relaxed)};
}

// What a read has left in a pair of buffers. False: no frame.
bool TapPort::take(int result, rte_mbuf& first, rte_mbuf& second) noexcept {
  if (static_cast<unsigned>(result) <= kHeader) return false;
  VirtioHeader header;
  std::memcpy(&header, rte_pktmbuf_mtod_offset(&first, void*, -static_cast<int>(kHeader)), kHeader);
  const unsigned bytes = static_cast<unsigned>(result) - kHeader;
  const unsigned head = std::min<unsigned>(bytes, rte_pktmbuf_tailroom(&first));
  first.data_len = static_cast<std::uint16_t>(head);
  first.pkt_len = bytes;
  if (bytes > head) {
    second.data_len = static_cast<std::uint16_t>(bytes - head);
    second.pkt_len = second.data_len;
    first.next = &second;
    first.nb_segs = 2;
  }
  return take_virtio_header(header, first);
}

// False: the queue is empty, or there are no buffers; then frames wait in the kernel.
bool TapPort::receive_some(int descriptor, unsigned wanted, Landing& landing,
                           Burst& burst) noexcept {
  wanted = landing.fill(wanted);
  if (wanted == 0) return false;
  const auto parts_at = [&](unsigned i) {
    rte_mbuf& first = *landing.first[i];
    rte_mbuf& second = *landing.second[i];
    return std::array<iovec, 2>{
        {{rte_pktmbuf_mtod_offset(&first, void*, -static_cast<int>(kHeader)),
          kHeader + std::size_t{rte_pktmbuf_tailroom(&first)}},
         {rte_pktmbuf_mtod(&second, void*), rte_pktmbuf_tailroom(&second)}}};
  };
  int single = 0;
  std::span<const int> results(&single, 1);
  CallBatch* calls = wanted > 1 ? CallBatch::mine() : nullptr;
  if (calls == nullptr) {
    const auto parts = parts_at(0);
    single = call_once([&] { return readv(descriptor, parts.data(), parts.size()); });
  } else {
    for (unsigned i = 0; i < wanted; ++i) calls->read(descriptor, parts_at(i));
    results = calls->run();
  }
  bool all = true;
  for (unsigned i = 0; i < results.size(); ++i) {
    if (results[i] < 0) {
      // EBADFD: the device was deleted. EAGAIN passes; anything else is tried again too.
      if (results[i] == -EBADFD) up_.store(false, std::memory_order_relaxed);
      all = false;
      continue;
    }
    rte_mbuf* first = std::exchange(landing.first[i], nullptr);
    const bool good = take(results[i], *first, *landing.second[i]);
    if (first->next != nullptr) landing.second[i] = nullptr;
    if (good) {
      burst.bytes += first->pkt_len;
      burst.out[burst.count++] = first;
    } else {
      missed_.fetch_add(1, std::memory_order_relaxed);
      rte_pktmbuf_free(first);
    }
  }
  landing.close_gaps(static_cast<unsigned>(results.size()));
  return all;
}

unsigned TapPort::receive(unsigned queue, std::span<rte_mbuf*> out) noexcept {
  Queue& from = queues_[queue];
  Landing landing(*this);
  Burst burst{out, std::min(from.last, from.before)};
  while (!burst.full() && receive_some(from.descriptor, burst.next(), landing, burst)) {
  }
  if (burst.count > 0) from.before = std::exchange(from.last, burst.count);
  return burst.count;
}

TapPort::Write TapPort::outcome(int result) noexcept {
  if (result >= 0) return Write::done;
  if (result == -EBADFD) up_.store(false, std::memory_order_relaxed);
  return result == -EINVAL ? Write::impossible : Write::blocked;
}

TapPort::Write TapPort::write_frame(int descriptor, rte_mbuf& frame) noexcept {
  VirtioHeader header;
  Parts parts;
  const unsigned used = parts_of(frame, header, parts);
  if (used == 0) return Write::impossible;
  return outcome(
      call_once([&] { return writev(descriptor, parts.data(), static_cast<int>(used)); }));
}

// The port is done with a frame that `merged` have become.
void TapPort::finish(rte_mbuf* frame, unsigned merged, Write written) noexcept {
  if (written != Write::done) unsent_.fetch_add(merged, std::memory_order_relaxed);
  rte_pktmbuf_free(frame);
}

// The front of `frames`, by a call of its own. 0: the device takes none now.
unsigned TapPort::write_one(int descriptor, std::span<rte_mbuf*> frames) noexcept {
  const unsigned merged = merge_front(frames);
  const Write written = write_frame(descriptor, *frames.front());
  // A merged frame cannot be given back in parts.
  if (written == Write::blocked && merged == 1) return 0;
  finish(frames.front(), merged, written);
  return merged;
}

// As many of the front of `frames` as one run holds. 0: the device takes none now.
unsigned TapPort::write_some(int descriptor, std::span<rte_mbuf*> frames,
                             CallBatch& calls) noexcept {
  struct Sent {
    rte_mbuf* frame;
    unsigned merged;
    int call;  // -1: its flags contradict it, so there is none
  };
  std::array<Sent, CallBatch::kCalls> sent;
  std::array<VirtioHeader, CallBatch::kCalls> headers;
  Parts parts;
  unsigned count = 0;
  int made = 0;
  for (std::size_t next = 0; next < frames.size() && calls.has_room(parts.size());) {
    rte_mbuf* frame = frames[next];
    const unsigned merged = merge_front(frames.subspan(next));
    const unsigned used = parts_of(*frame, headers[count], parts);
    if (used != 0) calls.write(descriptor, std::span(parts).first(used));
    sent[count++] = {frame, merged, used != 0 ? made++ : -1};
    next += merged;
    if (count == sent.size()) break;
  }
  const auto results = calls.run();
  const auto written = [&](const Sent& each) {
    return each.call < 0 ? Write::impossible : outcome(results[static_cast<unsigned>(each.call)]);
  };
  // Given back is only what nothing that went out comes after, and no merged frame.
  while (count > 0 && sent[count - 1].merged == 1 && written(sent[count - 1]) == Write::blocked) {
    --count;
  }
  unsigned taken = 0;
  for (const Sent& each : std::span(sent).first(count)) {
    taken += each.merged;
    finish(each.frame, each.merged, written(each));
  }
  return taken;
}

unsigned TapPort::transmit(unsigned worker, std::span<rte_mbuf*> frames) noexcept {
  const int descriptor = queues_[worker % queues_.size()].descriptor;
  unsigned taken = 0;
  while (taken < frames.size()) {
    const auto left = frames.subspan(taken);
    CallBatch* calls = left.size() >= kSingly ? CallBatch::mine() : nullptr;
    const unsigned now =
        calls != nullptr ? write_some(descriptor, left, *calls) : write_one(descriptor, left);
    if (now == 0) break;
    taken += now;
  }
  return taken;
}

}  // namespace podwire::io
