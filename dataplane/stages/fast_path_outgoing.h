// Inside of the fast path: where its frames go.
#pragma once

#include "dataplane/worker.h"

namespace podwire::stages {

// The outbox of one port at a time, kept in registers while packets are carried: as part of the
// worker it would be loaded and stored for each of them. Nobody else sends before settle().
class Outgoing {
 public:
  [[nodiscard]] PortId port() const noexcept { return port_; }
  // Makes `port` the next frames' one, with room for `left`. False when it is no port's number.
  bool open(PortId port, Worker& w, unsigned left) noexcept {
    if (port >= kMaxPorts) return false;
    settle(w);
    port_ = port;
    if (w.outboxes[port]->size + left > kBatchSize) w.flush(port);
    outbox_ = &w.outbox_with_room(port);
    next_ = &outbox_->frames[outbox_->size];
    return true;
  }
  void append(rte_mbuf* mbuf, unsigned bytes, bool in_tunnel) noexcept {
    *next_++ = mbuf;
    bytes_ += bytes;
    tunnelled_ += in_tunnel ? 1U : 0U;
  }
  // To be called after the last frame, and before anything else sends.
  void settle(Worker& w) noexcept {
    if (outbox_ == nullptr) return;
    outbox_->size = static_cast<unsigned>(next_ - outbox_->frames.data());
    outbox_->bytes += bytes_;
    w.counters.tunnel_out.add(tunnelled_);
    *this = {};
  }

 private:
  PortId port_ = kNoPort;
  Worker::Outbox* outbox_ = nullptr;
  rte_mbuf** next_ = nullptr;
  unsigned bytes_ = 0, tunnelled_ = 0;
};

}  // namespace podwire::stages
