// The connections that bench/new_flows makes: pod "a" of a node in memory opens them to
// Services, whose endpoints are ports of pods "b" and "c" on the same node, under a policy on
// either side. So a new flow pays for service choice and for policy judged both ways.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

#include "bench/path/sink.h"
#include "dataplane/flow/flow_key.h"
#include "tests/lib/world.h"

namespace podwire::bench {

struct ClientOptions {
  std::uint32_t limit = 0;     // connections that the table holds
  std::uint8_t protocol = 17;  // of the Services
  unsigned endpoints = 10;     // of each Service; connections with replies need 1
  unsigned workers = 1;
  std::uint32_t services = 1000;
  std::uint32_t other_services = 0;  // to which no connection goes
};

// One kind of packet, made once as bytes; of each connection only addresses and ports differ.
class PacketForm {
 public:
  PacketForm(test::World& world, std::string_view port, const test::Frame& frame);
  struct Tuple {
    net::be32 source, destination;
    net::be16 source_port, destination_port;
  };
  void append(Burst& batch, rte_mempool* pool, const Tuple& tuple) const;

 private:
  test::Bytes bytes_;
  PortId port_;
  std::size_t l4_checksum_;
};

class Client {
 public:
  // Its pool of packet buffers: bench/path's make_packet_pool(), once, before the first Client.
  explicit Client(const ClientOptions& options);

  [[nodiscard]] test::World& world() { return world_; }
  [[nodiscard]] std::uint64_t cycles_per_second() const;
  // Everything that the table allocates, for each connection of its limit.
  [[nodiscard]] double bytes_per_connection() const;

  // Connections have numbers below this.
  [[nodiscard]] std::uint32_t most() const;

  enum class Kind : std::uint8_t { udp, syn, syn_ack, ack, data, data_back, fin, fin_back };
  // Adds a packet of connection `i`. Those of the server's side (syn_ack, data_back, fin_back) need
  // options().endpoints to be 1, so that it is known who answers.
  void append(Burst& batch, std::uint32_t i, Kind kind) const;
  // The forward key of connection i.
  [[nodiscard]] flow::V4::Key key(std::uint32_t i) const;

  // Frees what left the node since the last call. Returns how many frames these were.
  std::size_t discard_sent();
  // Ends the program: `what` was lost. Says how many packets were dropped since the start, and why.
  [[noreturn]] void stop_for_loss(const std::string& what) const;

  // Opens `count` connections from `first` on singly, and sends a reply to each; compares every
  // byte of what leaves. Ends the program when something is wrong.
  void verify(std::uint32_t first, std::uint32_t count);
  // Enters connections first .. first + count - 1 by their first packets, in bursts.
  void open(std::uint32_t first, std::uint32_t count);
  // Carries them, which are opening, through the rest of the handshake.
  void establish(std::uint32_t first, std::uint32_t count);
  // Ends them and lets their slots be used again.
  void close(std::uint32_t first, std::uint32_t count);
  // Makes the policies of its pods anew in world().policies, without publishing them.
  void renew_policies();
  // Every erased slot's grace period ends.
  void rest();

 private:
  [[nodiscard]] std::uint32_t service_of(std::uint32_t i) const;
  [[nodiscard]] std::uint16_t client_port(std::uint32_t i) const;
  [[nodiscard]] test::Frame first_frame(std::uint32_t i) const;
  void verify(std::uint32_t i);
  void send_all(std::uint32_t first, std::uint32_t count, Kind kind);

  const ClientOptions options_;
  mutable test::World world_;
  std::array<std::shared_ptr<Sink>, 5> sinks_;            // by PortId
  std::vector<PacketForm> client_, server_b_, server_c_;  // by Kind
};

}  // namespace podwire::bench
