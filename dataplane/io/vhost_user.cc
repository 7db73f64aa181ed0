#include "dataplane/io/vhost_user.h"

#include <rte_vhost.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "dataplane/io/event_signal.h"
#include "dataplane/io/segment.h"

namespace podwire::io {
namespace {

constexpr unsigned kCutBurst = 32;  // segments made at one time
// Messages: setting up 16 rings takes some 150, a guest that masks interrupts sends a few a second.
constexpr std::uint64_t kMessageBurst = 1000, kMessagesPerSecond = 200;

class Locked {
 public:
  explicit Locked(rte_spinlock_t& lock) noexcept : lock_(lock) { rte_spinlock_lock(&lock_); }
  ~Locked() { rte_spinlock_unlock(&lock_); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  rte_spinlock_t& lock_;
};

std::uint64_t now_ms() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                        std::chrono::steady_clock::now().time_since_epoch())
                                        .count());
}

// One for all ports: the kernel counts each against fs.aio-max-nr.
Result<EventSignal*> event_signal() {
  static auto signal = EventSignal::make();
  if (!signal) return tl::unexpected(signal.error());
  return &*signal;
}

bool peer_takes(const rte_mbuf& frame, std::uint64_t features) {
  using namespace virtio_feature;
  if ((frame.ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0) {
    const bool v4 = (frame.ol_flags & RTE_MBUF_F_TX_IPV4) != 0;
    return (features & (v4 ? guest_tso4 : guest_tso6)) != 0 && (features & guest_ecn) != 0;
  }
  return (frame.ol_flags & RTE_MBUF_F_TX_L4_MASK) == 0 || (features & guest_csum) != 0;
}

Result<void> check_spec(const VhostUserSpec& spec) {
  const std::string name = "vhost-user socket " + spec.path + ": ";
  constexpr std::size_t kMost = sizeof(sockaddr_un::sun_path) - 1;
  if (spec.path.empty() || spec.path.front() != '/') {
    return fail("vhost-user socket '" + spec.path + "': the path must be absolute");
  }
  if (spec.path.size() > kMost || spec.path.find('\0') != std::string::npos) {
    return fail(name + std::to_string(spec.path.size()) +
                " bytes; the path of a socket has at most " + std::to_string(kMost) +
                ", none of them zero");
  }
  if (spec.queues == 0 || spec.queues > kMaxVhostQueues) {
    return fail(name + std::to_string(spec.queues) + " queues; there can be 1 to " +
                std::to_string(kMaxVhostQueues));
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<VhostUserPort>> VhostUserPort::open(const VhostUserSpec& spec,
                                                           rte_mempool& packets,
                                                           rte_mempool& large) {
  if (auto good = check_spec(spec); !good) return tl::unexpected(good.error());
  if (auto signal = event_signal(); !signal) return tl::unexpected(signal.error());
  std::shared_ptr<VhostUserPort> port(new VhostUserPort(spec, packets, large));
  if (auto made = port->make_descriptors(); !made) return tl::unexpected(made.error());
  if (auto done = vhost_attach(*port); !done) return tl::unexpected(done.error());
  return port;
}

VhostUserPort::VhostUserPort(VhostUserSpec spec, rte_mempool& packets, rte_mempool& large)
    : spec_(std::move(spec)),
      pairs_(spec_.queues),
      packets_(packets),
      large_(large),
      rings_(std::make_unique<Ring[]>(2 * std::size_t{spec_.queues})),
      reason_("waits for its peer to listen at " + spec_.path) {}

Result<void> VhostUserPort::make_descriptors() {
  nudge_ = Descriptor(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  bool made = static_cast<bool>(nudge_);
  for (unsigned i = 0; made && i < pairs_; ++i) {
    waits_.emplace_back(epoll_create1(EPOLL_CLOEXEC));
    epoll_event event{.events = EPOLLIN | EPOLLET, .data = {}};
    made =
        waits_.back() && epoll_ctl(waits_.back().get(), EPOLL_CTL_ADD, nudge_.get(), &event) == 0;
  }
  if (made) return {};
  return fail("vhost-user socket " + spec_.path + ": " + std::strerror(errno) +
              "; raise the limit of open files");
}

VhostUserPort::~VhostUserPort() {
  vhost_detach(*this);
}

int VhostUserPort::wait_descriptor(unsigned queue) const noexcept {
  return waits_[queue].get();
}

bool VhostUserPort::up() const noexcept {
  return sendable_.load(std::memory_order_relaxed) > 0 && !bad_.load(std::memory_order_relaxed) &&
         !lost_.load(std::memory_order_relaxed);
}

std::string VhostUserPort::down_reason() const {
  if (up()) return {};
  const std::scoped_lock lock(reason_mutex_);
  return reason_;
}

Port::Extra VhostUserPort::extra() const noexcept {
  return {.originated = originated_.load(std::memory_order_relaxed),
          .missed = missed_.load(std::memory_order_relaxed),
          .unsent = unsent_.load(std::memory_order_relaxed)};
}

// ---- the connection: keeper's and library's thread ----

void VhostUserPort::set_reason(std::string reason) {
  const std::scoped_lock lock(reason_mutex_);
  reason_ = std::move(reason);
}

void VhostUserPort::object(const std::string& sentence) {
  // The first objection is the cause of those that follow.
  if (bad_.exchange(true, std::memory_order_relaxed)) return;
  set_reason("the peer at " + spec_.path + " " + sentence + "; its connection is closed");
}

void VhostUserPort::connected(int device) {
  device_ = device;
  bad_.store(false, std::memory_order_relaxed);
  lost_.store(false, std::memory_order_relaxed);
  fault_.store(Virtqueue::Fault::none, std::memory_order_relaxed);
  budget_ = kMessageBurst;
  budget_at_ms_ = now_ms();
  set_reason("the peer at " + spec_.path + " has not set up its queues");
}

void VhostUserPort::disconnected() {
  running_ = false;
  leave_rings();
  for (unsigned i = 0; i < 2 * pairs_; ++i) rings_[i].ready = false;
  drop_memory();
  device_ = -1;
  if (!misbehaved()) set_reason("the peer at " + spec_.path + " hung up");
}

bool VhostUserPort::within_budget() noexcept {
  const std::uint64_t now = now_ms();
  const std::uint64_t grown = (now - budget_at_ms_) * kMessagesPerSecond / 1000;
  if (grown > 0) {
    budget_ = std::min(budget_ + grown, kMessageBurst);
    budget_at_ms_ = now;
  }
  if (budget_ == 0) return false;
  --budget_;
  return true;
}

VhostPeer::Pass VhostUserPort::before(VhostMessage& message, bool unread) {
  std::string why = objection(message, pairs_);
  if (unread) why = "does not read the answers to its messages";
  if (!within_budget()) why = "sends more messages than a guest has cause to";
  leave_rings();
  if (!why.empty()) {
    object(why);
    return Pass::refused;
  }
  if (message.request == VhostMessage::set_mem_table) drop_memory();
  if (message.request != VhostMessage::get_queue_num) return Pass::on;
  message.u64 = pairs_;
  message.size = sizeof message.u64;
  return Pass::answered;
}

bool VhostUserPort::after(const VhostMessage& message, bool lost) {
  if (lost) object("took shared memory away");
  if (message.request == VhostMessage::set_mem_table) take_memory();
  take_ready_rings();
  return !misbehaved();
}

void VhostUserPort::ring_ready(unsigned ring, bool ready) {
  if (ring >= 2 * pairs_) return;
  rings_[ring].ready = ready;
  if (!ready) {
    leave_ring(ring);
    count_pairs();
  } else {
    take_ready_rings();
  }
}

void VhostUserPort::device_running(bool running) {
  running_ = running;
  if (running) {
    take_ready_rings();
  } else {
    leave_rings();
  }
}

bool VhostUserPort::unwanted() {
  const Virtqueue::Fault fault = fault_.load(std::memory_order_relaxed);
  if (lost_.load(std::memory_order_relaxed)) {
    object("took shared memory away");
  } else if (fault != Virtqueue::Fault::none) {
    object(std::string("broke a queue: ") + Virtqueue::sentence(fault));
  }
  return misbehaved();
}

void VhostUserPort::take_memory() {
  rte_vhost_memory* table = nullptr;
  if (rte_vhost_get_mem_table(device_, &table) != 0) return;
  const std::unique_ptr<rte_vhost_memory, decltype(&std::free)> owner(table, std::free);
  for (unsigned i = 0; i < table->nregions && i < GuestMemory::kMaxRegions; ++i) {
    const rte_vhost_mem_region& region = table->regions[i];
    auto watch = SigbusWatch::over(region.mmap_addr, region.mmap_size, lost_);
    if (!watch) return object("has memory that cannot be watched: " + watch.error().message);
    watches_.push_back(std::move(*watch));
    memory_.regions[memory_.count++] = {region.guest_phys_addr, region.size,
                                        reinterpret_cast<std::uint8_t*>(region.host_user_addr)};
  }
}

void VhostUserPort::drop_memory() noexcept {
  memory_.count = 0;
  watches_.clear();
}

void VhostUserPort::take_ready_rings() {
  if (!running_ || misbehaved()) return;
  for (unsigned i = 0; i < 2 * pairs_; ++i) {
    if (rings_[i].ready) take_ring(i);
  }
  count_pairs();
  const std::uint64_t one = 1;
  static_cast<void>(!write(nudge_.get(), &one, sizeof one));
}

void VhostUserPort::take_ring(unsigned index) {
  Ring& ring = rings_[index];
  const auto id = static_cast<std::uint16_t>(index);
  rte_vhost_vring vring{};
  Virtqueue::Setup setup;
  std::uint64_t features = 0;
  if (rte_vhost_get_vhost_vring(device_, id, &vring) != 0 ||
      rte_vhost_get_vring_base(device_, id, &setup.next_avail, &setup.next_used) != 0 ||
      rte_vhost_get_negotiated_features(device_, &features) != 0) {
    return;
  }
  using namespace virtio_feature;
  setup.descriptors = vring.desc;
  setup.avail = vring.avail;
  setup.used = vring.used;
  setup.size = vring.size;
  setup.header_bytes = (features & (version_1 | mrg_rxbuf)) != 0 ? 12 : 10;
  setup.mergeable = (features & mrg_rxbuf) != 0;
  const Locked lock(ring.lock);
  if (ring.queue.attached()) return;
  if (!ring.queue.attach(setup, memory_)) {
    object(std::string("breaks the protocol: ") + Virtqueue::sentence(ring.queue.fault()));
    return ring.queue.detach();
  }
  ring.features = features;
  ring.call = vring.callfd;
  ring.kick = vring.kickfd;
  epoll_event event{.events = EPOLLIN | EPOLLET, .data = {}};
  if ((index & 1) != 0 && ring.kick >= 0) {
    epoll_ctl(waits_[index / 2].get(), EPOLL_CTL_ADD, ring.kick, &event);
  }
  // Whoever served the queue before may have used buffers and not said so.
  tell_peer(ring);
}

void VhostUserPort::leave_ring(unsigned index) noexcept {
  Ring& ring = rings_[index];
  const Locked lock(ring.lock);
  if (!ring.queue.attached()) return;
  rte_vhost_set_vring_base(device_, static_cast<std::uint16_t>(index), ring.queue.next_avail(),
                           ring.queue.next_used());
  ring.queue.detach();
  if ((index & 1) != 0 && ring.kick >= 0) {
    epoll_ctl(waits_[index / 2].get(), EPOLL_CTL_DEL, ring.kick, nullptr);
  }
  ring.call = ring.kick = -1;
}

void VhostUserPort::leave_rings() noexcept {
  for (unsigned i = 0; i < 2 * pairs_; ++i) leave_ring(i);
  count_pairs();
}

void VhostUserPort::count_pairs() noexcept {
  unsigned count = 0;
  while (count < pairs_ && rings_[2 * std::size_t{count}].queue.attached()) ++count;
  sendable_.store(count, std::memory_order_relaxed);
}

// ---- frames: workers ----

void VhostUserPort::look_for_trouble(const Ring& ring) noexcept {
  if (ring.queue.fault() == Virtqueue::Fault::none) return;
  auto none = Virtqueue::Fault::none;
  fault_.compare_exchange_strong(none, ring.queue.fault(), std::memory_order_relaxed);
}

void VhostUserPort::tell_peer(Ring& ring) noexcept {
  if (ring.queue.peer_waits() && ring.call >= 0) (*event_signal())->send(ring.call);
}

unsigned VhostUserPort::receive(unsigned queue, std::span<rte_mbuf*> out) noexcept {
  Ring& ring = rings_[2 * std::size_t{queue} + 1];
  // Held by the library's thread, which is about to change the ring.
  if (rte_spinlock_trylock(&ring.lock) == 0) return 0;
  std::uint64_t refused = 0;
  unsigned count = ring.queue.pull(out, packets_, large_, refused);
  // What was read from memory that went away is anything at all.
  if (count > 0 && lost_.load(std::memory_order_acquire)) {
    rte_pktmbuf_free_bulk(out.data(), count);
    refused += count;
    count = 0;
  }
  tell_peer(ring);
  look_for_trouble(ring);
  rte_spinlock_unlock(&ring.lock);
  if (refused > 0) missed_.fetch_add(refused, std::memory_order_relaxed);
  return count;
}

bool VhostUserPort::rest(unsigned queue) noexcept {
  Ring& ring = rings_[2 * std::size_t{queue} + 1];
  // Kicks of work that is done: the set stays readable until it was asked.
  std::array<epoll_event, 2> stale;
  epoll_wait(waits_[queue].get(), stale.data(), stale.size(), 0);
  if (rte_spinlock_trylock(&ring.lock) == 0) return false;
  const bool empty = lost_.load(std::memory_order_relaxed) || ring.queue.ask_for_kicks();
  rte_spinlock_unlock(&ring.lock);
  return empty;
}

unsigned VhostUserPort::send_as_they_are(Ring& ring, std::span<rte_mbuf*> frames) noexcept {
  if (frames.empty()) return 0;
  std::uint64_t impossible = 0;
  const unsigned taken = ring.queue.push(frames, impossible);
  if (impossible > 0) unsent_.fetch_add(impossible, std::memory_order_relaxed);
  rte_pktmbuf_free_bulk(frames.data(), taken);
  return taken;
}

void VhostUserPort::send_cut(Ring& ring, rte_mbuf* frame) noexcept {
  Segmentation segments(*frame, packets_);
  std::uint64_t lost = segments.valid() ? 0 : 1;
  if (segments.left() > 1) {
    originated_.fetch_add(segments.left() - 1, std::memory_order_relaxed);
  }
  std::array<rte_mbuf*, kCutBurst> burst;
  while (segments.valid() && segments.left() > 0) {
    unsigned made = 0;
    while (made < kCutBurst && segments.left() > 0) {
      rte_mbuf* segment = segments.next();
      if (segment == nullptr) break;
      burst[made++] = segment;
    }
    const unsigned sent = send_as_they_are(ring, std::span(burst).first(made));
    for (unsigned i = sent; i < made; ++i) rte_pktmbuf_free(burst[i]);
    lost += made - sent;
    if (made < kCutBurst || sent < made) {  // no buffers of ours, or of the peer's
      lost += segments.left();
      break;
    }
  }
  if (lost > 0) unsent_.fetch_add(lost, std::memory_order_relaxed);
  rte_pktmbuf_free(frame);
}

unsigned VhostUserPort::send(Ring& ring, std::span<rte_mbuf*> frames) noexcept {
  unsigned taken = 0;
  while (taken < frames.size()) {
    unsigned end = taken;
    while (end < frames.size() && peer_takes(*frames[end], ring.features)) ++end;
    taken += send_as_they_are(ring, frames.subspan(taken, end - taken));
    if (taken < end || taken == frames.size()) break;
    rte_mbuf* frame = frames[taken];
    if ((frame->ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0) {
      send_cut(ring, frame);
      ++taken;
      continue;
    }
    if (complete_checksum(*frame)) continue;
    rte_pktmbuf_free(frame);
    unsent_.fetch_add(1, std::memory_order_relaxed);
    ++taken;
  }
  return taken;
}

unsigned VhostUserPort::transmit(unsigned worker, std::span<rte_mbuf*> frames) noexcept {
  const unsigned pairs = sendable_.load(std::memory_order_relaxed);
  if (pairs == 0) return 0;
  Ring& ring = rings_[2 * std::size_t{worker % pairs}];
  const Locked lock(ring.lock);
  if (!ring.queue.attached()) return 0;
  const unsigned taken = send(ring, frames);
  tell_peer(ring);
  look_for_trouble(ring);
  return taken;
}

}  // namespace podwire::io
