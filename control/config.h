// What podwired is told at start: defaults, then the file, then PODWIRE_... environment, then the
// command line. Every key is an option of the same name; control/config.cc holds the one table that
// parsing, ranges, --help and the environment's names derive from. Control thread, before anything
// else runs.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "control/apiserver/access.h"
#include "dataplane/config.h"
#include "dataplane/net/address.h"
#include "dataplane/result.h"

namespace podwire::control {

struct Config {
  DataplaneConfig dataplane;
  std::string node_name;                            // node-name; default: the host's name
  std::string manifests;                            // manifests: folder of objects, watched
  std::string kubeconfig;                           // kubeconfig: how the API server is reached
  bool in_cluster = false;                          // in-cluster: by the pod's service account
  std::string run_dir = "/run/podwire";             // run-dir: sockets cni.sock and podwired.sock
  std::string state_dir = "/var/lib/podwire";       // state-dir: attachments
  std::string metrics_address = "127.0.0.1:10249";  // metrics-address; empty: none
  std::string healthz_address = "0.0.0.0:10256";    // healthz-address; empty: none
  std::string log_level = "info";                   // log-level: debug, info, warning, error
  std::vector<net::Prefix> node_addresses;  // node-address: put on the host tap when the uplink has
                                            // no kernel device to take them from
  std::vector<net::Prefix> service_ranges;  // service-range: ServiceCIDRs
  std::vector<net::Prefix>
      node_port_addresses;      // node-port-addresses; empty: the Node's primary addresses
  bool masquerade_all = false;  // masquerade-all
  bool udp_cleanup = true;
  bool count_policy_drops = false;       // count-policy-drops
  std::uint32_t routes_max = 1'200'000;  // routes-max: prefixes taken from Linux
  std::uint32_t min_sync_period_ms = 1;  // between builds; kube-proxy's minSyncPeriod

  bool bgp = false;                             // bgp: bird is told what to do, and followed
  std::string bird_program = "/usr/sbin/bird";  // bird-program: checks each configuration
  std::string bird_config;                      // bird-config; empty: state_dir/bird.conf
  std::string bird_socket;                      // bird-socket; empty: run_dir/bird.ctl
  bool bgp_mesh_bfd = false;                    // bgp-mesh-bfd
  std::uint32_t bgp_bfd_interval_ms = 300;      // bgp-bfd-interval-ms
  std::uint8_t bgp_bfd_multiplier = 3;          // bgp-bfd-multiplier

  // What load_config() found for each key, as text: given, or the default. For /configz.
  struct InForce {
    std::string key;
    std::vector<std::string> values;
    bool list = false;  // else one value, empty for an empty one
  };
  std::vector<InForce> in_force;
};

// How the API server is reached, as the files say now; not for a manifests folder.
Result<apiserver::Access> read_access(const Config& config);

inline constexpr const char* kDefaultConfigFile = "/etc/podwire/podwired.conf";

// Where the values come from, weakest first: the file, the environment, the command line.
struct ConfigSources {
  std::vector<std::string> arguments;  // without the program's name
  std::vector<std::pair<std::string, std::string>> environment;
  std::string default_file = kDefaultConfigFile;  // read when it exists and --config names no other
};
enum class Wish : std::uint8_t { run, help, version, check };
struct LoadedConfig {
  Config config;
  Wish wish = Wish::run;
  std::string file;  // that was read; empty: none
};
// The error is one sentence that begins with its place: "podwired.conf:7: workers: ...",
// "PODWIRE_WORKERS: ..." or "--workers: ...". A list (node-address, eal-arg) given at a stronger
// place replaces the weaker one's.
Result<LoadedConfig> load_config(const ConfigSources& sources);

// What every option is, for --help and for the tests of conf/podwired.conf.
struct OptionInfo {
  std::string name, default_text, help;
};
std::vector<OptionInfo> config_options();
std::string config_help();

// For main(): loads, and prints what --help, --version and --check-config ask for (or the sentence
// on standard error). When exit_now is set the program ends with exit_code.
struct Started {
  Config config;
  bool exit_now = false;
  int exit_code = 0;
};
Started start_config(int argc, char** argv);

// "127.0.0.1:10249", "[::1]:10249": an address and a port from 1 to 65535 (0 in tests: any free
// one).
struct ListenAddress {
  net::Address address;
  std::uint16_t port = 0;
};
Result<ListenAddress> parse_listen_address(const std::string& text);

}  // namespace podwire::control
