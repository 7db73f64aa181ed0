// The attachments on disk, one file each: <state-dir>/attachments/<id>-<ifname>.json. What is there
// has been written whole (temporary file, fsync, rename, fsync of the folder). Control thread only.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/attachments.h"
#include "control/cni/protocol.h"
#include "dataplane/result.h"

namespace podwire::control {

class Records {
 public:
  explicit Records(const std::string& state_dir);

  // Makes the folders, mode 0700.
  Result<void> prepare();
  Result<void> write(const Attachment& attachment);
  // Fine when it is not there.
  Result<void> remove(const Attachment& attachment);
  // Every readable one, without port and port_id; `problems` gets a sentence for each other file.
  std::vector<Attachment> read_all(std::vector<std::string>& problems);

  // Deletes that podwire-cni noted while no podwired was there.
  struct Pending {
    std::string file;
    cni::Request request;
  };
  std::vector<Pending> read_pending(std::vector<std::string>& problems);

 private:
  [[nodiscard]] std::string path_of(const Attachment& attachment) const;
  std::string folder_, pending_folder_;
};

// A file that is there whole or not at all. Used for every file that must outlive a crash.
Result<void> write_whole(const std::string& path, const std::string& text);
// Of no more than 64 KiB.
std::optional<std::string> read_whole(const std::string& path);
// The paths of a folder's *.json in a fixed order, so that a start is the same each time. What a
// crash has left half-written is removed.
std::vector<std::string> json_files(const std::string& folder);
Result<void> make_private_folder(const std::string& path);  // and those above it; mode 0700

}  // namespace podwire::control
