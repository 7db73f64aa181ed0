// The devices, both directions of traffic over them, and trials: so many packets a second for so
// long, and what came of them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench/ports/connections.h"
#include "bench/ports/traffic.h"
#include "dataplane/result.h"

namespace podwire::ports {

struct TestbedOptions {
  std::string transmit_device;          // packets of the first direction leave here
  std::string receive_device;           // and arrive here; the same when empty
  net::Mac destination_mac, reply_mac;  // of the device under test; zero: our other device's
  Traffic traffic;
  FlowSpace space;
  bool bidirectional = false;
  double link_seconds = 10;
  unsigned buffers = 32768;
  std::vector<unsigned> cores;  // one: sends and receives; two: one each
};

// For both pools and what devices want besides.
[[nodiscard]] unsigned memory_needed_mb(const TestbedOptions& options);

struct Direction {
  Sent sent;
  Arrived arrived;
  [[nodiscard]] std::uint64_t lost() const {
    return sent.packets > arrived.packets ? sent.packets - arrived.packets : 0;
  }
};

struct Trial {
  double seconds = 0;
  std::vector<Direction> directions;  // one or two
  std::uint64_t wrong_checksum = 0, foreign = 0, late = 0;
  std::uint64_t missed = 0;  // by our own receiving device, for want of room

  [[nodiscard]] std::uint64_t sent() const;
  [[nodiscard]] std::uint64_t intended() const;  // with what was due but could not be sent
  [[nodiscard]] std::uint64_t arrived() const;
  [[nodiscard]] std::uint64_t lost() const;
};

class Testbed {
 public:
  static Result<std::unique_ptr<Testbed>> make(const TestbedOptions& options);
  ~Testbed();

  // Sends each flow's first packet, again where none came through, and with two directions learns
  // how replies must be addressed. TCP flows shake hands.
  Result<void> open_flows();

  // `packets_per_second` in each direction, 0: as fast as the devices take them.
  Trial run(double packets_per_second, double seconds);
  // TCP connections from beginning to end; 0: each as soon as another has ended.
  ConnectionsDone run_connections(double per_second, double seconds);

  [[nodiscard]] double link_bits_per_second() const;
  [[nodiscard]] std::uint64_t tsc_hz() const { return tsc_hz_; }

 private:
  Testbed() = default;
  Result<void> open_devices();
  void make_directions();
  void send_until(std::uint64_t end) noexcept;
  void poll_sinks() noexcept;
  void drain();
  void next_trial();
  [[nodiscard]] std::uint64_t missed() const;

  TestbedOptions options_;
  std::uint64_t tsc_hz_ = 0;
  rte_mempool* transmit_pool_ = nullptr;
  rte_mempool* receive_pool_ = nullptr;
  std::unique_ptr<Device> transmit_device_, receive_device_;  // the second null when the same
  std::optional<FrameMaker> forward_maker_, reply_maker_;
  std::vector<FlowTuple> learned_;  // how each flow's replies are addressed
  std::vector<std::unique_ptr<Sender>> senders_;
  std::vector<std::unique_ptr<Arrivals>> arrivals_;
  std::vector<std::unique_ptr<Sink>> sinks_;
  std::unique_ptr<Connections> connections_;
  std::uint8_t trial_ = 0;
};

}  // namespace podwire::ports
