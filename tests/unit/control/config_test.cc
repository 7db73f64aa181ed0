#ifndef __clang__  // gcc 12 sees uninitialised reads inside std::regex when sanitizers are on
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include "control/config.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "tests/unit/control/source_root.h"

namespace podwire::control {
namespace {

class ConfigFile {
 public:
  explicit ConfigFile(const std::string& text) {
    char name[] = "/tmp/podwired-conf-XXXXXX";
    const int descriptor = mkstemp(name);
    EXPECT_GE(descriptor, 0);
    close(descriptor);
    path = name;
    std::ofstream(path) << text;
  }
  ~ConfigFile() { std::filesystem::remove(path); }
  std::string path;
};

const std::vector<std::string> kNeeded = {"--uplink=net_null0", "--manifests=/m", "--node-name=n1"};

ConfigSources sources(std::vector<std::string> arguments,
                      const std::string& file = "/nonexistent") {
  ConfigSources result;
  result.arguments = kNeeded;
  result.arguments.insert(result.arguments.end(), arguments.begin(), arguments.end());
  result.default_file = file;
  return result;
}

std::string error_of(const ConfigSources& given) {
  const auto loaded = load_config(given);
  return loaded ? "accepted" : loaded.error().message;
}

std::vector<std::string> in_force(const Config& config, const std::string& key) {
  for (const auto& each : config.in_force) {
    if (each.key == key) return each.values;
  }
  return {"no such key"};
}

TEST(Config, TellsWhatIsInForce) {
  const ConfigFile file("workers = 2\nservice-range = 10.96.0.0/12\nservice-range = fd00::/108\n");
  auto given = sources({"--config=" + file.path});
  given.environment = {{"PODWIRE_WORKERS", "1"}};
  const auto loaded = load_config(given);
  ASSERT_TRUE(loaded) << loaded.error().message;
  using Values = std::vector<std::string>;
  EXPECT_EQ(in_force(loaded->config, "workers"), Values{"1"});
  EXPECT_EQ(in_force(loaded->config, "service-range"), (Values{"10.96.0.0/12", "fd00::/108"}));
  EXPECT_EQ(in_force(loaded->config, "node-address"), Values{});
  EXPECT_EQ(in_force(loaded->config, "log-level"), Values{"info"});
  EXPECT_EQ(in_force(loaded->config, "node-name"), Values{"n1"});
  EXPECT_EQ(loaded->config.in_force.size(), config_options().size());
}

TEST(Config, TakesDefaultsWhenNothingIsGiven) {
  const auto loaded = load_config(sources({}));
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->config.dataplane.worker_count, 1U);
  EXPECT_EQ(loaded->config.run_dir, "/run/podwire");
  EXPECT_EQ(loaded->config.dataplane.timeouts.udp_stream, 120U);
  EXPECT_EQ(loaded->wish, Wish::run);
  EXPECT_EQ(loaded->file, "");
}

TEST(Config, StrongerPlaceWins) {
  const ConfigFile file("workers = 2\nmemory-mb = 128 # of the lab\nlog-level = debug\n");
  auto given = sources({"--workers=5"}, file.path);
  given.environment = {{"PODWIRE_WORKERS", "4"}, {"PODWIRE_MEMORY_MB", "512"}, {"HOME", "/"}};
  auto loaded = load_config(given);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->config.dataplane.worker_count, 5U);     // command line over both
  EXPECT_EQ(loaded->config.dataplane.memory_mb, 512U);      // environment over file
  EXPECT_EQ(loaded->config.log_level, "debug");             // file over default
  EXPECT_EQ(loaded->config.dataplane.large_buffers, 512U);  // default
  EXPECT_EQ(loaded->file, file.path);

  given.arguments.pop_back();
  loaded = load_config(given);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->config.dataplane.worker_count, 4U);
}

TEST(Config, FileComesFromEnvironmentOrCommandLine) {
  const ConfigFile weak("workers = 2\n");
  const ConfigFile strong("workers = 3\n");
  auto given = sources({}, "/nonexistent");
  given.environment = {{"PODWIRE_CONFIG", weak.path}};
  EXPECT_EQ(load_config(given)->config.dataplane.worker_count, 2U);
  given.arguments.push_back("--config=" + strong.path);
  EXPECT_EQ(load_config(given)->config.dataplane.worker_count, 3U);
  given.arguments.back() = "--config=/nonexistent.conf";
  EXPECT_EQ(error_of(given), "/nonexistent.conf: cannot be read: No such file or directory");
}

TEST(Config, StrongerListReplacesWeakerOne) {
  const ConfigFile file("service-range = 10.96.0.0/12\nservice-range = fd00:96::/112\n");
  auto loaded = load_config(sources({}, file.path));
  ASSERT_TRUE(loaded) << loaded.error().message;
  ASSERT_EQ(loaded->config.service_ranges.size(), 2U);
  EXPECT_EQ(loaded->config.service_ranges[1].to_string(), "fd00:96::/112");
  loaded = load_config(sources({"--service-range=10.0.0.0/8, 11.0.0.0/8"}, file.path));
  ASSERT_EQ(loaded->config.service_ranges.size(), 2U);
  EXPECT_EQ(loaded->config.service_ranges[0].to_string(), "10.0.0.0/8");
}

TEST(Config, TakesKubeProxysWordForPrimaryAddresses) {
  const auto loaded = load_config(sources({"--node-port-addresses=primary"}));
  ASSERT_TRUE(loaded);
  EXPECT_TRUE(loaded->config.node_port_addresses.empty());
  EXPECT_FALSE(load_config(sources({"--node-port-addresses=primary,10.0.0.0/8"})));
}

TEST(Config, KeepsHostPartOfNodeAddress) {
  const auto loaded = load_config(sources({"--node-address=192.0.2.7/24,2001:db8::7/64"}));
  ASSERT_TRUE(loaded) << loaded.error().message;
  ASSERT_EQ(loaded->config.node_addresses.size(), 2U);
  EXPECT_EQ(loaded->config.node_addresses[0].to_string(), "192.0.2.7/24");
  EXPECT_EQ(loaded->config.node_addresses[1].to_string(), "2001:db8::7/64");
}

TEST(Config, ReadsSwitchesCoresAndPorts) {
  const auto loaded = load_config(
      sources({"--tcp-pickup", "--idle-sleep=off", "--spread-flows=off", "--worker-cores=2,4-6",
               "--masquerade-ports=40000-41000", "--eal-arg=--no-pci", "--eal-arg=-d,x"}));
  ASSERT_TRUE(loaded) << loaded.error().message;
  const auto& dataplane = loaded->config.dataplane;
  EXPECT_TRUE(dataplane.tcp_pickup);
  EXPECT_FALSE(dataplane.sleep_when_idle);
  EXPECT_FALSE(dataplane.spread_flows);
  EXPECT_EQ(dataplane.worker_cores, (std::vector<unsigned>{2, 4, 5, 6}));
  EXPECT_EQ(dataplane.worker_count, 4U);
  EXPECT_EQ(dataplane.masquerade_port_min, 40000);
  EXPECT_EQ(dataplane.masquerade_port_max, 41000);
  EXPECT_EQ(dataplane.eal_extra, (std::vector<std::string>{"--no-pci", "-d,x"}));
}

TEST(Config, WishesAreTold) {
  EXPECT_EQ(load_config(sources({"--check-config"}))->wish, Wish::check);
  ConfigSources bare;
  bare.arguments = {"--help"};
  EXPECT_EQ(load_config(bare)->wish, Wish::help);
  bare.arguments = {"--version"};
  EXPECT_EQ(load_config(bare)->wish, Wish::version);
}

struct Refused {
  const char* argument;
  const char* sentence;
};
class ConfigRefuses : public testing::TestWithParam<Refused> {};
TEST_P(ConfigRefuses, WithOneSentence) {
  EXPECT_EQ(error_of(sources({GetParam().argument})), GetParam().sentence);
}
INSTANTIATE_TEST_SUITE_P(
    Values, ConfigRefuses,
    testing::Values(
        Refused{"--workers=70", "--workers: 70 is not between 1 and 64"},
        Refused{"--workers=0", "--workers: 0 is not between 1 and 64"},
        Refused{"--workers=-1", "--workers: \"-1\" is not a whole number"},
        Refused{"--workers=2x", "--workers: \"2x\" is not a whole number"},
        Refused{"--workers=99999999999999999999",
                "--workers: 99999999999999999999 is not between 1 and 64"},
        Refused{"--wokers=2", "command line: --wokers is not an option, see podwired --help"},
        Refused{"--work=2", "command line: --work is not an option, see podwired --help"},
        Refused{"workers",
                "command line: \"workers\" is not an option; options begin with --, see podwired "
                "--help"},
        Refused{"--tcp-pickup=perhaps", "--tcp-pickup: \"perhaps\" is neither true nor false"},
        Refused{"--worker-cores=3-1",
                "--worker-cores: \"3-1\" is not a core or a range of cores such as 2,4-6"},
        Refused{"--worker-cores=1,1", "--worker-cores: core 1 is named twice"},
        Refused{
            "--masquerade-ports=9-8",
            "--masquerade-ports: \"9-8\" is not a range of ports between 1024 and 65535 such as "
            "32768-65535"},
        Refused{"--host-tap=much-too-long-name",
                "--host-tap: \"much-too-long-name\" is not a network device's name of 1 to 15 "
                "characters"},
        Refused{"--service-range=10.0.0.0/33",
                "--service-range: \"10.0.0.0/33\" is not an IP prefix such as 10.96.0.0/12"},
        Refused{"--log-level=loud",
                "--log-level: \"loud\" is not one of debug, info, warning, error"},
        Refused{"--run-dir=here", "--run-dir: \"here\" is not an absolute path"},
        Refused{"--metrics-address=10249",
                "--metrics-address: \"10249\" is not an address and a port such as 127.0.0.1:10249 "
                "or [::1]:10249"},
        Refused{"--pod-mtu=1000", "--pod-mtu: 1000 is not between 1280 and 9000"},
        Refused{"--node-name=n2", "--node-name: given twice"}));

TEST(Config, NamesFileLineAndKey) {
  const auto said = [](const std::string& text) {
    const ConfigFile file(text);
    const std::string message = error_of(sources({}, file.path));
    EXPECT_EQ(message.rfind(file.path, 0), 0U) << message;
    return message.substr(std::min(message.size(), file.path.size()));
  };
  EXPECT_EQ(said("# first\nworkers = 70\n"), ":2: workers: 70 is not between 1 and 64");
  EXPECT_EQ(said("wokers = 2\n"), ":1: wokers: no such key, see podwired --help");
  EXPECT_EQ(said("help = true\n"), ":1: help: no such key, see podwired --help");
  EXPECT_EQ(said("config = /x\n"), ":1: config: no such key, see podwired --help");
  EXPECT_EQ(said("workers = 2\n\nworkers = 2\n"), ":3: workers: given twice in this file");
  EXPECT_EQ(said("workers\n"), ":1: \"workers\" is not a `key = value` line");
  EXPECT_EQ(said("[dataplane]\n"), ":1: sections are not used here, only `key = value` lines");
}

TEST(Config, ChecksValuesThatAStrongerPlaceReplaces) {
  const ConfigFile file("workers = 70\n");
  EXPECT_EQ(error_of(sources({"--workers=2"}, file.path)),
            file.path + ":1: workers: 70 is not between 1 and 64");
}

TEST(Config, RefusesUnknownEnvironmentButNotServiceLinks) {
  auto given = sources({});
  given.environment = {{"PODWIRE_WOKERS", "2"}};
  EXPECT_EQ(error_of(given),
            "PODWIRE_WOKERS: no such option in the environment, see podwired --help");
  given.environment = {{"PODWIRE_METRICS_PORT_10249_TCP_ADDR", "10.0.0.1"},
                       {"PODWIRE_METRICS_SERVICE_HOST", "10.0.0.1"},
                       {"PODWIRE_PORT", "tcp://10.0.0.1:80"}};
  EXPECT_EQ(error_of(given), "accepted");
  given.environment = {{"PODWIRE_WORKERS", "65"}};
  EXPECT_EQ(error_of(given), "PODWIRE_WORKERS: 65 is not between 1 and 64");
}

TEST(Config, RefusesWhatContradicts) {
  EXPECT_EQ(error_of(sources({"--workers=3", "--worker-cores=1,2"})),
            "--workers: 3 contradicts worker-cores, which names 2");
  ConfigSources bare;
  bare.default_file = "/nonexistent";
  bare.arguments = {"--manifests=/m", "--node-name=n"};
  EXPECT_EQ(error_of(bare),
            "uplink: not set; name a DPDK device, e.g. uplink = net_af_packet0,iface=eth0");
  bare.arguments = {"--uplink=x", "--node-name=n"};
  EXPECT_EQ(error_of(bare),
            "manifests: not set; say where objects come from: manifests = FOLDER, "
            "kubeconfig = FILE or in-cluster = true");
  bare.arguments = {"--uplink=net_null0", "--node-name=n1", "--kubeconfig=/nonexistent"};
  EXPECT_EQ(error_of(bare),
            "--kubeconfig: kubeconfig /nonexistent cannot be read: No such file or directory");
  bare.arguments.push_back("--in-cluster");
  EXPECT_EQ(error_of(bare), "--in-cluster: contradicts kubeconfig; objects come from one place");
  bare.arguments.push_back("--manifests=/m");
  EXPECT_EQ(error_of(bare), "--kubeconfig: contradicts manifests; objects come from one place");
  EXPECT_EQ(error_of(sources({"--run-dir=/" + std::string(100, 'x')})),
            "--run-dir: longer than the 93 bytes a socket's path leaves");
}

TEST(Config, HelpNamesEveryKeyWithItsDefault) {
  const std::string help = config_help();
  for (const OptionInfo& option : config_options()) {
    EXPECT_NE(help.find("--" + option.name + " "), std::string::npos) << option.name;
    if (!option.default_text.empty()) {
      EXPECT_NE(help.find("(=" + option.default_text + ")"), std::string::npos) << option.name;
    }
  }
}

// conf/podwired.conf shows every key once, commented out, with its default.
TEST(Config, ExampleFileShowsEveryKeyWithItsDefault) {
  std::ifstream stream(kSourceRoot + std::string("/conf/podwired.conf"));
  ASSERT_TRUE(stream);
  std::map<std::string, std::string> shown;
  const std::regex line_shape("^#?([a-z][a-z0-9-]*) =(?: (.*))?$");
  for (std::string line; std::getline(stream, line);) {
    std::smatch match;
    if (!std::regex_match(line, match, line_shape)) continue;
    EXPECT_TRUE(shown.emplace(match[1], match[2]).second) << match[1] << " is shown twice";
  }
  for (const OptionInfo& option : config_options()) {
    const auto found = shown.find(option.name);
    ASSERT_NE(found, shown.end()) << option.name << " is not in conf/podwired.conf";
    if (!option.default_text.empty()) {
      EXPECT_EQ(found->second, option.default_text) << option.name;
    }
    shown.erase(found);
  }
  EXPECT_TRUE(shown.empty()) << shown.begin()->first << " is no option";
}

TEST(Config, ExampleFileIsAccepted) {
  auto given = sources({}, kSourceRoot + std::string("/conf/podwired.conf"));
  given.arguments = {"--node-name=n1"};
  EXPECT_EQ(error_of(given), "accepted");
}

TEST(ListenAddress, TakesBothFamilies) {
  EXPECT_EQ(parse_listen_address("[::1]:80")->address.to_string(), "::1");
  EXPECT_EQ(parse_listen_address("0.0.0.0:10249")->port, 10249);
  for (const char* bad : {"::1:80", "[1.2.3.4]:80", "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", ""}) {
    EXPECT_FALSE(parse_listen_address(bad)) << bad;
  }
}

}  // namespace
}  // namespace podwire::control
