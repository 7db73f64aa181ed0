// What is under way with addresses of the API server's blocks, on disk: one file for each
// attachment that asks for addresses or gives them back, <state-dir>/addresses/<id>-<ifname>.json.
// A note stands there before the first write to the server; whatever note is left after a crash
// names all that could have leaked. Control thread only.
#pragma once

#include <string>
#include <vector>

#include "control/cni/protocol.h"
#include "dataplane/net/address.h"
#include "dataplane/result.h"

namespace podwire::control {

class Journal {
 public:
  struct Note {
    cni::AttachmentName name;
    std::string handle;
    std::vector<net::Address> addresses;  // that are known
  };
  explicit Journal(const std::string& state_dir) : folder_(state_dir + "/addresses") {}

  Result<void> prepare();
  Result<void> write(const Note& note);
  void remove(const cni::AttachmentName& name);
  std::vector<Note> read_all(std::vector<std::string>& problems) const;

 private:
  [[nodiscard]] std::string path_of(const cni::AttachmentName& name) const;
  std::string folder_;
};

}  // namespace podwire::control
