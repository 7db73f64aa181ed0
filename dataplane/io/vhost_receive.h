// librte_vhost 22.11 allocates the queue that a message names before our hook sees the message, and
// hangs up without closing the message's descriptors when there can be no such queue: a peer could
// so take every descriptor of the process. Its recvmsg() therefore comes to us (the program's
// symbol goes before libc's), and descriptors that a message of its kind never has are closed here.
//
// Source: DPDK 22.11 lib/vhost/{socket,vhost_user}.c, read_fd_message() and
// vhost_user_check_and_alloc_queue_pair().
#pragma once

namespace podwire::io {

// How many descriptors were closed on their way into the message that the calling thread received
// last. The library's thread.
[[nodiscard]] int unasked_descriptors() noexcept;

}  // namespace podwire::io
