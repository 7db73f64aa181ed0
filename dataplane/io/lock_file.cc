#include "dataplane/io/lock_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace podwire::io {

Result<LockFile> LockFile::take(const std::string& name) {
  mkdir("/run/lock", 01777);  // a container may not have it; where it fails, so does open
  std::string path = "/run/lock/podwire-";
  for (const char c : name) path += c == '/' || c == ',' || c == ' ' ? '_' : c;
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return fail(path + ": " + std::strerror(errno));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    std::array<char, 32> holder{};
    const ssize_t length = read(fd, holder.data(), holder.size() - 1);
    close(fd);
    return fail(length > 0 ? "process " + std::string(holder.data()) : "another process");
  }
  const std::string self = std::to_string(getpid());
  if (ftruncate(fd, 0) != 0 || pwrite(fd, self.data(), self.size(), 0) < 0) {
    const int error = errno;
    close(fd);
    return fail(path + ": " + std::strerror(error));
  }
  return LockFile(fd);
}

LockFile::~LockFile() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace podwire::io
