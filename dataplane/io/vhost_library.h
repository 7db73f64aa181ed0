// librte_vhost, seen from one port: connections to a peer's socket, messages before and after the
// library acts on them, and when rings may be used.
//
// The library serves all connections by one thread of its own, with blocking reads and writes, and
// connects again in another as fast as peers hang up. So here sockets get short time limits, and a
// thread of ours ("vhost-keeper") does the connecting: every kRetryMs where nobody listens yet, and
// no sooner than kPenaltyMs after a peer that misbehaved.
// Sources: DPDK 22.11 rte_vhost.h, lib/vhost/{socket,vhost_user,fd_man}.c.
#pragma once

#include <cstdint>
#include <string>

#include "dataplane/io/vhost_message.h"
#include "dataplane/result.h"

namespace podwire::io {

inline constexpr unsigned kRetryMs = 100, kPenaltyMs = 500;
// A peer's message is one write, so that all of it is there with its first byte; one that dribbles
// stops the library's thread no longer than this.
inline constexpr unsigned kSocketLimitMs = 20;

// One port's side. All but path() and unwanted() are called on the keeper's or the library's
// thread, one at a time; they take no long locks.
class VhostPeer {
 public:
  VhostPeer() = default;
  VhostPeer(const VhostPeer&) = delete;
  VhostPeer& operator=(const VhostPeer&) = delete;
  virtual ~VhostPeer() = default;

  [[nodiscard]] virtual const std::string& path() const = 0;
  // `device` is the library's name for the connection until disconnected().
  virtual void connected(int device) = 0;
  virtual void disconnected() = 0;
  // Before the library acts: nothing that it is about to change may be in use when this returns.
  // `unread`: the peer leaves so many answers unread that the library is about to wait for it.
  enum class Pass : std::uint8_t { on, answered, refused };
  [[nodiscard]] virtual Pass before(VhostMessage& message, bool unread) = 0;
  // After it has acted; `lost`: it met memory that the peer had taken away. False: the connection
  // ends.
  [[nodiscard]] virtual bool after(const VhostMessage& message, bool lost) = 0;
  // The library finds a ring usable, or not any more; and the device as a whole.
  virtual void ring_ready(unsigned ring, bool ready) = 0;
  virtual void device_running(bool running) = 0;
  // The connection must end; asked every kRetryMs. Keeper's thread.
  [[nodiscard]] virtual bool unwanted() = 0;
  // Whether the last connection ended for something the peer did. Keeper's thread.
  [[nodiscard]] virtual bool misbehaved() const = 0;
};

// Connects from now on. Fails when another port has the path. The peer outlives vhost_detach().
// Control thread.
Result<void> vhost_attach(VhostPeer& peer);
void vhost_detach(VhostPeer& peer);

}  // namespace podwire::io
