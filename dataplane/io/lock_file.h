// One user of a thing on this machine: a locked file under /run/lock. The kernel lets go of it when
// the process ends, however it ends. Control thread.
#pragma once

#include <string>
#include <utility>

#include "dataplane/result.h"

namespace podwire::io {

class LockFile {
 public:
  LockFile() = default;
  // `name` becomes part of a file name. The error is the holder: "process 1234".
  static Result<LockFile> take(const std::string& name);
  ~LockFile();
  LockFile(LockFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  LockFile& operator=(LockFile&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }

 private:
  explicit LockFile(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace podwire::io
