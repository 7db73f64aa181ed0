// A pod's kernel as a bench needs it: what it sends is there for the port at the other end of its
// interface, what comes is counted. The caller's network namespace and thread do all of it. Ends
// the program with a sentence where the kernel refuses something.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/net/address.h"

namespace podwire::bench {

inline constexpr unsigned kTcpHeaders = 54;  // Ethernet, IPv4, TCP without options
inline constexpr unsigned kSuperFrame = 60'000;  // less than a tap's gso_max_size
inline constexpr unsigned kSuperPayload = kSuperFrame - kTcpHeaders;
inline constexpr unsigned kSegmentBytes = 1446;  // of the payload in a frame on a wire

class Pod {
 public:
  // Brings `device` up with 10.0.<number>.1/24; 10.0.<number>.2 is a neighbour behind it.
  Pod(std::string device, unsigned number);
  ~Pod();
  Pod(const Pod&) = delete;
  Pod& operator=(const Pod&) = delete;

  // UDP datagrams to the neighbour, in frames of `frame_bytes` without FCS.
  void send_datagrams(unsigned frame_bytes, unsigned count);
  // TCP to the neighbour in super-frames, checksum and cutting left to the device.
  void send_super_frames(unsigned count);

  // A frame as the neighbour sends it to the pod: one datagram for the socket below, or a
  // super-frame. The latter's Ethernet destination is another's, so that IP drops it: there is no
  // connection.
  [[nodiscard]] std::vector<std::uint8_t> datagram_frame(unsigned frame_bytes) const;
  [[nodiscard]] std::vector<std::uint8_t> super_frame() const;
  // How many datagrams have come since the last call, all complete.
  unsigned take_datagrams();
  // Bytes that have come into the device, by its own counter.
  [[nodiscard]] std::uint64_t received_bytes() const;

 private:
  void open_sockets();
  [[nodiscard]] std::vector<std::uint8_t> tcp_frame(const net::Mac& destination,
                                                    const net::Mac& source, unsigned from,
                                                    unsigned to) const;
  const std::string device_;
  const unsigned number_;
  net::Mac mac_;
  int datagrams_ = -1, frames_ = -1;
  std::vector<std::uint8_t> super_;    // with its virtio-net header in front
  std::vector<std::uint8_t> scratch_;  // what is sent, and where what comes goes
  std::vector<mmsghdr> messages_;
  std::vector<iovec> parts_;
};

// Runs a command; ends the program with it if it fails.
void run_command(const std::string& command);

}  // namespace podwire::bench
