#include "dataplane/io/memif.h"

#include <rte_pause.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <array>
#include <cerrno>

#include "dataplane/io/memif_service.h"

namespace podwire::io {

MemifPort::MemifPort(std::shared_ptr<MemifService> service, const MemifSpec& spec, unsigned workers,
                     rte_mempool& packets, rte_mempool& large)
    : service_(std::move(service)),
      interrupts_(spec.interrupts),
      workers_(workers),
      packets_(packets),
      large_(large),
      queues_(spec.terms.queues) {}

MemifPort::~MemifPort() {
  service_->remove(*this);
  delete link_.load(std::memory_order_relaxed);
}

Result<void> MemifPort::prepare() {
  came_ = Descriptor(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  for (Queue& queue : queues_) {
    queue.wait = Descriptor(epoll_create1(EPOLL_CLOEXEC));
    epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.u64 = 0}};
    if (epoll_ctl(queue.wait.get(), EPOLL_CTL_ADD, came_.get(), &event) != 0) {
      return fail(std::string("memif: descriptors to wait on: ") + std::strerror(errno));
    }
  }
  return {};
}

unsigned MemifPort::queues() const noexcept {
  return static_cast<unsigned>(queues_.size());
}

int MemifPort::wait_descriptor(unsigned queue) const noexcept {
  return interrupts_ ? queues_[queue].wait.get() : -1;
}

Port::Extra MemifPort::extra() const noexcept {
  return {.originated = originated_.load(std::memory_order_relaxed),
          .missed = missed_.load(std::memory_order_relaxed),
          .unsent = unsent_.load(std::memory_order_relaxed)};
}

std::string MemifPort::down_reason() const {
  return service_->down_reason(*this);
}

// What made the wait descriptor readable is over: eventfds are never read, since the peer decides
// whether a read of its own waits; the set reports each write once.
void MemifPort::wake(Queue& queue, MemifReceiver* receiver) noexcept {
  queue.resting = false;
  std::array<epoll_event, 2> events;
  static_cast<void>(epoll_wait(queue.wait.get(), events.data(), events.size(), 0));
  if (receiver != nullptr) receiver->mask();
}

unsigned MemifPort::receive(unsigned index, std::span<rte_mbuf*> out) noexcept {
  Queue& queue = queues_[index];
  MemifLink* link = link_.load(std::memory_order_acquire);
  if (link == nullptr || index >= link->receive.size()) [[unlikely]] {
    if (queue.resting) wake(queue, nullptr);
    return 0;
  }
  MemifReceiver& receiver = link->receive[index]->queue;
  if (queue.resting || !receiver.masked()) [[unlikely]]
    wake(queue, &receiver);
  // Any touch of the ring may have found it gone, the mask's too.
  const unsigned count =
      link->memory.sound() ? receiver.receive(out, packets_, large_, missed_) : 0;
  if (count == 0 && !link->memory.sound()) [[unlikely]]
    give_up();
  return count;
}

bool MemifPort::rest(unsigned index) noexcept {
  MemifLink* link = link_.load(std::memory_order_acquire);
  if (link != nullptr && index < link->receive.size() && link->memory.sound()) {
    if (!link->receive[index]->queue.rest()) return false;
    if (!link->memory.sound()) give_up();
  }
  queues_[index].resting = true;
  return true;
}

unsigned MemifPort::transmit(unsigned worker, std::span<rte_mbuf*> frames) noexcept {
  MemifLink* link = link_.load(std::memory_order_acquire);
  if (link == nullptr) [[unlikely]]
    return 0;
  MemifLink::Send& send = *link->send[worker % link->send.size()];
  const bool shared = workers_ > link->send.size();
  while (shared && send.busy.test_and_set(std::memory_order_acquire)) rte_pause();
  const unsigned taken =
      send.queue.send(frames, packets_, {.originated = originated_, .unsent = unsent_});
  const bool wake_peer = taken > 0 && send.queue.wants_interrupt();
  if (shared) send.busy.clear(std::memory_order_release);
  if (wake_peer) service_->signal(send.event.get());
  if (!link->memory.sound()) [[unlikely]]
    give_up();
  return taken;
}

void MemifPort::give_up() noexcept {
  if (up() && up_.exchange(false, std::memory_order_relaxed)) service_->wake();
}

void MemifPort::attach(std::unique_ptr<MemifLink> link) {
  for (unsigned i = 0; i < link->receive.size(); ++i) {
    MemifLink::Receive& receive = *link->receive[i];
    if (interrupts_) {
      receive.queue.ring().mask_interrupt(false);
      epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.u64 = 1}};
      epoll_ctl(queues_[i].wait.get(), EPOLL_CTL_ADD, receive.event.get(), &event);
    } else {
      receive.queue.mask();
    }
  }
  link_.store(link.release(), std::memory_order_release);
  up_.store(true, std::memory_order_relaxed);
  const std::uint64_t one = 1;
  static_cast<void>(!write(came_.get(), &one, sizeof one));
}

std::unique_ptr<MemifLink> MemifPort::detach() {
  up_.store(false, std::memory_order_relaxed);
  std::unique_ptr<MemifLink> link(link_.exchange(nullptr, std::memory_order_acq_rel));
  if (link == nullptr) return link;
  for (unsigned i = 0; i < link->receive.size() && interrupts_; ++i) {
    epoll_ctl(queues_[i].wait.get(), EPOLL_CTL_DEL, link->receive[i]->event.get(), nullptr);
  }
  return link;
}

}  // namespace podwire::io
