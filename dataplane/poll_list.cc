#include "dataplane/poll_list.h"

#include <unistd.h>

#include <ctime>

#include "dataplane/check.h"

namespace podwire {
namespace {

constexpr std::uint32_t kWakeMark = 0xffffffff;
constexpr unsigned kEventsAtOnce = 64;

}  // namespace

PollList::PollList(unsigned worker, unsigned workers, int wake_descriptor)
    : worker_(worker), workers_(workers), wake_descriptor_(wake_descriptor) {
  rebuild({});
}

PollList::~PollList() {
  if (epoll_ >= 0) close(epoll_);
}

void PollList::rebuild(const tables::PortTable& table) {
  queues_.clear();
  hot_.clear();
  if (epoll_ >= 0) close(epoll_);
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  check(epoll_ >= 0, "no descriptor left for epoll; raise the limit of open files");
  always_ = polled_only_ = 0;
  for (std::size_t id = 0; id < table.ports.size(); ++id) {
    const tables::PortInfo& info = table.ports[id];
    if (info.role == tables::PortRole::none || info.port == nullptr) continue;
    add(info, static_cast<PortId>(id));
  }
  if (wake_descriptor_ >= 0) {
    epoll_event event{.events = EPOLLIN, .data = {.u32 = kWakeMark}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_descriptor_, &event);
  }
}

void PollList::add(const tables::PortInfo& info, PortId id) {
  for (unsigned q = worker_; q < info.port->queues(); q += workers_) {
    const int descriptor = info.port->wait_descriptor(q);
    const auto index = static_cast<std::uint32_t>(queues_.size());
    const bool always = descriptor < 0 || info.role == tables::PortRole::uplink;
    queues_.push_back({info.port.get(), id, q, descriptor, always, info.port->patience()});
    // Hot at first: what came before it was watched is not missed.
    hot_.push_back(index);
    if (always) ++always_;
    if (descriptor < 0) {
      ++polled_only_;
      continue;
    }
    // Fails for a port whose device is gone: that one stays silent until control takes it away.
    epoll_event event{.events = EPOLLIN, .data = {.u32 = index}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, descriptor, &event);
  }
}

unsigned PollList::receive_from(Queue& queue, Burst& burst) noexcept {
  const unsigned count = queue.port->receive(queue.queue, burst.room());
  burst.received(count, queue.id);
  queue.empty_polls = count > 0 ? 0 : queue.empty_polls + 1;
  return count;
}

bool PollList::cool(std::size_t place) noexcept {
  Queue& queue = queues_[hot_[place]];
  if (queue.always || queue.empty_polls < queue.patience) return false;
  if (!queue.port->rest(queue.queue)) return false;
  queue.hot = false;
  hot_[place] = hot_.back();
  hot_.pop_back();
  return true;
}

void PollList::heat(std::uint32_t index) noexcept {
  Queue& queue = queues_[index];
  // One that is polled anyway goes on counting: what made it readable may stay until it rests.
  if (queue.hot) return;
  queue.empty_polls = 0;
  queue.hot = true;
  hot_.push_back(index);
}

void PollList::wait(std::uint32_t timeout_us) noexcept {
  std::array<epoll_event, kEventsAtOnce> events;
  const timespec timeout{.tv_sec = timeout_us / 1000000,
                         .tv_nsec = static_cast<long>(timeout_us % 1000000) * 1000};
  const int ready = epoll_pwait2(epoll_, events.data(), kEventsAtOnce, &timeout, nullptr);
  for (int i = 0; i < ready; ++i) {
    const epoll_event& event = events[static_cast<unsigned>(i)];
    if (event.data.u32 == kWakeMark) {
      std::uint64_t times = 0;
      static_cast<void>(!read(wake_descriptor_, &times, sizeof times));
      continue;
    }
    const std::uint32_t index = event.data.u32;
    // The device is gone: its descriptor would be ready for ever.
    if ((event.events & (EPOLLERR | EPOLLHUP)) != 0 && !queues_[index].port->up()) {
      epoll_ctl(epoll_, EPOLL_CTL_DEL, queues_[index].descriptor, nullptr);
      continue;
    }
    heat(index);
  }
}

}  // namespace podwire
