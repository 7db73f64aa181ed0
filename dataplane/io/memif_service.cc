#include "dataplane/io/memif_service.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "dataplane/io/memif_connector.h"

namespace podwire::io {
namespace {

constexpr std::uint64_t kWake = 0;  // ids begin at 1
constexpr std::uint32_t kLeastBuffer = 64, kLargestBuffer = 65536;

Result<void> check_spec(const MemifSpec& spec) {
  const MemifTerms& terms = spec.terms;
  const std::string start = "memif socket \"" + spec.address.socket + "\": ";
  if (auto done = check_memif_address(spec.address); !done) return done;
  if (terms.queues == 0 || terms.queues > kMemifQueues) {
    return fail(start + std::to_string(terms.queues) + " queues, 1 to " +
                std::to_string(kMemifQueues) + " are possible");
  }
  if (terms.log2_ring_size > memif::kMaxLog2Size) {
    return fail(start + "ring size 2^" + std::to_string(terms.log2_ring_size) + ", at most 2^" +
                std::to_string(memif::kMaxLog2Size) + " is possible");
  }
  if (terms.secret.size() > memif::kSecretBytes) {
    return fail(start + "a secret of " + std::to_string(terms.secret.size()) + " bytes, at most " +
                std::to_string(memif::kSecretBytes) + " fit");
  }
  if (terms.buffer_bytes < kLeastBuffer || terms.buffer_bytes > kLargestBuffer) {
    return fail(start + "buffers of " + std::to_string(terms.buffer_bytes) + " bytes, " +
                std::to_string(kLeastBuffer) + " to " + std::to_string(kLargestBuffer) +
                " are possible");
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<MemifService>> MemifService::start(tables::Quiescence& quiescence,
                                                          Report report) {
  auto signal = EventSignal::make();
  if (!signal) return tl::unexpected(signal.error());
  std::shared_ptr<MemifService> service(
      new MemifService(quiescence, std::move(report), std::move(*signal)));
  service->epoll_ = Descriptor(epoll_create1(EPOLL_CLOEXEC));
  service->wake_ = Descriptor(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  epoll_event event{.events = EPOLLIN, .data = {.u64 = kWake}};
  if (epoll_ctl(service->epoll_.get(), EPOLL_CTL_ADD, service->wake_.get(), &event) != 0) {
    return fail("memif: no descriptor left; raise the limit of open files");
  }
  service->thread_ = std::thread([raw = service.get()] {
    pthread_setname_np(pthread_self(), "memif");
    raw->run();
  });
  return service;
}

MemifService::MemifService(tables::Quiescence& quiescence, Report report, EventSignal signal)
    : quiescence_(quiescence), report_(std::move(report)), signal_(std::move(signal)) {}

MemifService::~MemifService() {
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  wake();
  if (thread_.joinable()) thread_.join();
}

void MemifService::wake() noexcept {
  const std::uint64_t one = 1;
  static_cast<void>(!write(wake_.get(), &one, sizeof one));
}

Result<std::shared_ptr<MemifPort>> MemifService::open(const MemifSpec& spec, unsigned workers,
                                                      rte_mempool& packets, rte_mempool& large) {
  if (auto done = check_spec(spec); !done) return tl::unexpected(done.error());
  auto port = std::make_shared<MemifPort>(shared_from_this(), spec, workers, packets, large);
  if (auto done = port->prepare(); !done) return tl::unexpected(done.error());
  {
    const std::scoped_lock lock(mutex_);
    const std::uint64_t id = next_id_++;
    auto connector = std::make_unique<MemifConnector>(
        spec, *port, id,
        MemifConnector::Surroundings{
            .quiescence = quiescence_, .report = report_, .epoll = epoll_.get()});
    if (auto done = connector->open(); !done) return tl::unexpected(done.error());
    connectors_.emplace(id, std::move(connector));
  }
  wake();
  return port;
}

void MemifService::remove(const MemifPort& port) {
  const std::scoped_lock lock(mutex_);
  std::erase_if(connectors_, [&](const auto& each) { return &each.second->port() == &port; });
}

std::string MemifService::down_reason(const MemifPort& port) {
  const std::scoped_lock lock(mutex_);
  for (const auto& each : connectors_) {
    if (&each.second->port() == &port) return each.second->down_reason();
  }
  return {};
}

// Milliseconds until somebody wants to be called; -1: nobody does.
int MemifService::tick() {
  const auto now = MemifConnector::Clock::now();
  std::optional<MemifConnector::Clock::time_point> first;
  for (const auto& each : connectors_) {
    const auto next = each.second->tick(now);
    if (next) first = first ? std::min(*first, *next) : *next;
  }
  if (!first) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(*first - now).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 1, 1000));
}

void MemifService::run() {
  std::array<epoll_event, 64> events;
  int timeout_ms = -1;
  for (;;) {
    const int ready = epoll_wait(epoll_.get(), events.data(), events.size(), timeout_ms);
    const std::scoped_lock lock(mutex_);
    if (stop_) return;
    for (int i = 0; i < ready; ++i) {
      const std::uint64_t mark = events[static_cast<unsigned>(i)].data.u64;
      if (mark == kWake) {
        std::uint64_t times = 0;
        static_cast<void>(!read(wake_.get(), &times, sizeof times));
        continue;
      }
      const auto found = connectors_.find(mark / 2);
      if (found == connectors_.end()) continue;
      if (mark % 2 != 0) {
        found->second->on_listener();
      } else {
        found->second->on_connection();
      }
    }
    timeout_ms = tick();
  }
}

}  // namespace podwire::io
