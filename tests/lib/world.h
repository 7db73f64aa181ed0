// One node in memory: ports that tests feed and read, tables that tests fill, and the shipped
// pipeline between them. No root, no threads, no time but what the test lets pass.
//
//   pods "a" "b" "c"  10.244.1.2-4, fd00:244:1::2-4      node 2  192.0.2.2, 2001:db8:2::2
//        |                                                  |  pods 10.244.2.0/24 (IPIP),
//   [ node 1: 192.0.2.1, 2001:db8:2::1 ]--- "uplink" -------+       fd00:244:2::/64 (routed)
//        |                                                  |
//      "host"                                            gateway 192.0.2.254, 2001:db8:2::fe: all
//                                                        else
//
// Every step compares frames byte by byte, checks lengths and checksums by tests/lib/frame.h's own
// reading, compares every counter with what the step expects (what is not listed must not move),
// closes the ledger, and counts the buffers.
//
// With PODWIRE_SEEDS=<folder> in the environment every node leaves what came into it there, as a
// seed for the pipeline's fuzzer.
#pragma once

#include <rte_mbuf.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/io/port.h"
#include "dataplane/worker.h"
#include "tests/lib/frame.h"

namespace podwire::test {

// Starts DPDK's EAL once per program: without huge pages, devices or files. Later calls do nothing.
// Ends the program with a sentence when it cannot.
void start_eal(unsigned memory_mb = 128);

inline constexpr const char* kNodeV4 = "192.0.2.1";
inline constexpr const char* kNodeV6 = "2001:db8:2::1";
inline constexpr const char* kNode2V4 = "192.0.2.2";
inline constexpr const char* kNode2V6 = "2001:db8:2::2";

class MemoryPort : public io::Port {
 public:
  explicit MemoryPort(const char* kind) : kind_(kind) {}
  ~MemoryPort() override;
  [[nodiscard]] unsigned queues() const noexcept override { return 1; }
  unsigned receive(unsigned queue, std::span<rte_mbuf*> out) noexcept override;
  unsigned transmit(unsigned worker, std::span<rte_mbuf*> frames) noexcept override;
  [[nodiscard]] int wait_descriptor(unsigned) const noexcept override { return -1; }
  [[nodiscard]] bool up() const noexcept override { return is_up; }
  [[nodiscard]] const char* kind() const noexcept override { return kind_; }

  bool is_up = true;
  unsigned room = 1U << 20U;  // frames it still takes
  std::deque<rte_mbuf*> sent;

 private:
  const char* kind_;
};

struct In {
  std::string port;
  Frame frame;
  std::size_t first_segment = 0;  // bytes of the frame in the first buffer; 0: all of them
  std::optional<Bytes> bytes;     // instead of `frame`, as they stand: truncated, nonsense, ARP
  std::uint64_t offloads = 0;     // RTE_MBUF_F_TX_...; Frame::partial sets the checksum's
  std::uint16_t segment_size = 0;
};

struct Out {
  std::string port;
  Frame frame;
  // Where the masquerade port (or ICMP identifier) that podwire chose is put; the frame is
  // expected with it.
  std::uint16_t* chosen_port = nullptr;
  std::optional<Bytes> bytes = {};  // instead of `frame`
  // Instead of comparing: what is wrong with the frame; empty: nothing. Checksums are checked.
  std::function<std::string(const Bytes&)> judge = {};
};

// An ICMP error that podwire made, expected on `port` as to `to`: type, code, and the quoted packet
// `about`, which must be quoted as it was sent. Source, TTL and quoted length are podwire's.
Out error_out(std::string port, std::string_view to, std::uint8_t type, std::uint8_t code,
              const Frame& about, std::optional<std::uint32_t> rest = std::nullopt);

using Counters = std::map<std::string, std::int64_t>;

struct Step {
  std::vector<In> in;
  std::vector<Out> out;  // the order counts within each port
  // Without received, sent, and the ports' packet and byte counters, which are derived from in and
  // out: "originated", "punted", "flows_created", "drop.ttl_exceeded", ...
  Counters counters = {};
  unsigned worker = 0;
};

class World {
 public:
  // `change` may alter the configuration before the tables are made.
  explicit World(unsigned workers = 1,
                 const std::function<void(DataplaneConfig&)>& change = nullptr);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // One burst through the pipeline. Empty when all is as expected, else what is not.
  [[nodiscard]] std::string run(const Step& step);
  void advance(std::uint32_t seconds);

  // The next snapshot's tables: change them, then publish(). Policies and routes that changed need
  // their generation moved.
  tables::Snapshot next;
  tables::PortTable ports;
  tables::ServiceTable services;
  tables::PolicyTable policies;
  tables::RouteTable routes;
  void publish();

  // A Service port with one frontend of each address given ("10.96.0.1:80"; ":30080" is a node
  // port). Its address becomes a live cluster IP when the kind is cluster_ip.
  std::shared_ptr<tables::Service> add_service(std::uint8_t protocol,
                                               const std::vector<std::string>& cluster_backends,
                                               const std::vector<std::string>& local_backends);
  void add_frontend(const std::shared_ptr<tables::Service>& service, tables::FrontendKind kind,
                    const std::string& address_and_port);
  void add_cluster_ip(std::uint8_t protocol, const std::string& address_and_port,
                      const std::vector<std::string>& backends);

  // Policy of pod `name`: which peers (pods or prefixes) and ports may begin flows from or to it.
  // Without a call a pod is not isolated.
  struct Allowed {
    std::vector<std::string> peers;         // addresses or prefixes; empty: any
    std::vector<std::uint16_t> ports = {};  // empty: any
    std::uint8_t protocol = 17;
  };
  void isolate(const std::string& name, bool ingress, const std::vector<Allowed>& allowed);

  [[nodiscard]] PortId port_id(const std::string& name) const;
  [[nodiscard]] MemoryPort& port(const std::string& name);
  [[nodiscard]] Worker& worker(unsigned index = 0) { return *workers_[index]; }
  [[nodiscard]] Shared& shared() { return *shared_; }
  // The frame with the Ethernet addresses it has on its way in or out, where it has none yet.
  [[nodiscard]] Frame addressed_in(const std::string& port, const Frame& frame) const;
  [[nodiscard]] Frame addressed_out(const std::string& port, const Frame& frame) const;
  // A buffer as a port would hand it over.
  [[nodiscard]] rte_mbuf* make_buffer(const In& in);

 private:
  struct Device {
    std::string name;
    net::Mac in_source, in_destination, out_source, out_destination;
    std::shared_ptr<MemoryPort> port;
  };
  void add_port(PortId id, tables::PortInfo info, const char* kind);
  void add_routes();
  [[nodiscard]] const Device& device(const std::string& name) const;
  void write_down(const Step& step);
  [[nodiscard]] Counters read_counters() const;
  void compare_frames(const Step& step, std::string& wrong);
  void compare_frame(const Out& expected, const rte_mbuf& actual, std::string& wrong);
  void compare_counters(const Step& step, Counters before, std::string& wrong);

  std::unique_ptr<Shared> shared_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<Device> devices_;
  std::vector<std::unique_ptr<const tables::Snapshot>> published_;
  std::uint32_t next_service_ = 1;
  std::uint32_t next_identity_ = 1;
  unsigned buffers_ = 0;
  Bytes conversation_;  // what came in so far, as tests/fuzz/pipeline.cc reads it
};

// The packets of a mbuf chain as bytes.
Bytes bytes_of(const rte_mbuf& mbuf);

}  // namespace podwire::test
