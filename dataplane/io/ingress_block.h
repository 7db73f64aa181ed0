// Keeps the kernel's own stack from handling what arrives on the uplink's kernel device: AF_PACKET
// gives podwire a copy, and without this Linux would answer, forward or reset the same frames.
// An nftables chain at the netdev ingress hook, which comes after packet sockets and after XDP,
// with policy drop (nft(8) "netdev family"). It stays when podwired is killed, so that a crash
// never lets pod traffic past policy; the next start replaces it, a clean stop removes it.
#pragma once

#include <string>
#include <utility>

#include "dataplane/result.h"

namespace podwire::io {

class IngressBlock {
 public:
  IngressBlock() = default;
  // In the caller's network namespace. Control thread.
  static Result<IngressBlock> put(const std::string& device);
  ~IngressBlock();
  IngressBlock(IngressBlock&& other) noexcept : device_(std::exchange(other.device_, {})) {}
  IngressBlock& operator=(IngressBlock&& other) noexcept {
    std::swap(device_, other.device_);
    return *this;
  }

 private:
  explicit IngressBlock(std::string device) : device_(std::move(device)) {}
  std::string device_;  // empty: nothing to remove
};

}  // namespace podwire::io
