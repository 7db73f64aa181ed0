#include "control/ctl/client.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace podwire::control::ctl {
namespace {

constexpr int kPatienceSeconds = 30;

std::string path_in(const std::string& run_dir) {
  return run_dir + "/podwired.sock";
}

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return number_; }

 private:
  int number_;
};

Result<std::string> exchange_lines(int descriptor, const std::string& path,
                                   const std::string& line) {
  for (std::size_t done = 0; done < line.size();) {
    const auto size = send(descriptor, line.data() + done, line.size() - done, MSG_NOSIGNAL);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return fail(path + ": podwired did not take the request");
    done += static_cast<std::size_t>(size);
  }
  std::string text;
  char chunk[16384];
  while (text.empty() || text.back() != '\n') {
    const auto size = recv(descriptor, chunk, sizeof chunk, 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return fail(path + ": podwired did not answer in time");
    if (size == 0) return fail(path + ": podwired hung up before it answered");
    text.append(chunk, static_cast<std::size_t>(size));
  }
  return text;
}

}  // namespace

Result<std::string> ask_line(const std::string& run_dir, const nlohmann::json& request) {
  const std::string path = path_in(run_dir);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return fail(path + ": too long for a socket's path");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const Descriptor descriptor(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval patience{kPatienceSeconds, 0};
  setsockopt(descriptor.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(descriptor.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (connect(descriptor.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    if (errno == EACCES) return fail(path + ": only root may ask podwired");
    return fail("podwired does not answer at " + path + "; is it running, with this --run-dir? (" +
                std::strerror(errno) + ")");
  }
  return exchange_lines(descriptor.get(), path, request.dump() + "\n");
}

Result<nlohmann::json> result_of(const std::string& run_dir, std::string_view line) {
  const std::string path = path_in(run_dir);
  const auto answer = nlohmann::json::parse(line, nullptr, false);
  if (!answer.is_object()) return fail(path + ": podwired's answer makes no sense");
  if (const auto error = answer.find("error"); error != answer.end() && error->is_string()) {
    return fail(error->get<std::string>());
  }
  if (!answer.contains("result")) return fail(path + ": podwired's answer makes no sense");
  return answer["result"];
}

Result<nlohmann::json> ask(const std::string& run_dir, const nlohmann::json& request) {
  const auto line = ask_line(run_dir, request);
  if (!line) return tl::unexpected(line.error());
  return result_of(run_dir, *line);
}

}  // namespace podwire::control::ctl
