// Adding 1 to an eventfd that a peer gave us, without ever waiting. write(2) would not do: the peer
// may fill the counter and take O_NONBLOCK off the description that we share with it, at any time,
// and the writer sleeps until somebody reads. The kernel's asynchronous I/O signals an eventfd when
// an operation is done, and that never waits: a read of nothing from /dev/null is the operation.
// Sources: io_submit(2) (IOCB_FLAG_RESFD), Linux fs/eventfd.c eventfd_signal.
#pragma once

#include <cstdint>

#include "dataplane/io/descriptor.h"
#include "dataplane/result.h"

namespace podwire::io {

class EventSignal {
 public:
  // Fails when the kernel has no asynchronous I/O, or all of fs.aio-max-nr is in use.
  static Result<EventSignal> make();
  ~EventSignal();
  EventSignal(EventSignal&& other) noexcept;
  EventSignal& operator=(EventSignal&& other) noexcept;

  // Two system calls. Any thread. A descriptor that is no eventfd is refused by the kernel.
  void send(int eventfd) noexcept;

 private:
  EventSignal() = default;
  void reap() noexcept;

  std::uint64_t context_ = 0;  // aio_context_t
  Descriptor nothing_;         // /dev/null
};

// Whether a descriptor that a peer sent is an eventfd, and not something whose poll or read is the
// peer's own code (FUSE) or may wait.
[[nodiscard]] bool is_eventfd(int fd);

}  // namespace podwire::io
