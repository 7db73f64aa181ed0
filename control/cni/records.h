// The attachments on disk, one file each: <state-dir>/attachments/<id>-<ifname>.json. What is there
// has been written whole (temporary file, rename), and is on the disk once it was synced. Control
// thread only, where nothing else is said.
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
  // Outlives podwired from here on, and the machine after sync_records().
  Result<void> write(const Attachment& attachment);
  [[nodiscard]] std::string path_of(const Attachment& attachment) const;
  // Fine when it is not there.
  Result<void> remove(const Attachment& attachment);
  // Every readable one, without port and port_id; `problems` gets a sentence for each other file.
  // An empty one is of an ADD that was not answered before the machine lost its power: it goes.
  std::vector<Attachment> read_all(std::vector<std::string>& problems);

  // Deletes that podwire-cni noted while no podwired was there.
  struct Pending {
    std::string file;
    cni::Request request;
  };
  std::vector<Pending> read_pending(std::vector<std::string>& problems);

 private:
  std::string folder_, pending_folder_;
};

// What was written to these files of one folder, to the disk; how each fared. Many cost little more
// than one. Any thread.
std::vector<Result<void>> sync_records(const std::vector<std::string>& paths);
// A file that is there whole or not at all. Used for every file that must outlive a crash.
Result<void> write_whole(const std::string& path, const std::string& text);
// Of no more than 64 KiB.
std::optional<std::string> read_whole(const std::string& path);
// The paths of a folder's *.json in a fixed order, so that a start is the same each time. What a
// crash has left half-written is removed.
std::vector<std::string> json_files(const std::string& folder);
Result<void> make_private_folder(const std::string& path);  // and those above it; mode 0700

}  // namespace podwire::control
