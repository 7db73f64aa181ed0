// policy: what policies cost the control thread. A cluster of many pods and policies is loaded at
// once; then single pods and policies change, each followed by a build, as podwired does it.
#include <boost/program_options.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <random>
#include <utility>

#include "bench/lib/options.h"
#include "bench/lib/record.h"
#include "bench/lib/spread.h"
#include "control/build/policies.h"
#include "control/store_writer.h"

namespace podwire::bench {
namespace {

namespace kube = control::kube;

struct Options {
  unsigned pods = 100'000, policies = 10'000, local = 500, namespaces = 500, apps = 40;
  unsigned rounds = 200;
  bool json = false;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double resident_megabytes() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t size = 0, resident = 0;
  file >> size >> resident;
  return static_cast<double>(resident) * 4096 / 1e6;
}

kube::Selector app(unsigned n) {
  kube::Selector selector;
  selector.match_labels["app"] = "app-" + std::to_string(n);
  return selector;
}

// The control thread's objects, and the builder of the node's policies over them.
struct Cluster {
  control::Store store;
  control::StoreWriter writer{store};
  std::vector<control::Attachment> attachments;

  void build() {
    const control::Changes changes = writer.take_changes();
    (void)builder_.build({store,
                          changes,
                          attachments,
                          std::exchange(attached_, false),
                          linux_,
                          false,
                          nullptr,
                          nullptr,
                          {}});
  }

 private:
  control::LinuxState linux_;
  bool attached_ = true;
  control::build::PoliciesBuilder builder_;
};

// Pods of 20,000 kinds: an app of a namespace. Every namespace has pods on this node.
class Load {
 public:
  explicit Load(const Options& options) : options_(options) {}

  void objects(Cluster& cluster) {
    for (unsigned n = 0; n < options_.namespaces; ++n) {
      kube::Namespace ns;
      ns.meta.name = name_of_namespace(n);
      ns.meta.labels["team"] = "team-" + std::to_string(n % 20);
      cluster.writer.put(std::move(ns));
    }
    for (unsigned n = 0; n < options_.pods; ++n) cluster.writer.put(pod(n, n % options_.apps));
    for (unsigned n = 0; n < options_.policies; ++n) cluster.writer.put(policy(n, 8080));
    for (unsigned n = 0; n < options_.local; ++n) attach(cluster, n);
  }

  // Pod n is of namespace n % namespaces.
  [[nodiscard]] kube::Pod pod(unsigned n, unsigned of_app) const {
    kube::Pod pod;
    pod.meta.ns = name_of_namespace(n % options_.namespaces);
    pod.meta.name = "pod-" + std::to_string(n);
    pod.meta.uid = "8e4a2c1e-0000-4000-8000-" + std::to_string(100'000'000 + n);
    pod.meta.labels = {
        {"app", "app-" + std::to_string((n / options_.namespaces + of_app) % options_.apps)},
        {"kubernetes.io/arch", "amd64"}};
    pod.node_name = n < options_.local ? "n1" : "n2";
    pod.ports = {{"http", 8080, 6}};
    pod.ips = {ip(n)};
    return pod;
  }
  // Half select an app of their namespace, and allow a few apps of it, a team, or a block.
  [[nodiscard]] kube::NetworkPolicy policy(unsigned n, std::uint16_t port) const {
    kube::NetworkPolicy policy;
    policy.meta.ns = name_of_namespace(n % options_.namespaces);
    policy.meta.name = "policy-" + std::to_string(n);
    const unsigned of_namespace = n / options_.namespaces;
    if (of_namespace % 2 == 0) policy.pod_selector = app(of_namespace % options_.apps);
    kube::PolicyRule pods, team, block;
    for (unsigned a = 0; a < 3; ++a) {
      pods.peers.push_back({app((of_namespace + a) % options_.apps), std::nullopt, std::nullopt});
    }
    kube::Selector selector;
    selector.match_labels["team"] = "team-" + std::to_string(n % 20);
    team.peers.push_back({app(n % options_.apps), selector, std::nullopt});
    block.peers.push_back({std::nullopt, std::nullopt,
                           kube::IpBlock{net::Prefix::around(ip(1'000'000 + n * 256), 24), {}}});
    for (auto* rule : {&pods, &team, &block}) {
      rule->ports.push_back({6, kube::IntOrString{port, {}}, 0});
      policy.ingress.push_back(*rule);
    }
    policy.egress = {pods, block};
    policy.isolates_egress = true;
    return policy;
  }
  void attach(Cluster& cluster, unsigned n) const {
    const kube::Pod local = pod(n, 0);
    control::Attachment& attachment = cluster.attachments.emplace_back();
    attachment.pod = local.meta.full_name();
    attachment.ips = local.ips;
  }

 private:
  [[nodiscard]] static std::string name_of_namespace(unsigned n) {
    return "ns-" + std::to_string(n);
  }
  [[nodiscard]] static net::Address ip(unsigned n) {
    return net::Address::from_v4(net::be32(0x0a000001 + n));
  }
  const Options& options_;
};

// One change at a time, from the object to the snapshot: microseconds.
template <typename Change>
Spread each(Cluster& cluster, unsigned rounds, Change&& change) {
  std::vector<double> all;
  for (unsigned n = 0; n < rounds; ++n) {
    const auto object = change(n);
    const auto start = std::chrono::steady_clock::now();
    cluster.writer.put(object);
    cluster.build();
    all.push_back(seconds_since(start) * 1e6);
  }
  return spread_of(std::move(all));
}

void report(const Options& options, Row row, const char* text) {
  add_record(row, {});
  show(row, options.json, text);
}

void run(const Options& options) {
  const Load load(options);
  const double empty = resident_megabytes();
  Cluster cluster;
  auto start = std::chrono::steady_clock::now();
  Load(options).objects(cluster);
  const double put = seconds_since(start);
  start = std::chrono::steady_clock::now();
  cluster.build();
  const double built = seconds_since(start), resident = resident_megabytes() - empty;
  char text[200];
  (void)std::snprintf(text, sizeof text,
                      "load      %.2f s into the store, %.2f s to build, %.0f MB", put, built,
                      resident);
  report(options,
         {{"case", "load"},
          {"pods", options.pods},
          {"policies", options.policies},
          {"local", options.local},
          {"store_s", put},
          {"build_s", built},
          {"megabytes", resident}},
         text);
  const auto tell = [&](const char* name, const Spread& us) {
    (void)std::snprintf(text, sizeof text, "%-9s p50 %.0f  p10 %.0f  p90 %.0f us", name, us.median,
                        us.p10, us.p90);
    report(options, {{"case", name}, {"us", to_json(us)}}, text);
  };
  std::mt19937 random(1);
  const unsigned others = options.pods - options.local;
  tell("added",
       each(cluster, options.rounds, [&](unsigned n) { return load.pod(options.pods + n, 0); }));
  tell("relabelled", each(cluster, options.rounds, [&](unsigned n) {
         return load.pod(options.local + random() % others, 1 + n % 7);
       }));
  tell("new kind", each(cluster, options.rounds, [&](unsigned n) {
         kube::Pod pod = load.pod(options.local + random() % others, 0);
         pod.meta.labels["version"] = std::to_string(n);
         return pod;
       }));
  tell("policy", each(cluster, options.rounds, [&](unsigned n) {
         return load.policy(static_cast<unsigned>(random() % options.policies),
                            static_cast<std::uint16_t>(2000 + n));
       }));
}

}  // namespace
}  // namespace podwire::bench

int main(int argc, char** argv) {
  using namespace podwire::bench;
  namespace po = boost::program_options;
  Options given;
  po::options_description known("policy: what policies cost the control thread");
  const auto number = [&](const char* name, unsigned& value, const char* help) {
    known.add_options()(name, po::value(&value)->default_value(value), help);
  };
  known.add_options()("help", "this text")("json", po::bool_switch(&given.json),
                                           "one JSON object a line");
  number("pods", given.pods, "of the cluster");
  number("policies", given.policies, "of the cluster");
  number("local", given.local, "pods of this node");
  number("namespaces", given.namespaces, "of the cluster");
  number("apps", given.apps, "values of the label app in a namespace");
  number("rounds", given.rounds, "changes of each kind");
  if (!read_words("policy", known, argc, argv)) return 0;
  if (given.local == 0 || given.local >= given.pods || given.pods > 8'000'000) {
    stop("policy", "--pods is more than --local, which is at least 1, and at most 8000000", 2);
  }
  if (given.namespaces == 0 || given.apps == 0 || given.rounds == 0 || given.policies == 0) {
    stop("policy", "--policies, --namespaces, --apps and --rounds are 1 or more", 2);
  }
  warn_of_build("policy");
  run(given);
  return 0;
}
