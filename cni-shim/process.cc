#include "cni-shim/process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <vector>

#include "cni-shim/descriptor.h"

namespace podwire::cni {
namespace {

constexpr std::size_t kLongestOutput = std::size_t{4} << 20;

bool make_pipe(Descriptor& reading, Descriptor& writing) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return false;
  reading.take(ends[0]);
  writing.take(ends[1]);
  return true;
}

std::vector<std::string> environment_with(const std::map<std::string, std::string>& changes) {
  std::vector<std::string> all;
  for (char** one = environ; *one != nullptr; ++one) {
    const std::string pair = *one;
    if (!changes.contains(pair.substr(0, pair.find('=')))) all.push_back(pair);
  }
  for (const auto& [name, value] : changes) all.push_back(name + "=" + value);
  return all;
}

// 0, or an errno.
int start(const std::string& path, const std::map<std::string, std::string>& changes, int input,
          int output, pid_t& child) {
  auto texts = environment_with(changes);
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (auto& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  std::string name = path;
  std::array<char*, 2> arguments{name.data(), nullptr};
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, input, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);  // ignored here, and that would be inherited
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  const int error =
      posix_spawn(&child, path.c_str(), &files, &attributes, arguments.data(), pointers.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  return error;
}

// Both at once: the program may write before it has read all. Returns what went wrong.
std::string talk(Descriptor& to, Descriptor& from, const std::string& input, std::string& output) {
  fcntl(to.get(), F_SETFL, O_NONBLOCK);
  if (input.empty()) to.close();
  for (std::size_t done = 0;;) {
    std::array<pollfd, 2> wait{pollfd{from.get(), POLLIN, 0}, pollfd{to.get(), POLLOUT, 0}};
    if (poll(wait.data(), wait.size(), -1) < 0 && errno != EINTR) return std::strerror(errno);
    if (wait[1].revents != 0) {
      const auto size = write(to.get(), input.data() + done, input.size() - done);
      if (size > 0) done += static_cast<std::size_t>(size);
      const bool again = size < 0 && (errno == EAGAIN || errno == EINTR);
      if (done == input.size() || (size <= 0 && !again)) to.close();
    }
    if (wait[0].revents == 0) continue;
    std::array<char, 4096> chunk{};
    const auto size = read(from.get(), chunk.data(), chunk.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return size < 0 ? std::strerror(errno) : "";
    output.append(chunk.data(), static_cast<std::size_t>(size));
    if (output.size() > kLongestOutput) return "writes more than 4 MiB";
  }
}

}  // namespace

Ended run_program(const std::string& path, const std::map<std::string, std::string>& changes,
                  const std::string& input) {
  Ended ended;
  std::signal(SIGPIPE, SIG_IGN);  // it may end before it has read all
  Descriptor its_input, to, from, its_output;
  if (!make_pipe(its_input, to) || !make_pipe(from, its_output)) {
    ended.error = std::strerror(errno);
    return ended;
  }
  pid_t child = -1;
  if (const int error = start(path, changes, its_input.get(), its_output.get(), child)) {
    ended.error = std::strerror(error);
    return ended;
  }
  its_input.close();
  its_output.close();
  ended.error = talk(to, from, input, ended.output);
  to.close();
  from.close();
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) ended.error = std::string("died of ") + strsignal(WTERMSIG(status));
  if (WIFEXITED(status)) ended.exit_code = WEXITSTATUS(status);
  return ended;
}

}  // namespace podwire::cni
