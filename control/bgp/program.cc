#include "control/bgp/program.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <cstring>

namespace podwire::control::bgp {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

constexpr auto kLongest = std::chrono::seconds(10);
constexpr std::size_t kMostOutput = 16 * 1024;

// The caller's signal mask is podwired's own, which blocks what DPDK and asio want blocked.
Result<pid_t> spawn(const std::vector<std::string>& command, int output) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_t pid = 0;
  const int error =
      posix_spawn(&pid, arguments[0], &actions, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return fail(command[0] + " cannot be started: " + std::strerror(error));
  return pid;
}

}  // namespace

struct Program::Running : std::enable_shared_from_this<Running> {
  Running(asio::io_context& io, int reading, pid_t child, std::function<void(End)> told)
      : output(io, reading), limit(io), pid(child), ended(std::move(told)) {}

  asio::posix::stream_descriptor output;
  asio::steady_timer limit;
  pid_t pid;
  std::function<void(End)> ended;
  std::array<char, 1024> piece{};
  std::string text;

  void begin() {
    limit.expires_after(kLongest);
    limit.async_wait([self = shared_from_this()](error_code error) {
      if (!error) self->kill_now();
    });
    read();
  }
  void kill_now() const {
    if (pid > 0) kill(pid, SIGKILL);
  }
  // Its output ends when it does, or a moment before.
  void read() {
    output.async_read_some(asio::buffer(piece),
                           [self = shared_from_this()](error_code error, std::size_t count) {
                             if (error) return self->finish();
                             if (self->text.size() < kMostOutput) {
                               self->text.append(self->piece.data(), count);
                             }
                             self->read();
                           });
  }
  void finish() {
    if (pid <= 0) return;
    int status = 0;
    // It has closed its output, so that this waits for its exit alone.
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    pid = 0;
    limit.cancel();
    if (const auto told = std::exchange(ended, nullptr)) {
      told({WIFEXITED(status) ? WEXITSTATUS(status) : -1, std::move(text)});
    }
  }
};

Result<std::unique_ptr<Program>> Program::start(asio::io_context& io,
                                                const std::vector<std::string>& command,
                                                std::function<void(End)> ended) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail(std::string("pipe: ") + std::strerror(errno));
  auto pid = spawn(command, ends[1]);
  close(ends[1]);
  if (!pid) {
    close(ends[0]);
    return tl::unexpected(pid.error());
  }
  auto running = std::make_shared<Running>(io, ends[0], *pid, std::move(ended));
  running->begin();
  return std::unique_ptr<Program>(new Program(std::move(running)));
}

Program::~Program() {
  running_->ended = nullptr;
  running_->kill_now();
  running_->finish();
  error_code ignored;
  running_->output.close(ignored);
}

}  // namespace podwire::control::bgp
