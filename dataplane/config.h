// What the dataplane is started with. Filled by control/config from file, environment and command
// line; checked there. Nothing here changes while it runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace podwire {

// Seconds of silence after which a flow ends. Defaults are kube-proxy's where it sets one, else
// nf_conntrack's (kubernetes-behaviour: conntrack;
// Documentation/networking/nf_conntrack-sysctl.rst).
struct FlowTimeouts {
  std::uint32_t tcp_syn_sent = 120;
  std::uint32_t tcp_syn_received = 60;
  std::uint32_t tcp_established = 86400;
  std::uint32_t tcp_fin_wait = 120;
  std::uint32_t tcp_close_wait = 3600;
  std::uint32_t tcp_last_ack = 30;
  std::uint32_t tcp_time_wait = 120;
  std::uint32_t tcp_close = 10;
  std::uint32_t udp = 30;          // no reply seen
  std::uint32_t udp_stream = 120;  // replies seen
  std::uint32_t sctp_init = 60;
  std::uint32_t sctp_established = 432000;
  std::uint32_t sctp_shutdown = 10;
  std::uint32_t icmp = 30;
  std::uint32_t other = 600;
};

struct DataplaneConfig {
  std::vector<unsigned> worker_cores;  // one worker for each; empty: worker_count unpinned threads
  unsigned worker_count = 1;
  bool sleep_when_idle = true;  // false on telco nodes: workers always poll
  std::uint32_t idle_sleep_max_us = 100;
  bool spread_flows = true;   // hand frames to the worker of their flow where queues do not
  std::string uplink_device;  // any DPDK device string: "0000:03:00.0",
                              // "net_af_packet0,iface=eth0", ...
  std::string host_tap_name = "podwire0";
  std::string eal_prefix = "podwire";  // --file-prefix
  bool hugepages = false;              // false: --no-huge
  std::uint32_t memory_mb = 256;
  std::vector<std::string> eal_extra;  // further EAL arguments, as they stand
  std::uint32_t packet_buffers = 16384;
  std::uint32_t large_buffers = 512;  // 64 KiB each, for unsegmented TCP
  std::uint32_t flows_v4 = 262144;    // connections, each of two directions
  std::uint32_t flows_v6 = 131072;
  std::uint32_t fragment_datagrams = 1024;  // incomplete datagrams, per worker
  std::uint32_t affinity_entries = 65536;
  std::uint16_t masquerade_port_min = 32768, masquerade_port_max = 65535;
  std::uint16_t pod_mtu = 0;  // 0: the host tap's, less a tunnel's header where a pool tunnels
  // ICMP errors that podwire makes, per worker; Linux's net.ipv4.icmp_msgs_per_sec and _burst.
  std::uint32_t icmp_errors_per_second = 1000, icmp_error_burst = 50;
  bool tcp_pickup = false;  // admit TCP that is already under way (after a restart)
  FlowTimeouts timeouts;
};

}  // namespace podwire
