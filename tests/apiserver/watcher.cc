// Follows an API server as podwired does and says what it is told, a JSON object a line; for tests.
//
//   watcher KUBECONFIG [--quiet] [--silence=SECONDS] [--idle=SECONDS] [--absent=SECONDS]
//
// A line on standard input asks for everything in force. --quiet leaves single objects out.
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/streambuf.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "control/apiserver/source.h"
#include "control/store_writer.h"

namespace podwire::control {
namespace {

namespace asio = boost::asio;
using nlohmann::json;

class Watcher final : public ObjectSink {
 public:
  Watcher(const std::string& kubeconfig, bool quiet, bool bgp, apiserver::Limits limits)
      : quiet_(quiet),
        source_(
            io_, [kubeconfig] { return apiserver::read_kubeconfig(kubeconfig); }, bgp, limits) {}

  void run() {
    signals_.async_wait([this](const boost::system::error_code& error, int /*signal*/) {
      if (!error) io_.stop();
    });
    say({{"source", source_.name()}});
    source_.start(*this);
    await_question();
    io_.run();
    source_.stop();
  }

  void put(kube::Object object) override {
    const std::string name = kube::kind_and_name(object);
    const bool changed = store_.put(std::move(object));
    if (!quiet_) say({{"put", name}, {"changed", changed}});
  }
  void remove(kube::Kind kind, const std::string& name) override {
    store_.remove(kind, name);
    if (!quiet_) say({{"remove", std::string(kube::kind_name(kind)) + " " + name}});
  }
  void synced() override { say({{"synced", seconds()}}); }
  void problems(std::vector<std::string> all) override { say({{"problems", all}}); }
  void health(bool healthy, const std::string& sentence) override {
    say({{"health", healthy}, {"sentence", sentence}});
  }

 private:
  [[nodiscard]] double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
  }
  static void say(const json& what) {
    std::puts(what.dump().c_str());
    std::fflush(stdout);
  }
  template <typename T>
  static void add_names(json& all, const char* kind, const Store::Kind<T>& objects) {
    for (const auto& [name, object] : objects) all[kind].push_back(name);
  }
  void answer() {
    json in_force = json::object();
    add_names(in_force, "Node", all_.nodes);
    add_names(in_force, "Namespace", all_.namespaces);
    add_names(in_force, "Pod", all_.pods);
    add_names(in_force, "Service", all_.services);
    add_names(in_force, "EndpointSlice", all_.endpoint_slices);
    add_names(in_force, "NetworkPolicy", all_.network_policies);
    add_names(in_force, "IPPool", all_.ip_pools);
    add_names(in_force, "ServiceCIDR", all_.service_cidrs);
    add_names(in_force, "ClusterNetworkPolicy", all_.cluster_network_policies);
    add_names(in_force, "Secret", all_.secrets);
    add_names(in_force, "BGPConfiguration", all_.bgp_configurations);
    add_names(in_force, "BGPPeer", all_.bgp_peers);
    add_names(in_force, "BGPFilter", all_.bgp_filters);
    add_names(in_force, "BlockAffinity", all_.block_affinities);
    add_names(in_force, "IPAMBlock", all_.ipam_blocks);
    add_names(in_force, "IPAMConfig", all_.ipam_configs);
    add_names(in_force, "IPReservation", all_.ip_reservations);
    json kinds = json::object();
    for (const KindReport& report : source_.report()) {
      json errors = json::object();
      for (const auto& [reason, count] : report.errors) {
        if (count > 0) errors[reason] = count;
      }
      kinds[kube::kind_name(report.kind)] = {
          {"objects", report.objects}, {"version", report.resource_version},
          {"phase", report.phase},     {"lists", report.lists},
          {"watches", report.watches}, {"events", report.events},
          {"errors", errors}};
    }
    say({{"inForce", quiet_ ? json(nullptr) : in_force}, {"kinds", kinds}});
  }
  void await_question() {
    asio::async_read_until(input_, line_, '\n',
                           [this](const boost::system::error_code& error, std::size_t count) {
                             if (error) return io_.stop();  // whoever asked is gone
                             line_.consume(count);
                             answer();
                             await_question();
                           });
  }

  const bool quiet_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  asio::io_context io_;
  asio::signal_set signals_{io_, SIGTERM, SIGINT};
  asio::posix::stream_descriptor input_{io_, dup(STDIN_FILENO)};
  asio::streambuf line_;
  Store all_;
  StoreWriter store_{all_};
  apiserver::ApiSource source_;
};

}  // namespace
}  // namespace podwire::control

int main(int argc, char** argv) {
  using namespace podwire::control;
  bool quiet = false, bgp = false;
  apiserver::Limits limits;
  std::string kubeconfig;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto seconds = [&] {
      return std::chrono::seconds(std::atoi(argument.substr(argument.find('=') + 1).c_str()));
    };
    if (argument == "--quiet") {
      quiet = true;
    } else if (argument == "--bgp") {
      bgp = true;
    } else if (argument.starts_with("--silence=")) {
      limits.watch_silence = limits.list_silence = seconds();
    } else if (argument.starts_with("--idle=")) {
      limits.pulse.idle = limits.pulse.patience = seconds();
    } else if (argument.starts_with("--absent=")) {
      limits.absent = seconds();
    } else {
      kubeconfig = argument;
    }
  }
  Watcher(kubeconfig, quiet, bgp, limits).run();
  return 0;
}
