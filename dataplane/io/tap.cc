#include "dataplane/io/tap.h"

#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "dataplane/check.h"
#include "dataplane/io/merge.h"
#include "dataplane/io/virtio_header.h"

namespace podwire::io {
namespace {

// A burst ends here, so that the frames of one round stay in the second-level cache between the
// copy in and the copy out.
constexpr unsigned kBurstBytes = 256 * 1024;
// Segments of one frame on transmit; what podwire makes has two, a reassembled one a few more.
constexpr unsigned kMaxSegments = 60;

}  // namespace

Result<std::shared_ptr<TapPort>> TapPort::open(const TapSpec& spec, rte_mempool& packets,
                                               rte_mempool& large, const char* kind) {
  auto descriptors = open_tap_device(spec);
  if (!descriptors) return tl::unexpected(descriptors.error());
  return std::make_shared<TapPort>(std::move(*descriptors), packets, large, kind);
}

TapPort::TapPort(std::vector<int> descriptors, rte_mempool& packets, rte_mempool& large,
                 const char* kind)
    : descriptors_(std::move(descriptors)), packets_(packets), large_(large), kind_(kind) {
  check(!descriptors_.empty(), "a tap port has at least one queue");
}

TapPort::~TapPort() {
  for (const int descriptor : descriptors_) close(descriptor);
}

unsigned TapPort::queues() const noexcept {
  return static_cast<unsigned>(descriptors_.size());
}

int TapPort::wait_descriptor(unsigned queue) const noexcept {
  return descriptors_[queue];
}

bool TapPort::up() const noexcept {
  return up_.load(std::memory_order_relaxed);
}

Port::Extra TapPort::extra() const noexcept {
  return {.originated = 0,
          .missed = missed_.load(std::memory_order_relaxed),
          .unsent = unsent_.load(std::memory_order_relaxed)};
}

TapPort::Read TapPort::read_frame(int descriptor, rte_mbuf& first, rte_mbuf& second) noexcept {
  VirtioHeader header;
  const std::array<iovec, 3> parts{{
      {&header, sizeof header},
      {rte_pktmbuf_mtod(&first, void*), rte_pktmbuf_tailroom(&first)},
      {rte_pktmbuf_mtod(&second, void*), rte_pktmbuf_tailroom(&second)},
  }};
  const ssize_t length = readv(descriptor, parts.data(), parts.size());
  if (length < 0) {
    // EBADFD: the device was deleted. EAGAIN and EINTR pass; anything else is tried again too.
    if (errno == EBADFD) up_.store(false, std::memory_order_relaxed);
    return Read::empty;
  }
  if (static_cast<std::size_t>(length) <= sizeof header) return Read::refused;
  const auto bytes = static_cast<std::size_t>(length) - sizeof header;
  const std::size_t head = std::min(bytes, parts[1].iov_len);
  first.data_len = static_cast<std::uint16_t>(head);
  first.pkt_len = static_cast<std::uint32_t>(bytes);
  if (bytes > head) {
    second.data_len = static_cast<std::uint16_t>(bytes - head);
    second.pkt_len = second.data_len;
    first.next = &second;
    first.nb_segs = 2;
  }
  return take_virtio_header(header, first) ? Read::frame : Read::refused;
}

unsigned TapPort::receive(unsigned queue, std::span<rte_mbuf*> out) noexcept {
  unsigned count = 0;
  unsigned bytes = 0;
  rte_mbuf* first = nullptr;
  rte_mbuf* second = nullptr;
  while (count < out.size() && bytes < kBurstBytes) {
    // Without buffers the frame waits in the kernel's queue.
    if (first == nullptr && (first = rte_pktmbuf_alloc(&packets_)) == nullptr) break;
    if (second == nullptr) {
      if ((second = rte_pktmbuf_alloc(&large_)) == nullptr) break;
      second->data_off = 0;
    }
    const Read read = read_frame(descriptors_[queue], *first, *second);
    if (read == Read::empty) break;
    if (read == Read::refused) {
      missed_.fetch_add(1, std::memory_order_relaxed);
      if (first->next != nullptr) second = nullptr;
      rte_pktmbuf_free(first);
      first = nullptr;
      continue;
    }
    if (first->next != nullptr) second = nullptr;
    bytes += first->pkt_len;
    out[count++] = first;
    first = nullptr;
  }
  rte_pktmbuf_free(first);
  rte_pktmbuf_free(second);
  return count;
}

TapPort::Write TapPort::write_frame(int descriptor, rte_mbuf& frame) noexcept {
  VirtioHeader header;
  std::array<iovec, kMaxSegments + 1> parts;
  if (frame.nb_segs > kMaxSegments || !make_virtio_header(frame, header)) return Write::impossible;
  parts[0] = {&header, sizeof header};
  int used = 1;
  for (rte_mbuf* segment = &frame; segment != nullptr; segment = segment->next) {
    parts[static_cast<unsigned>(used++)] = {rte_pktmbuf_mtod(segment, void*), segment->data_len};
  }
  while (writev(descriptor, parts.data(), used) < 0) {
    if (errno == EINTR) continue;
    if (errno == EBADFD) up_.store(false, std::memory_order_relaxed);
    return errno == EINVAL ? Write::impossible : Write::blocked;
  }
  return Write::done;
}

unsigned TapPort::transmit(unsigned worker, std::span<rte_mbuf*> frames) noexcept {
  const int descriptor = descriptors_[worker % descriptors_.size()];
  unsigned taken = 0;
  while (taken < frames.size()) {
    rte_mbuf* frame = frames[taken];
    const unsigned merged = merge_front(frames.subspan(taken));
    const Write written = write_frame(descriptor, *frame);
    // A merged frame cannot be given back in parts.
    if (written == Write::blocked && merged == 1) break;
    if (written != Write::done) unsent_.fetch_add(merged, std::memory_order_relaxed);
    rte_pktmbuf_free(frame);
    taken += merged;
  }
  return taken;
}

}  // namespace podwire::io
