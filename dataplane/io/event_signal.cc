#include "dataplane/io/event_signal.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

namespace podwire::io {
namespace {

// Operations under way at one time: they end at once, only their records wait to be reaped.
constexpr unsigned kOperations = 256;

}  // namespace

Result<EventSignal> EventSignal::make() {
  EventSignal signal;
  signal.nothing_ = Descriptor(open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!signal.nothing_) return fail(std::string("/dev/null: ") + std::strerror(errno));
  if (syscall(SYS_io_setup, kOperations, &signal.context_) != 0) {
    return fail(std::string("asynchronous I/O, for waking peers: ") + std::strerror(errno) +
                "; see fs.aio-max-nr");
  }
  return signal;
}

EventSignal::~EventSignal() {
  if (context_ != 0) syscall(SYS_io_destroy, context_);
}

EventSignal::EventSignal(EventSignal&& other) noexcept
    : context_(std::exchange(other.context_, 0)), nothing_(std::move(other.nothing_)) {}

EventSignal& EventSignal::operator=(EventSignal&& other) noexcept {
  std::swap(context_, other.context_);
  std::swap(nothing_, other.nothing_);
  return *this;
}

void EventSignal::reap() noexcept {
  std::array<io_event, 16> done;
  timespec now{};
  syscall(SYS_io_getevents, context_, 0L, static_cast<long>(done.size()), done.data(), &now);
}

void EventSignal::send(int eventfd) noexcept {
  iocb operation{};
  operation.aio_fildes = static_cast<std::uint32_t>(nothing_.get());
  operation.aio_lio_opcode = IOCB_CMD_PREAD;
  operation.aio_flags = IOCB_FLAG_RESFD;
  operation.aio_resfd = static_cast<std::uint32_t>(eventfd);
  iocb* list = &operation;
  const long taken = syscall(SYS_io_submit, context_, 1L, &list);
  reap();
  // Every place held by a record that another thread had not reaped yet.
  if (taken < 0 && errno == EAGAIN) syscall(SYS_io_submit, context_, 1L, &list);
}

bool is_eventfd(int fd) {
  std::array<char, 64> name{};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t length = readlink(link.c_str(), name.data(), name.size());
  return length > 0 &&
         std::string_view(name.data(), static_cast<std::size_t>(length)) == "anon_inode:[eventfd]";
}

}  // namespace podwire::io
