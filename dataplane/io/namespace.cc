#include "dataplane/io/namespace.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>

namespace podwire::io {

Result<void> in_namespace(const std::string& path, const std::function<void()>& work) {
  if (path.empty()) {
    work();
    return {};
  }
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail("network namespace " + path + ": " + std::strerror(errno));
  int error = 0;
  std::thread([&] {
    if (setns(fd, CLONE_NEWNET) == 0) {
      work();
    } else {
      error = errno;
    }
  }).join();
  close(fd);
  if (error == EINVAL) return fail(path + " is not a network namespace");
  if (error != 0) return fail("network namespace " + path + ": " + std::strerror(error));
  return {};
}

}  // namespace podwire::io
