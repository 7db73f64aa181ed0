// podwire-cni as a runtime executes it: the shipped plugin in a process's clothes (environment,
// standard input), against podwired's own server or a peer that misbehaves.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio.hpp>
#include <fstream>
#include <sstream>
#include <thread>

#include "cni-shim/plugin.h"
#include "control/cni/server.h"
#include "tests/unit/control/fake_dataplane.h"

namespace podwire::control {
namespace {

using nlohmann::json;

cni::Environment environment(const std::string& command) {
  return {{"CNI_COMMAND", command},
          {"CNI_CONTAINERID", "c1"},
          {"CNI_NETNS", "/proc/1/ns/uts"},
          {"CNI_IFNAME", "eth0"},
          {"CNI_PATH", "/opt/cni/bin"},
          {"CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web"}};
}

struct Answer {
  json output;
  int exit_code;
};

class Shim : public testing::Test {
 protected:
  Shim() { std::filesystem::create_directories(run_dir()); }
  std::string run_dir() const { return folder.path + "/run"; }
  std::string state_dir() const { return folder.path + "/state"; }
  json configuration(const std::string& version = "1.1.0") const {
    return {{"cniVersion", version},
            {"name", "podwire"},
            {"type", "podwire-cni"},
            {"runDir", run_dir()},
            {"stateDir", state_dir()}};
  }
  static Answer run(const cni::Environment& environment, const std::string& input) {
    std::istringstream stream(input);
    const auto outcome = cni::run(environment, stream);
    return {json::parse(outcome.output, nullptr, false), outcome.exit_code};
  }
  Answer run(const std::string& command, const std::string& version = "1.1.0") const {
    return run(environment(command), configuration(version).dump());
  }
  static void expect_error(const Answer& answer, unsigned code, const std::string& message) {
    EXPECT_EQ(answer.exit_code, 1);
    EXPECT_EQ(answer.output["code"], code);
    EXPECT_EQ(answer.output["msg"], message);
    EXPECT_TRUE(answer.output["cniVersion"].is_string());
  }
  TemporaryFolder folder;
};

TEST_F(Shim, NamesMissingVariables) {
  expect_error(run(cni::Environment{}, ""), 4, "required env variables [CNI_COMMAND] missing");
  expect_error(run({{"CNI_COMMAND", "ADD"}}, ""), 4,
               "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH] missing");
  expect_error(run({{"CNI_COMMAND", "DEL"}, {"CNI_NETNS", ""}}, ""), 4,
               "required env variables [CNI_CONTAINERID,CNI_IFNAME,CNI_PATH] missing");
  expect_error(run({{"CNI_COMMAND", "STATUS"}}, ""), 4,
               "required env variables [CNI_PATH] missing");
}

TEST_F(Shim, RefusesBadConfigurationsInTheOrderOfTheReference) {
  const auto add = environment("ADD");
  expect_error(run(add, "{"), 6, "network configuration is no JSON object");
  expect_error(run(add, "[]"), 6, "network configuration is no JSON object");
  expect_error(run(add, R"({"cniVersion":1,"name":"x"})"), 6, "cniVersion: is not a string");
  expect_error(run(add, R"({"cniVersion":"9.0.0"})"), 7, "name: is missing");
  expect_error(run(add, R"({"cniVersion":"1.0.0","name":"a b"})"), 7,
               "name: \"a b\" holds other characters than letters, digits, _ . and -");
  expect_error(run(add, R"({"name":"x"})"), 1,
               "incompatible CNI versions: cniVersion is \"0.1.0\", podwire-cni speaks 0.3.0, "
               "0.3.1, 0.4.0, 1.0.0, 1.1.0");
  expect_error(run("CHECK", "0.3.1"), 1, "CHECK does not exist in cniVersion 0.3.1");
  expect_error(run("GC", "1.0.0"), 1, "GC does not exist in cniVersion 1.0.0");
  expect_error(run("STATUS", "1.0.0"), 1, "STATUS does not exist in cniVersion 1.0.0");
  expect_error(run("MOVE"), 4, "unknown CNI_COMMAND: MOVE");
  auto relative = configuration();
  relative["runDir"] = "run";
  expect_error(run(add, relative.dump()), 7, "runDir: is not an absolute path");
}

TEST_F(Shim, RefusesBadNames) {
  auto bad = environment("ADD");
  bad["CNI_CONTAINERID"] = "../etc";
  expect_error(run(bad, configuration().dump()), 4,
               "CNI_CONTAINERID: \"../etc\" is not a container's ID");
  bad = environment("ADD");
  bad["CNI_IFNAME"] = "sixteencharacter";
  expect_error(run(bad, configuration().dump()), 4,
               "CNI_IFNAME: \"sixteencharacter\" is not an interface's name");
  bad["CNI_IFNAME"] = "eth0";
  bad["CNI_NETNS"] = "/proc/self/ns/net";
  expect_error(run(bad, configuration().dump()), 8,
               "CNI_NETNS: is the namespace the plugin itself runs in");
  bad["CNI_CONTAINERID"] = "\xff";
  EXPECT_EQ(run(bad, configuration().dump()).output["code"], 4);
  expect_error(run("CHECK"), 7, "prevResult: is missing, CHECK needs it");
  expect_error(run("GC"), 7, "cni.dev/valid-attachments: is missing");
}

TEST_F(Shim, TellsItsVersionsWithoutPodwired) {
  const auto answer = run({{"CNI_COMMAND", "VERSION"}}, R"({"cniVersion":"0.4.0"})");
  EXPECT_EQ(answer.exit_code, 0);
  EXPECT_EQ(answer.output["cniVersion"], "0.4.0");
  EXPECT_EQ(answer.output["supportedVersions"],
            (json{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}));
}

TEST_F(Shim, AddWithoutPodwiredAsksToTryLater) {
  const std::string sentence =
      "podwired does not answer at " + run_dir() + "/cni.sock; is it running?";
  expect_error(run("ADD"), 11, sentence);
  expect_error(run("STATUS"), 50, sentence);
}

TEST_F(Shim, DelWithoutPodwiredIsNoted) {
  auto without_netns = environment("DEL");
  without_netns.erase("CNI_NETNS");
  const auto answer = run(without_netns, configuration().dump());
  EXPECT_EQ(answer.exit_code, 0);
  std::ifstream note(state_dir() + "/pending-deletes/c1-eth0.json");
  std::string line, error;
  std::getline(note, line);
  const auto request = cni::parse_request(line, error);
  ASSERT_TRUE(request) << error;
  EXPECT_EQ(request->command, "DEL");
  EXPECT_EQ(request->container_id, "c1");
}

TEST_F(Shim, DelThatCannotBeNotedFails) {
  std::ofstream(state_dir()) << "a file where the folder should be";
  const auto answer = run("DEL");
  EXPECT_EQ(answer.exit_code, 1);
  EXPECT_EQ(answer.output["code"], 11);
}

// A peer on the socket that does as it is told with one connection.
class Peer {
 public:
  Peer(const std::string& path, std::function<void(int)> with) {
    listener_ = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(listener_, 1), 0);
    thread_ = std::thread([this, with] {
      const int connection = accept(listener_, nullptr, nullptr);
      with(connection);
      close(connection);
    });
  }
  ~Peer() {
    thread_.join();
    close(listener_);
  }

 private:
  int listener_;
  std::thread thread_;
};

void read_line(int connection) {
  char byte = 0;
  while (read(connection, &byte, 1) == 1 && byte != '\n') {
  }
}

TEST_F(Shim, RefusesCapabilitiesThatItDoesNotHave) {
  const auto refused = [&](const json& runtime, unsigned code, const std::string& sentence) {
    auto config = configuration();
    config["runtimeConfig"] = runtime;
    expect_error(run(environment("ADD"), config.dump()), code, sentence);
  };
  refused(7, 7, "runtimeConfig: is not an object");
  refused({{"cgroupPath", "/x"}}, 2,
          "runtimeConfig.cgroupPath: \"/x\" is of a capability that podwire-cni does not have");
  refused({{"deviceID", 7}}, 7, "runtimeConfig.deviceID is not a string");
  refused({{"ips", "10.0.0.1"}}, 7, "runtimeConfig.ips is not a list");
  refused({{"ips", {7}}}, 7, "runtimeConfig.ips[0] is not a string");
  refused({{"mac", 7}}, 7, "runtimeConfig.mac is not a string");
  refused({{"portMappings", {{{"hostPort", 65536}}}}}, 7,
          "runtimeConfig.portMappings[0].hostPort 65536 is not a number from 0 to 65535");
  refused({{"portMappings", {{{"HostPort", 65537}}}}}, 7,  // as containerd spells it
          "runtimeConfig.portMappings[0].hostPort 65537 is not a number from 0 to 65535");
  refused({{"CNIDeviceInfoFile", "device.json"}}, 7,
          "runtimeConfig.CNIDeviceInfoFile is not an absolute path");
  refused({{"bandwidth", 7}}, 7, "runtimeConfig.bandwidth is not an object");
  refused({{"bandwidth", {{"egressRate", -1}}}}, 7,
          "runtimeConfig.bandwidth.egressRate -1 is not a number from 0 to 18446744073709551615");
  refused({{"bandwidth", {{"IngressBurst", "10M"}}}}, 7,  // as containerd spells it
          "runtimeConfig.bandwidth.ingressBurst \"10M\" is not a number from 0 to "
          "18446744073709551615");
  // What is harmless passes as far as podwired, which is not there.
  refused({{"io.kubernetes.cri.pod-annotations", {{"a", "b"}}}, {"deviceID", "fast-0"}}, 11,
          "podwired does not answer at " + run_dir() + "/cni.sock; is it running?");
}

TEST_F(Shim, RefusesBadResultsOfEarlierPlugins) {
  const auto refused = [&](const json& previous, const std::string& sentence) {
    auto config = configuration();
    config["prevResult"] = previous;
    expect_error(run(environment("ADD"), config.dump()), 7, sentence);
  };
  refused(7, "prevResult is not an object");
  refused({{"cniVersion", "0.2.0"}},
          "prevResult.cniVersion is \"0.2.0\", which podwire-cni does not speak");
  refused({{"ips", {{{"address", 7}}}}}, "prevResult.ips[0].address is missing");
  refused({{"ips", {{{"address", "10.0.0.1/8"}, {"interface", 1}}}}},
          "prevResult.ips[0].interface is not the place of an interface");
  refused({{"routes", {7}}}, "prevResult.routes[0] is not an object");
  refused({{"interfaces", {{{"name", "eth0"}, {"sandbox", "/proc/1/ns/uts"}}}}},
          "prevResult: an earlier plugin has made the interface eth0 already");
}

TEST_F(Shim, RefusesIpamThatIsNoPlugin) {
  const auto refused = [&](const json& ipam, const std::string& sentence) {
    auto config = configuration();
    config["ipam"] = ipam;
    expect_error(run(environment("ADD"), config.dump()), 7, sentence);
  };
  refused(7, "ipam: is not an object");
  refused({{"type", 7}}, "ipam.type: is not a string");
  refused({{"type", "../sh"}}, "ipam.type: \"../sh\" is not the name of a plugin");
  refused({{"type", "nothing"}},
          "ipam.type: there is no plugin \"nothing\" in CNI_PATH /opt/cni/bin");
  EXPECT_TRUE(std::filesystem::is_empty(state_dir() + "/made-by-plugin"));
}

// An IPAM plugin of a few lines of shell, for what the real ones cannot be made to do.
TEST_F(Shim, IpamThatBreaksIsNamedAndToldToTakeBack) {
  const std::string log = folder.path + "/log";
  const auto refused = [&](const std::string& program, unsigned code, const std::string& sentence) {
    std::filesystem::remove(log);
    const std::string path = folder.path + "/broken";
    std::ofstream(path) << "#!/bin/sh\necho $CNI_COMMAND >>" << log
                        << "\n[ $CNI_COMMAND = DEL ] && exit\n"
                        << program << "\n";
    std::filesystem::permissions(path, std::filesystem::perms::all);
    auto config = configuration();
    config["ipam"] = {{"type", "broken"}};
    auto add = environment("ADD");
    add["CNI_PATH"] = "/nowhere:" + folder.path;
    expect_error(run(add, config.dump()), code, sentence);
    std::ifstream said(log);
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(said), {}), "ADD\nDEL\n") << program;
    EXPECT_TRUE(std::filesystem::is_empty(state_dir() + "/made-by-plugin"));
  };
  refused("exit 3", 999, "ipam broken: ends with exit code 3");
  refused("kill -9 $$", 999, folder.path + "/broken: died of Killed");
  refused("echo no JSON", 6, "ipam broken: its result is not an object");
  refused("echo '{\"code\":11,\"msg\":\"full\",\"details\":\"of pods\"}'; exit 1", 11,
          "ipam broken: full: of pods");
  refused("echo '{\"ips\":[]}'", 7, "ipam broken: its result has no address");
  refused("echo '{\"ips\":[{\"address\":\"10.0.0.1/8\"},{\"address\":\"10.0.0.2/8\"}]}'", 7,
          "ipam broken: its result has two addresses of one family, 10.0.0.2/8 is one of them: a "
          "port of podwire has one");
  refused("echo '{\"ips\":[{\"address\":\"10.0.0.1/8\"}]}'", 11,
          "podwired does not answer at " + run_dir() + "/cni.sock; is it running?");
}

TEST_F(Shim, PeerThatHangsUpIsTriedLater) {
  const Peer peer(run_dir() + "/cni.sock", [](int connection) { read_line(connection); });
  expect_error(run("ADD"), 11, run_dir() + "/cni.sock: podwired hung up before it answered");
}

TEST_F(Shim, NonsenseFromThePeerIsTriedLater) {
  const Peer peer(run_dir() + "/cni.sock", [](int connection) {
    read_line(connection);
    EXPECT_EQ(write(connection, "[]\n", 3), 3);
  });
  expect_error(run("ADD"), 11, run_dir() + "/cni.sock: podwired's answer makes no sense");
}

TEST_F(Shim, AddWithoutResultIsAnInternalError) {
  const Peer peer(run_dir() + "/cni.sock", [](int connection) {
    read_line(connection);
    EXPECT_EQ(write(connection, "{\"code\":0}\n", 11), 11);
  });
  expect_error(run("ADD"), 999, "podwired's result is not an object");
}

// podwired's server on a thread of its own, with a loop that publishes whenever somebody waits.
class WithServer : public Shim {
 protected:
  WithServer() {
    bench.config.run_dir = run_dir();
    bench.config.dataplane.pod_mtu = 1400;
    const auto nothing = [](const PodSide&) -> Result<void> { return {}; };
    const auto clear = [](const PodSide&) {};
    LoopHooks hooks = bench.hooks();
    hooks.when_in_force = [this](std::function<void()> call) {
      bench.waiting.push_back(std::move(call));
      boost::asio::post(io, [this] { bench.settle(); });
    };
    attacher = std::make_unique<Attacher>(bench.state, hooks,
                                          Attacher::PodSideActions{nothing, nothing, clear});
    EXPECT_TRUE(attacher->restore());
    server = std::make_unique<CniServer>(io, run_dir(), *attacher);
    const auto listening = server->listen();
    EXPECT_TRUE(listening) << listening.error().message;
    thread = std::thread([this] { io.run(); });
  }
  ~WithServer() override {
    work.reset();
    io.stop();
    thread.join();
  }
  Bench bench;
  boost::asio::io_context io;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work{io.get_executor()};
  std::unique_ptr<Attacher> attacher;
  std::unique_ptr<CniServer> server;
  std::thread thread;
};

TEST_F(WithServer, AddGivesTheResultInTheCallersVersion) {
  Answer answer = run("ADD", "1.1.0");
  ASSERT_EQ(answer.exit_code, 0) << answer.output;
  EXPECT_EQ(answer.output["cniVersion"], "1.1.0");
  EXPECT_EQ(answer.output["interfaces"][0]["mtu"], 1400);
  EXPECT_EQ(answer.output["interfaces"][0]["sandbox"], "/proc/1/ns/uts");
  EXPECT_FALSE(answer.output["ips"][0].contains("version"));
  EXPECT_EQ(answer.output["ips"][0]["interface"], 0);

  answer = run("ADD", "1.0.0");
  EXPECT_EQ(answer.output["cniVersion"], "1.0.0");
  EXPECT_FALSE(answer.output["interfaces"][0].contains("mtu"));

  answer = run("ADD", "0.3.1");
  EXPECT_EQ(answer.output["cniVersion"], "0.3.1");
  EXPECT_EQ(answer.output["ips"][0]["version"], "4");
  EXPECT_EQ(answer.output["ips"][1]["version"], "6");
  EXPECT_FALSE(answer.output["interfaces"][0].contains("mtu"));
}

TEST_F(WithServer, WholeLifeOfAPod) {
  const Answer added = run("ADD");
  ASSERT_EQ(added.exit_code, 0) << added.output;
  auto with_result = configuration();
  with_result["prevResult"] = added.output;
  Answer answer = run(environment("CHECK"), with_result.dump());
  EXPECT_EQ(answer.exit_code, 0) << answer.output;
  EXPECT_TRUE(answer.output.is_discarded()) << "CHECK says nothing";
  auto gc = configuration();
  gc["cni.dev/valid-attachments"] = {{{"containerID", "c1"}, {"ifname", "eth0"}}};
  EXPECT_EQ(run(environment("GC"), gc.dump()).exit_code, 0);
  EXPECT_EQ(run(environment("CHECK"), with_result.dump()).exit_code, 0);
  EXPECT_EQ(run("STATUS").exit_code, 0);
  EXPECT_EQ(run("DEL").exit_code, 0);
  EXPECT_EQ(run("DEL").exit_code, 0);
  answer = run(environment("CHECK"), with_result.dump());
  expect_error(answer, 3, "container c1 has no attachment eth0");
}

TEST_F(WithServer, DeviceInfoFileLivesAsLongAsItsPort) {
  const std::string path = folder.path + "/devinfo/cni/c1.json";
  const std::string note = state_dir() + "/made-by-plugin/c1-eth0.json";
  auto config = configuration("1.0.0");
  config["port"] = {{"kind", "memif"}};
  config["runtimeConfig"] = {{"CNIDeviceInfoFile", path}};
  const auto holds = [&] { return json::parse(std::ifstream(path), nullptr, false); };
  const Answer added = run(environment("ADD"), config.dump());
  ASSERT_EQ(added.exit_code, 0) << added.output;
  EXPECT_FALSE(added.output["interfaces"][0].contains("socketPath")) << "of 1.1.0";
  EXPECT_FALSE(added.output.contains("deviceInfo"));
  EXPECT_EQ(holds().dump(), R"({"memif":{"mode":"ethernet","path":"@podwire/eth0","role":"slave"},)"
                            R"("type":"memif","version":"1.1.0"})");
  // DEL need not name it again; a port kind that means nothing now keeps no pod from its end.
  auto wrong = configuration("1.0.0");
  wrong["port"] = {{"kidn", "memif"}};
  expect_error(run(environment("ADD"), wrong.dump()), 7, "port.kidn is no option of a port");
  EXPECT_EQ(run(environment("DEL"), wrong.dump()).exit_code, 0);
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_FALSE(std::filesystem::exists(note));
  EXPECT_TRUE(std::filesystem::is_empty(path.substr(0, path.rfind('/'))));

  // GC too.
  ASSERT_EQ(run(environment("ADD"), config.dump()).exit_code, 0);
  auto gc = configuration();
  gc["cni.dev/valid-attachments"] = json::array();
  EXPECT_EQ(run(environment("GC"), gc.dump()).exit_code, 0);
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_TRUE(bench.state.attachments.empty());

  // A kernel interface has no such file.
  config.erase("port");
  ASSERT_EQ(run(environment("ADD"), config.dump()).exit_code, 0);
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_FALSE(std::filesystem::exists(note));
}

TEST_F(WithServer, DeviceInfoFileThatCannotBeWrittenUndoesTheAdd) {
  const std::string path = folder.path + "/taken";
  std::filesystem::create_directories(path + "/by a folder");
  auto config = configuration();
  config["port"] = "memif";
  config["runtimeConfig"] = {{"CNIDeviceInfoFile", path}};
  expect_error(run(environment("ADD"), config.dump()), 5,
               "CNIDeviceInfoFile: " + path + ": Is a directory");
  EXPECT_TRUE(bench.state.attachments.empty());
  EXPECT_FALSE(std::filesystem::exists(path + ".podwire-new"));
  EXPECT_TRUE(std::filesystem::is_empty(state_dir() + "/made-by-plugin"));
}

TEST_F(WithServer, PassesPodwiredsSentenceOn) {
  auto unknown = environment("ADD");
  unknown["CNI_ARGS"] = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=nobody";
  expect_error(run(unknown, configuration().dump()), 11,
               "Pod default/nobody is not known to podwired yet");
}

TEST_F(WithServer, ManyPluginsAtOnceGetAddressesOfTheirOwn) {
  std::vector<std::thread> plugins;
  std::vector<Answer> answers(6);
  for (unsigned i = 0; i < answers.size(); ++i) {
    plugins.emplace_back([&, i] {
      auto own = environment("ADD");
      own["CNI_CONTAINERID"] = "c" + std::to_string(i);
      own.erase("CNI_ARGS");
      answers[i] = run(own, configuration().dump());
    });
  }
  for (auto& plugin : plugins) plugin.join();
  std::set<std::string> given;
  for (const auto& answer : answers) {
    ASSERT_EQ(answer.exit_code, 0) << answer.output;
    EXPECT_TRUE(given.insert(answer.output["ips"][0]["address"].get<std::string>()).second);
  }
}

TEST(Protocol, RefusesWhatIsNotARequest) {
  const auto error_of = [](const std::string& line) {
    std::string error;
    EXPECT_FALSE(cni::parse_request(line, error)) << line;
    return error;
  };
  EXPECT_EQ(error_of(""), "the request is not a JSON object");
  EXPECT_EQ(error_of("{}"), "command \"\" is not known");
  EXPECT_EQ(error_of(R"({"command":7})"), "command is not a string");
  EXPECT_EQ(error_of(R"({"command":"DEL","containerId":"a/b","ifname":"e"})"),
            "containerId \"a/b\" is not a container's ID");
  EXPECT_EQ(error_of(R"({"command":"DEL","containerId":"a","ifname":".."})"),
            "ifname \"..\" is not an interface's name");
  EXPECT_EQ(error_of(R"({"command":"ADD","containerId":"a","ifname":"e","netns":"x"})"),
            "netns \"x\" is not an absolute path");
  EXPECT_EQ(error_of(R"({"command":"ADD","containerId":"a","ifname":"e","netns":"/a\u0000"})"),
            "netns holds a zero byte");
  EXPECT_EQ(error_of(R"({"command":"GC","valid":[7]})"),
            "valid holds something that is not an object");
  EXPECT_EQ(error_of(R"({"command":"CHECK","addresses":{}})"), "addresses is not a list");
}

TEST(Protocol, GcAndStatusAreAboutNoSingleAttachment) {
  for (const std::string command : {"GC", "STATUS"}) {
    std::string error;
    const auto request = cni::parse_request(
        R"({"containerId":"../a","ifname":"/e","netns":"x","command":")" + command + "\"}", error);
    ASSERT_TRUE(request) << error;
    EXPECT_EQ(request->container_id + request->interface + request->netns, "") << command;
  }
}

}  // namespace
}  // namespace podwire::control
