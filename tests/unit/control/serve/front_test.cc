// The sockets of a whole Front, on real connections.
#ifndef __clang__  // gcc 12 sees uninitialised reads inside std::regex when sanitizers are on
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include "control/serve/front.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio.hpp>
#include <regex>
#include <thread>

#include "control/ctl/client.h"
#include "control/serve/http.h"
#include "control/serve/metrics.h"
#include "control/serve/service_manager.h"
#include "tests/unit/control/fake_dataplane.h"

namespace podwire::control {
namespace {

using boost::asio::ip::tcp;

std::string http(std::uint16_t port, const std::string& request) {
  boost::asio::io_context io;
  tcp::socket socket(io);
  socket.connect({boost::asio::ip::make_address("127.0.0.1"), port});
  boost::asio::write(socket, boost::asio::buffer(request));
  std::string answer;
  boost::system::error_code end;
  boost::asio::read(socket, boost::asio::dynamic_buffer(answer), end);
  return answer;
}
std::string get(std::uint16_t port, const std::string& path) {
  return http(port, "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n");
}

class HttpTest : public testing::Test {
 protected:
  HttpTest() : server(io, [](const std::string& path) { return Page{.body = "page " + path}; }) {
    const auto done = server.listen(*parse_listen_address("127.0.0.1:0"));
    EXPECT_TRUE(done) << done.error().message;
    port = server.port();
    thread = std::thread([this] { io.run(); });
  }
  ~HttpTest() override {
    io.stop();
    thread.join();
  }
  boost::asio::io_context io;
  HttpServer server;
  std::uint16_t port = 0;
  std::thread thread;
};

TEST_F(HttpTest, AnswersGetAndHead) {
  std::string answer = get(port, "/a?b=c");
  EXPECT_EQ(answer.rfind("HTTP/1.1 200 OK\r\n", 0), 0U) << answer;
  EXPECT_NE(answer.find("\r\n\r\npage /a"), std::string::npos);
  EXPECT_EQ(answer.find("b=c"), std::string::npos);
  answer = http(port, "HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_NE(answer.find("Content-Length: 7\r\n"), std::string::npos) << answer;
  EXPECT_EQ(answer.find("page"), std::string::npos);
}

TEST_F(HttpTest, RefusesWhatItDoesNotServe) {
  EXPECT_EQ(http(port, "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n").rfind("HTTP/1.1 405", 0),
            0U);
  EXPECT_EQ(http(port, "nonsense\r\n\r\n").rfind("HTTP/1.1 400", 0), 0U);
  EXPECT_EQ(http(port, "GET / HTTP/1.1\r\nX: " + std::string(10000, 'x') + "\r\n\r\n")
                .rfind("HTTP/1.1 400", 0),
            0U);
  EXPECT_EQ(get(port, "/").rfind("HTTP/1.1 200", 0), 0U);
}

TEST_F(HttpTest, SaysThatItsPortIsTaken) {
  HttpServer second(io, [](const std::string&) { return Page{}; });
  const std::string text = "127.0.0.1:" + std::to_string(port);
  EXPECT_EQ(second.listen(*parse_listen_address(text)).error().message,
            text + " is in use by another program");
}

TEST(Metrics, AreWellFormedAndTellTheCounters) {
  Bench bench;
  bench.dataplane.add_worker();
  auto& counters = *bench.dataplane.worker_counters[1];
  counters.drops[static_cast<std::size_t>(Reason::too_big)].add(5);
  bench.dataplane.worker_counters[0]->drops[static_cast<std::size_t>(Reason::too_big)].add(2);
  counters.received.add(9);
  bench.state.attachments.resize(1);
  bench.state.attachments[0].port = std::make_shared<FakePort>();
  bench.publish();
  counters.ports[2].rx_packets.add(4);
  Sampler sampler(bench.dataplane);
  const ProxyHealth health(bench.state, sampler);
  const std::string text = Metrics(bench.state, sampler, health).text();
  for (const char* line :
       {"podwire_drops_total{reason=\"too_big\"} 7", "podwire_packets_received_total 9",
        "podwire_port_packets_total{role=\"pod\",direction=\"in\"} 4",
        "podwire_ports_up{role=\"pod\"} 1", "podwire_table_used{table=\"flows_v4\"} 7",
        "podwire_table_limit{table=\"flows_v4\"} 1024", "podwire_synced 1",
        "podwire_events_lost_total 3"}) {
    EXPECT_NE(text.find(std::string(line) + "\n"), std::string::npos) << line << "\n" << text;
  }
  for (std::size_t i = 1; i < kReasons; ++i) {
    EXPECT_NE(text.find("reason=\"" + std::string(kReasonNames[i]) + "\""), std::string::npos);
  }
  // Every family has its help and type; counters end in _total and nothing else does.
  std::istringstream lines(text);
  std::set<std::string> helped;
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_match(line, match, std::regex("# HELP (\\S+) \\S.*"))) helped.insert(match[1]);
    if (std::regex_match(line, match, std::regex("# TYPE (podwire_\\S+) (counter|gauge)"))) {
      EXPECT_TRUE(helped.contains(match[1])) << line;
      EXPECT_EQ(match[1].str().ends_with("_total"), match[2] == "counter") << line;
    }
  }
  EXPECT_GT(helped.size(), 30U);
}

TEST(Sampler, SeesSharesRatesAndStuckWorkers) {
  FakeDataplane dataplane;
  dataplane.add_worker();
  Sampler sampler(dataplane);
  sampler.sample(0);
  EXPECT_EQ(sampler.busy_share(0), 0);
  EXPECT_EQ(sampler.per_second(0, 100), 0);
  dataplane.worker_counters[0]->busy_cycles.add(300);
  dataplane.worker_counters[0]->idle_cycles.add(100);
  sampler.sample(0);
  EXPECT_DOUBLE_EQ(sampler.busy_share(0), 0.75);
  EXPECT_GT(sampler.per_second(0, 100), 0);
  EXPECT_EQ(sampler.busy_share(9), 0);
  EXPECT_EQ(sampler.stuck_worker(), -1);
}

// $NOTIFY_SOCKET, as systemd gives it.
class NotifySocket {
 public:
  explicit NotifySocket(const std::string& path) {
    descriptor_ = socket(AF_UNIX, SOCK_DGRAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(bind(descriptor_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    setenv("NOTIFY_SOCKET", path.c_str(), 1);
  }
  ~NotifySocket() {
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    close(descriptor_);
  }
  // What has been told so far; nothing: "".
  std::string next() {
    char text[256];
    const auto size = recv(descriptor_, text, sizeof text, MSG_DONTWAIT);
    return size < 0 ? "" : std::string(text, static_cast<std::size_t>(size));
  }

 private:
  int descriptor_;
};

TEST(ServiceManager, ReadsTheWatchdogMeantForThisProcess) {
  const TemporaryFolder folder;
  const NotifySocket socket(folder.path + "/notify");
  EXPECT_FALSE(ServiceManager().watchdog_interval());
  setenv("WATCHDOG_USEC", "3000000", 1);
  EXPECT_EQ(ServiceManager().watchdog_interval(), std::chrono::microseconds(1500000));
  setenv("WATCHDOG_PID", "1", 1);
  EXPECT_FALSE(ServiceManager().watchdog_interval());
  setenv("WATCHDOG_PID", std::to_string(getpid()).c_str(), 1);
  EXPECT_TRUE(ServiceManager().watchdog_interval());
}

class FrontTest : public testing::Test {
 protected:
  FrontTest() {
    bench.config.metrics_address = "127.0.0.1:" + std::to_string(free_port());
    front = std::make_unique<Front>(io, bench.state, bench.hooks());
  }
  static std::uint16_t free_port() {
    boost::asio::io_context io;
    return tcp::acceptor(io, {tcp::v4(), 0}).local_endpoint().port();
  }
  std::uint16_t port() const { return parse_listen_address(bench.config.metrics_address)->port; }
  // Runs the loop in this thread until `question`, asked in another, is answered.
  template <typename Question>
  auto answer_to(Question question) {
    decltype(question()) answer;
    boost::asio::executor_work_guard work(io.get_executor());
    std::thread asking([&] {
      answer = question();
      boost::asio::post(io, [&] { io.stop(); });
    });
    io.run();
    io.restart();
    asking.join();
    return answer;
  }
  Bench bench;
  StoreWriter writer{bench.state.store};
  boost::asio::io_context io;
  std::unique_ptr<Front> front;
};

TEST_F(FrontTest, TellsTheManagerOnceWhenReady) {
  NotifySocket socket(bench.folder.path + "/notify");
  setenv("WATCHDOG_USEC", "60000000", 1);
  front = std::make_unique<Front>(io, bench.state, bench.hooks());
  ASSERT_TRUE(front->start());
  EXPECT_EQ(socket.next(), "WATCHDOG=1");
  bench.state.store.synced = false;
  bench.publish();
  front->published({}, writer);
  EXPECT_EQ(socket.next(), "");
  bench.state.store.synced = true;
  bench.publish();
  front->published({}, writer);
  EXPECT_EQ(socket.next(), "READY=1");
  front->published({}, writer);
  EXPECT_EQ(socket.next(), "");
  front->stop();
  EXPECT_EQ(socket.next(), "STOPPING=1");
  front->stop();
  EXPECT_EQ(socket.next(), "");
}

TEST_F(FrontTest, ServesHealthAndReadiness) {
  ASSERT_TRUE(front->start());
  const auto page = [&](const char* path) {
    return answer_to([&] { return get(port(), path); }).substr(9, 3);
  };
  EXPECT_EQ(page("/healthz"), "200");
  EXPECT_EQ(page("/readyz"), "200");
  EXPECT_EQ(page("/metrics"), "200");
  EXPECT_EQ(page("/other"), "404");
  bench.state.store.synced = false;
  EXPECT_EQ(page("/readyz"), "503");
  EXPECT_EQ(page("/healthz"), "200");
}

TEST_F(FrontTest, AnswersPodwirectlAndTakesItsSocketsAway) {
  ASSERT_TRUE(front->start());
  const auto ask = [&](const nlohmann::json& request) {
    return answer_to([&] { return ctl::ask(bench.config.run_dir, request); });
  };
  const auto status = ask({{"command", "status"}});
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ((*status)["node"], "n1");
  EXPECT_EQ(ask({{"command", "fly"}}).error().message,
            "command \"fly\" is not known to this podwired");
  front->stop();
  EXPECT_FALSE(std::filesystem::exists(bench.config.run_dir + "/podwired.sock"));
  EXPECT_FALSE(std::filesystem::exists(bench.config.run_dir + "/cni.sock"));
  const auto gone = ctl::ask(bench.config.run_dir, {{"command", "status"}});
  EXPECT_EQ(gone.error().message.rfind("podwired does not answer at " + bench.config.run_dir, 0),
            0U);
}

TEST_F(FrontTest, NamesTheKeyOfAnAddressThatIsTaken) {
  const std::string taken = bench.config.metrics_address;
  ASSERT_TRUE(front->start());
  Bench other;
  other.config.healthz_address = taken;
  Front second(io, other.state, other.hooks());
  EXPECT_EQ(second.start().error().message,
            "healthz-address: " + taken +
                " is in use by another program; choose another port, or leave it empty");
}

TEST_F(FrontTest, StartFailsWithOneSentence) {
  bench.config.run_dir = "/proc/nowhere";
  Front front(io, bench.state, bench.hooks());
  EXPECT_EQ(front.start().error().message.rfind("run-dir: /proc/nowhere cannot be made: ", 0), 0U);
}

}  // namespace
}  // namespace podwire::control
