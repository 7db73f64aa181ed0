#include "dataplane/io/virtqueue.h"

#include <rte_memcpy.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "dataplane/check.h"
#include "dataplane/io/fresh_buffer.h"
#include "dataplane/io/mempool.h"
#include "dataplane/io/port.h"
#include "dataplane/io/prefetch.h"
#include "dataplane/io/virtio_header.h"
#include "dataplane/net/headers.h"

namespace podwire::io {
namespace {

constexpr std::uint16_t kNext = 1, kWrite = 2, kIndirect = 4;  // descriptor flags
constexpr std::uint16_t kNoInterrupt = 1;                      // flags of the available ring
constexpr std::uint16_t kNoNotify = 1;                         // flags of the used ring

// Shared with another process that may run on another core, and must be read exactly once.
std::uint16_t load(const std::uint16_t& shared, int order) noexcept {
  return __atomic_load_n(&shared, order);
}

// Whether a virtio-net header leaves nothing to its reader.
bool asks_for_nothing(const std::uint8_t* header) noexcept {
  std::uint16_t flags_and_type = 0;
  std::memcpy(&flags_and_type, header, sizeof flags_and_type);
  return flags_and_type == 0;
}

bool aligned(const void* at, std::uintptr_t bytes) {
  return reinterpret_cast<std::uintptr_t>(at) % bytes == 0;
}

}  // namespace

bool GuestMemory::holds(const void* start, std::uint64_t length) const noexcept {
  for (unsigned i = 0; i < count; ++i) {
    const std::uint64_t offset =
        reinterpret_cast<std::uintptr_t>(start) - reinterpret_cast<std::uintptr_t>(regions[i].host);
    if (offset < regions[i].size && length <= regions[i].size - offset) return true;
  }
  return false;
}

const char* Virtqueue::sentence(Fault fault) noexcept {
  switch (fault) {
    case Fault::none:
      return "";
    case Fault::rings:
      return "a ring is not in the shared memory, or its size is no power of two";
    case Fault::avail_index:
      return "more buffers are offered than the ring has places";
    case Fault::head_index:
      return "a chain begins behind the last descriptor";
    case Fault::chain_index:
      return "a chain goes on behind the last descriptor";
    case Fault::chain_length:
      return "a chain of descriptors does not end";
    case Fault::address:
      return "a descriptor points outside the shared memory";
    case Fault::direction:
      return "a descriptor has the wrong direction";
    case Fault::indirect:
      return "an indirect descriptor, which was not negotiated";
    case Fault::short_buffer:
      return "a receive buffer has no room for the virtio-net header";
  }
  return "";
}

bool Virtqueue::attach(const Setup& setup, const GuestMemory& memory) noexcept {
  const unsigned size = setup.size;
  fault_ = Fault::none;
  size_ = 0;
  if (size == 0 || size > kMaxSize || (size & (size - 1)) != 0) return fail_with(Fault::rings);
  if (!aligned(setup.descriptors, 16) || !aligned(setup.avail, 2) || !aligned(setup.used, 4) ||
      !memory.holds(setup.descriptors, sizeof(Descriptor) * size) ||
      !memory.holds(setup.avail, 4 + 2 * std::uint64_t{size}) ||
      !memory.holds(setup.used, 4 + sizeof(UsedElement) * size)) {
    return fail_with(Fault::rings);
  }
  descriptors_ = static_cast<const Descriptor*>(setup.descriptors);
  avail_ = static_cast<const std::uint16_t*>(setup.avail);
  used_flags_ = static_cast<std::uint16_t*>(setup.used);
  used_elements_ = reinterpret_cast<UsedElement*>(used_flags_ + 2);
  memory_ = &memory;
  header_bytes_ = setup.header_bytes;
  mergeable_ = setup.mergeable;
  next_avail_ = setup.next_avail;
  next_used_ = setup.next_used;
  told_ = false;  // a former owner may have died before it told
  size_ = size;
  refuse_kicks();
  return true;
}

unsigned Virtqueue::offered() noexcept {
  if (size_ == 0 || fault_ != Fault::none) return 0;
  const auto count = static_cast<std::uint16_t>(load(avail_[1], __ATOMIC_ACQUIRE) - next_avail_);
  if (count > size_) {
    fault_ = Fault::avail_index;
    return 0;
  }
  return count;
}

std::uint16_t Virtqueue::head(unsigned place) const noexcept {
  return load(avail_[2 + ((next_avail_ + place) & (size_ - 1))], __ATOMIC_RELAXED);
}

Virtqueue::Descriptor Virtqueue::read(unsigned index) const noexcept {
  // Two loads of eight bytes: the compiler may not read a field a second time.
  const auto* words = reinterpret_cast<const std::uint64_t*>(&descriptors_[index]);
  const std::uint64_t address = __atomic_load_n(&words[0], __ATOMIC_RELAXED);
  const std::uint64_t rest = __atomic_load_n(&words[1], __ATOMIC_RELAXED);
  return {address, static_cast<std::uint32_t>(rest), static_cast<std::uint16_t>(rest >> 32),
          static_cast<std::uint16_t>(rest >> 48)};
}

void Virtqueue::give_back(unsigned place, std::uint32_t head, std::uint32_t length) noexcept {
  used_elements_[(next_used_ + place) & (size_ - 1)] = {head, length};
}

void Virtqueue::publish(unsigned count) noexcept {
  if (count == 0) return;
  next_avail_ = static_cast<std::uint16_t>(next_avail_ + count);
  next_used_ = static_cast<std::uint16_t>(next_used_ + count);
  __atomic_store_n(&used_flags_[1], next_used_, __ATOMIC_RELEASE);
  told_ = false;
}

bool Virtqueue::peer_waits() noexcept {
  if (told_ || size_ == 0) return false;
  told_ = true;
  // The peer's wish is read after it can see what is used (virtio 1.2 section 2.7.7).
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return (load(avail_[0], __ATOMIC_RELAXED) & kNoInterrupt) == 0;
}

void Virtqueue::refuse_kicks() noexcept {
  kicks_ = false;
  __atomic_store_n(&used_flags_[0], kNoNotify, __ATOMIC_RELAXED);
}

bool Virtqueue::ask_for_kicks() noexcept {
  if (size_ == 0 || fault_ != Fault::none) return true;
  __atomic_store_n(&used_flags_[0], std::uint16_t{0}, __ATOMIC_RELAXED);
  kicks_ = true;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (load(avail_[1], __ATOMIC_RELAXED) == next_avail_) return true;
  refuse_kicks();
  return false;
}

struct Virtqueue::Incoming {
  rte_mbuf* first;
  rte_mempool& large;
  std::array<std::uint8_t, 12> header{};
  unsigned header_left;
  rte_mbuf* second = nullptr;
  unsigned bytes = 0;
  bool bad = false;  // too long, or no buffer for the rest

  void take(const std::uint8_t* data, unsigned length, unsigned header_bytes) noexcept {
    if (header_left > 0) {
      const unsigned part = std::min(length, header_left);
      std::memcpy(&header[header_bytes - header_left], data, part);
      header_left -= part;
      data += part;
      length -= part;
    }
    if (length > kMaxFrame - bytes) bad = true;
    if (bad || length == 0) return;
    bytes += length;
    const unsigned room = rte_pktmbuf_tailroom(first);
    const unsigned part = second != nullptr ? 0 : std::min(length, room);
    rte_memcpy(rte_pktmbuf_mtod_offset(first, std::uint8_t*, first->data_len), data, part);
    first->data_len = static_cast<std::uint16_t>(first->data_len + part);
    if (length > part) take_rest(data + part, length - part);
  }
  void take_rest(const std::uint8_t* data, unsigned length) noexcept {
    if (second == nullptr) {
      second = rte_pktmbuf_alloc(&large);
      if (second == nullptr) {
        bad = true;
        return;
      }
      second->data_off = 0;
      first->next = second;
      first->nb_segs = 2;
    }
    rte_memcpy(rte_pktmbuf_mtod_offset(second, std::uint8_t*, second->data_len), data, length);
    second->data_len = static_cast<std::uint16_t>(second->data_len + length);
  }
  // Whether it is a frame at all, as far as the virtio-net header tells.
  [[nodiscard]] bool finish() noexcept {
    if (bad || header_left > 0 || bytes < sizeof(net::Ethernet)) return false;
    first->pkt_len = bytes;
    VirtioHeader said;
    std::memcpy(static_cast<void*>(&said), header.data(), sizeof said);
    return (said.flags == 0 && said.gso_type == VirtioHeader::kNoGso) ||
           take_virtio_header(said, *first);
  }
};

bool Virtqueue::collect(std::uint16_t head, Incoming& frame) noexcept {
  if (head >= size_) return fail_with(Fault::head_index);
  unsigned index = head;
  for (unsigned seen = 0; seen < kMaxDescriptors; ++seen) {
    const Descriptor descriptor = read(index);
    if ((descriptor.flags & kIndirect) != 0) return fail_with(Fault::indirect);
    if ((descriptor.flags & kWrite) != 0) return fail_with(Fault::direction);
    if (descriptor.length > 0) {
      const std::uint8_t* data = memory_->at(descriptor.address, descriptor.length);
      if (data == nullptr) return fail_with(Fault::address);
      frame.take(data, descriptor.length, header_bytes_);
    }
    if ((descriptor.flags & kNext) == 0) return true;
    index = descriptor.next;
    if (index >= size_) return fail_with(Fault::chain_index);
  }
  return fail_with(Fault::chain_length);
}

// Where the next `count` chains begin, read once; their descriptors are under way.
void Virtqueue::look_at_heads(unsigned count, Heads& heads) const noexcept {
  for (unsigned i = 0; i < count; ++i) {
    heads[i] = head(i);
    __builtin_prefetch(&descriptors_[heads[i] & (size_ - 1)]);
  }
}

unsigned Virtqueue::pull_plain(unsigned offered, std::span<rte_mbuf*> out,
                               rte_mempool& packets) noexcept {
  Heads heads;
  std::array<const std::uint8_t*, kMostAtOnce> sources;
  std::array<std::uint16_t, kMostAtOnce> lengths;
  look_at_heads(offered, heads);
  unsigned count = 0;
  for (; count < offered && heads[count] < size_; ++count) {
    const Descriptor d = read(heads[count]);
    const std::uint32_t length = d.length - header_bytes_;
    if ((d.flags & (kNext | kWrite | kIndirect)) != 0 || length > kPacketBytes ||
        length < sizeof(net::Ethernet)) {
      break;
    }
    sources[count] = memory_->at(d.address, d.length);
    if (sources[count] == nullptr) break;
    __builtin_prefetch(sources[count]);
    lengths[count] = static_cast<std::uint16_t>(length);
  }
  void** buffers = reinterpret_cast<void**>(out.data());
  if (count == 0 || rte_mempool_get_bulk(&packets, buffers, count) != 0) return 0;
  unsigned done = 0;
  for (; done < count && asks_for_nothing(sources[done]); ++done) {
    if (done + 4 < count) __builtin_prefetch(out[done + 4], 1);
    begin_frame(*out[done], lengths[done]);
    rte_memcpy(static_cast<std::uint8_t*>(out[done]->buf_addr) + RTE_PKTMBUF_HEADROOM,
               sources[done] + header_bytes_, lengths[done]);
    give_back(done, heads[done], 0);
  }
  if (done < count) rte_mempool_put_bulk(&packets, buffers + done, count - done);
  publish(done);
  return done;
}

unsigned Virtqueue::pull_any(unsigned offered, std::span<rte_mbuf*> out, rte_mempool& packets,
                             rte_mempool& large, std::uint64_t& refused) noexcept {
  std::array<rte_mbuf*, kMostAtOnce> fresh;
  if (rte_pktmbuf_alloc_bulk(&packets, fresh.data(), offered) != 0) return 0;
  Heads heads;
  look_at_heads(offered, heads);
  for (unsigned i = 0; i < offered; ++i) {
    const Descriptor first = read(heads[i] & (size_ - 1));
    __builtin_prefetch(memory_->at(first.address, 1));
  }
  unsigned count = 0;
  unsigned done = 0;
  for (; done < offered; ++done) {
    Incoming frame{.first = fresh[done], .large = large, .header_left = header_bytes_};
    if (!collect(heads[done], frame)) break;
    give_back(done, heads[done], 0);
    if (frame.finish()) {
      out[count++] = fresh[done];
    } else {
      ++refused;
      rte_pktmbuf_free(fresh[done]);
    }
  }
  publish(done);
  // After a fault the rest is not looked at; the frame it was found in may have a second buffer.
  for (unsigned i = done; i < offered; ++i) rte_pktmbuf_free(fresh[i]);
  return count;
}

unsigned Virtqueue::pull(std::span<rte_mbuf*> out, rte_mempool& packets, rte_mempool& large,
                         std::uint64_t& refused) noexcept {
  const unsigned wanted = std::min({offered(), static_cast<unsigned>(out.size()), kMostAtOnce});
  if (wanted == 0) return 0;
  if (kicks_) refuse_kicks();
  const unsigned plain = pull_plain(wanted, out, packets);
  if (plain == wanted) return plain;
  return plain + pull_any(wanted - plain, out.subspan(plain), packets, large, refused);
}

struct Virtqueue::Outgoing {
  const rte_mbuf* segment;
  unsigned offset = 0;
  std::uint32_t left;
  std::array<std::uint8_t, 12> header{};
  unsigned header_left;
  std::uint8_t* header_at = nullptr;  // in the first buffer
  unsigned descriptors = 0;           // of all chains so far

  std::uint32_t copy_to(std::uint8_t* to, std::uint32_t room) noexcept {
    const std::uint32_t wanted = std::min(room, left);
    for (std::uint32_t copied = 0; copied < wanted;) {
      if (offset == segment->data_len) {
        segment = segment->next;
        offset = 0;
        continue;
      }
      const std::uint32_t part = std::min(wanted - copied, segment->data_len - offset);
      rte_memcpy(to + copied, rte_pktmbuf_mtod_offset(segment, const std::uint8_t*, offset), part);
      copied += part;
      offset += part;
    }
    left -= wanted;
    return wanted;
  }
};

// Copies into one chain of the peer's; `written` counts its bytes.
bool Virtqueue::fill(std::uint16_t head, Outgoing& frame, std::uint32_t& written) noexcept {
  if (head >= size_) return fail_with(Fault::head_index);
  unsigned index = head;
  while (++frame.descriptors <= kMaxDescriptors) {
    const Descriptor descriptor = read(index);
    if ((descriptor.flags & kIndirect) != 0) return fail_with(Fault::indirect);
    if ((descriptor.flags & kWrite) == 0) return fail_with(Fault::direction);
    std::uint8_t* data = memory_->at(descriptor.address, descriptor.length);
    if (data == nullptr) return fail_with(Fault::address);
    std::uint32_t room = descriptor.length;
    if (frame.header_left > 0) {
      // Drivers give the header one descriptor, or the head of the first.
      if (room < frame.header_left) return fail_with(Fault::short_buffer);
      frame.header_at = data;
      std::memcpy(data, frame.header.data(), header_bytes_);
      data += header_bytes_;
      room -= header_bytes_;
      written += header_bytes_;
      frame.header_left = 0;
    }
    written += frame.copy_to(data, room);
    if (frame.left == 0 || (descriptor.flags & kNext) == 0) return true;
    index = descriptor.next;
    if (index >= size_) return fail_with(Fault::chain_index);
  }
  return fail_with(Fault::chain_length);
}

// Into as many chains as it takes, counted in `used`: one only unless buffers are mergeable.
Virtqueue::Put Virtqueue::put(rte_mbuf& frame, unsigned offered, unsigned& used) noexcept {
  VirtioHeader header;
  if (!make_virtio_header(frame, header)) return Put::impossible;
  Outgoing out{.segment = &frame, .left = frame.pkt_len, .header_left = header_bytes_};
  std::memcpy(out.header.data(), &header, sizeof header);
  out.header[sizeof header] = 1;  // buffers, little endian; not looked at where the header has 10
  unsigned chains = 0;
  while (out.left > 0 || chains == 0) {
    if (used + chains == offered) return Put::full;
    const std::uint16_t at = head(used + chains);
    std::uint32_t written = 0;
    if (!fill(at, out, written)) return Put::fault;
    give_back(used + chains, at, written);
    ++chains;
    if (out.left > 0 && !mergeable_) return Put::impossible;
  }
  if (chains > 1) {
    const auto count = static_cast<std::uint16_t>(chains);
    std::memcpy(out.header_at + sizeof header, &count, sizeof count);
  }
  used += chains;
  return Put::done;
}

unsigned Virtqueue::push_plain(unsigned offered, std::span<rte_mbuf* const> frames) noexcept {
  // Flags, offloads and what they need: zero. One buffer holds it all (num_buffers); a frame stands
  // in that field's place where the header has 10 bytes.
  constexpr std::array<std::uint8_t, 12> kHeader{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0};
  Heads heads;
  std::array<std::uint8_t*, kMostAtOnce> targets;
  const auto wanted = std::min({offered, static_cast<unsigned>(frames.size()), kMostAtOnce});
  look_at_heads(wanted, heads);
  unsigned count = 0;
  for (; count < wanted && heads[count] < size_; ++count) {
    const rte_mbuf& frame = *frames[count];
    const Descriptor d = read(heads[count]);
    if (frame.nb_segs != 1 || (frame.ol_flags & kOpenOffloads) != 0 ||
        (d.flags & (kWrite | kIndirect)) != kWrite ||
        d.length < std::max<unsigned>(header_bytes_ + frame.data_len, kHeader.size())) {
      break;
    }
    targets[count] = memory_->at(d.address, d.length);
    if (targets[count] == nullptr) break;
    prefetch_to_write(targets[count]);
  }
  for (unsigned i = 0; i < count; ++i) {
    const rte_mbuf& frame = *frames[i];
    std::memcpy(targets[i], kHeader.data(), kHeader.size());
    rte_memcpy(targets[i] + header_bytes_, rte_pktmbuf_mtod(&frame, const std::uint8_t*),
               frame.data_len);
    give_back(i, heads[i], header_bytes_ + frame.data_len);
  }
  publish(count);
  return count;
}

unsigned Virtqueue::push(std::span<rte_mbuf* const> frames, std::uint64_t& impossible) noexcept {
  unsigned places = offered();
  unsigned taken = push_plain(places, frames);
  places -= taken;
  unsigned used = 0;  // of these
  for (; taken < frames.size() && places > 0; ++taken) {
    const Put result = put(*frames[taken], places, used);
    if (result == Put::impossible) ++impossible;
    if (result == Put::full || result == Put::fault) break;
  }
  publish(used);
  return taken;
}

}  // namespace podwire::io
