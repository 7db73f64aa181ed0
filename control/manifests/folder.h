// A folder of manifest files and what changes in it: by inotify(7), and by a look at every file's
// status now and then for what inotify does not tell (a folder that appears, a link's target
// outside, network file systems). Control thread only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "dataplane/result.h"

namespace boost::asio {
class io_context;
}

namespace podwire::control::manifests {

class Folder {
 public:
  // Text of each file that is new or changed, why it cannot be read, or nullopt when it is gone.
  using Files = std::map<std::string, std::optional<Result<std::string>>>;
  struct Events {
    std::function<void(Files)> changed;
    // The folder can (empty) or cannot be read; said when it changes, and first of all.
    std::function<void(const std::string& trouble)> health;
  };

  Folder(boost::asio::io_context& io, std::string path, Events events);
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  // Reads everything before it returns; `changed` is called then even when there is no file.
  void start();
  void stop();

 private:
  class Watch;
  std::shared_ptr<Watch> watch_;
};

}  // namespace podwire::control::manifests
