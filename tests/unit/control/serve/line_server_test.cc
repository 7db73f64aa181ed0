#include "control/serve/line_server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio.hpp>
#include <fstream>
#include <future>
#include <thread>

#include "tests/unit/control/fake_dataplane.h"

namespace podwire::control {
namespace {

int connect_to(const std::string& path) {
  const int descriptor = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  EXPECT_EQ(connect(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  return descriptor;
}

class LineServerTest : public testing::Test {
 protected:
  void TearDown() override { stop(); }

  void serve(LineServerOptions options, LineServer::Handler handler) {
    options.path = path();
    server = std::make_unique<LineServer>(io, options, std::move(handler),
                                          [](const std::string& s) { return "refused: " + s; });
    const auto listening = server->listen();
    ASSERT_TRUE(listening) << listening.error().message;
    thread = std::thread([this] { io.run(); });
  }
  void stop() {
    if (!thread.joinable()) return;
    boost::asio::post(io, [this] { server.reset(); });
    thread.join();
  }
  // Writes and reads to the end.
  std::string talk(const std::string& text) {
    const int descriptor = connect_to(path());
    EXPECT_EQ(send(descriptor, text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
    return rest_of(descriptor);
  }
  static std::string rest_of(int descriptor) {
    std::string answer;
    char chunk[1024];
    for (ssize_t size; (size = read(descriptor, chunk, sizeof chunk)) > 0;) {
      answer.append(chunk, static_cast<std::size_t>(size));
    }
    close(descriptor);
    return answer;
  }
  std::string path() const { return folder.path + "/s.sock"; }

  TemporaryFolder folder;
  boost::asio::io_context io;
  std::unique_ptr<LineServer> server;
  std::thread thread;
};

const LineServer::Handler kEcho = [](const std::string& line, const LineServer::Reply& reply) {
  reply("<" + line + ">");
};

TEST_F(LineServerTest, AnswersOneLineAConnection) {
  serve({}, kEcho);
  EXPECT_EQ(talk("one\ntwo\n"), "<one>\n");
  EXPECT_EQ(talk("\n"), "<>\n");
  struct stat socket_stat {};
  ASSERT_EQ(stat(path().c_str(), &socket_stat), 0);
  EXPECT_EQ(socket_stat.st_mode & 0777U, 0600U);
  stop();
  EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(LineServerTest, TakesALineInPieces) {
  serve({}, kEcho);
  const int descriptor = connect_to(path());
  for (const char byte : std::string("piece")) EXPECT_EQ(write(descriptor, &byte, 1), 1);
  EXPECT_EQ(write(descriptor, "\n", 1), 1);
  EXPECT_EQ(rest_of(descriptor), "<piece>\n");
}

TEST_F(LineServerTest, RefusesALineThatIsTooLong) {
  serve({.longest_line = 10}, kEcho);
  EXPECT_EQ(talk("0123456789\n"), "<0123456789>\n");
  EXPECT_EQ(talk("0123456789x\n"), "refused: a request is at most 10 bytes long\n");
  EXPECT_EQ(talk("0123456789x"), "refused: a request is at most 10 bytes long\n");
}

// What another user gets: how connecting fails, or all that it reads.
std::string as_nobody(const std::string& path) {
  int answer[2];
  EXPECT_EQ(pipe(answer), 0);
  const pid_t child = fork();
  if (child == 0) {
    constexpr uid_t kNobody = 65534;
    std::string text = "is still root";
    if (setgid(kNobody) == 0 && setuid(kNobody) == 0) {
      const int descriptor = socket(AF_UNIX, SOCK_STREAM, 0);
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
      if (connect(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
        text = std::strerror(errno);
      } else {
        text.clear();
        (void)!send(descriptor, "x\n", 2, MSG_NOSIGNAL);
        char byte = 0;
        while (read(descriptor, &byte, 1) == 1) text += byte;
      }
    }
    (void)!write(answer[1], text.data(), text.size());
    _exit(0);
  }
  close(answer[1]);
  std::string text;
  for (char byte = 0; read(answer[0], &byte, 1) == 1;) text += byte;
  close(answer[0]);
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
  return text;
}

// The socket's mode keeps others out; where it does not, their credentials do.
TEST_F(LineServerTest, ServesRootAlone) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to be another user";
  bool asked = false;
  serve({}, [&](const std::string& line, const LineServer::Reply& reply) {
    asked = true;
    reply(line);
  });
  ASSERT_EQ(chmod(folder.path.c_str(), 0755), 0);
  EXPECT_EQ(as_nobody(path()), std::strerror(EACCES));
  ASSERT_EQ(chmod(path().c_str(), 0666), 0);
  EXPECT_EQ(as_nobody(path()), "refused: only root may use " + path() + "\n");
  EXPECT_FALSE(asked);
  EXPECT_EQ(talk("y\n"), "y\n");
}

TEST_F(LineServerTest, ClosesASilentConnection) {
  serve({.idle_ms = 20}, kEcho);
  EXPECT_EQ(rest_of(connect_to(path())), "");
}

TEST_F(LineServerTest, AnswersLateAndNotAtAllAfterItsEnd) {
  LineServer::Reply late;
  serve({.idle_ms = 20}, [&](const std::string&, const LineServer::Reply& reply) { late = reply; });
  const int descriptor = connect_to(path());
  EXPECT_EQ(write(descriptor, "x\n", 2), 2);
  std::promise<void> seen;
  // Later than the idle time: that is for the peer's silence, not for ours.
  boost::asio::steady_timer timer(io);
  boost::asio::post(io, [&] {
    timer.expires_after(std::chrono::milliseconds(60));
    timer.async_wait([&](const boost::system::error_code&) {
      late("done");
      seen.set_value();
    });
  });
  seen.get_future().wait();
  EXPECT_EQ(rest_of(descriptor), "done\n");
  const int second = connect_to(path());
  EXPECT_EQ(write(second, "x\n", 2), 2);
  std::promise<void> asked;
  std::function<void()> look = [&] {
    late = nullptr;
    asked.set_value();
  };
  boost::asio::post(io, look);
  asked.get_future().wait();
  stop();
  EXPECT_EQ(rest_of(second), "");
  if (late) late("too late");
}

TEST_F(LineServerTest, RemovesAStaleSocketButNothingElse) {
  {
    const int stale = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path().c_str(), sizeof address.sun_path - 1);
    ASSERT_EQ(bind(stale, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    close(stale);
  }
  serve({}, kEcho);
  EXPECT_EQ(talk("x\n"), "<x>\n");
  const auto refusal = [](const std::string&) { return std::string(); };
  LineServer second(io, {.path = path()}, kEcho, refusal);
  EXPECT_EQ(second.listen().error().message,
            path() + ": another podwired serves it; stop that one or choose another run-dir");
  EXPECT_EQ(talk("x\n"), "<x>\n");
  std::ofstream(folder.path + "/file") << "x";
  LineServer third(io, {.path = folder.path + "/file"}, kEcho, refusal);
  EXPECT_EQ(third.listen().error().message,
            folder.path + "/file: is there and is no socket; remove it");
  LineServer fourth(io, {.path = folder.path + "/no/s"}, kEcho, refusal);
  EXPECT_FALSE(fourth.listen());
}

}  // namespace
}  // namespace podwire::control
