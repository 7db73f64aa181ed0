// Attachments, uplink and host tap -> PortTable. Control thread only.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "control/build/builder.h"
#include "dataplane/tables/ports.h"

namespace podwire::control::build {

// A pod's port as the other builders need it.
struct LocalPort {
  const Attachment* attachment = nullptr;
  PortId id = kNoPort;
};

class PortsBuilder {
 public:
  struct Result {
    std::shared_ptr<const tables::PortTable> table;
    std::vector<LocalPort> pods;  // those with a port, in order of attachment
  };
  // The same table as before when nothing in it changed.
  Result build(const Inputs& inputs, std::vector<Problem>& problems);

 private:
  using Key = std::pair<std::string, std::string>;  // container id, interface
  struct Freed {
    PortId id;
    std::uint64_t since;  // the first version of the table without it
  };

  PortId id_for(const Key& key, const std::shared_ptr<io::Port>& port);
  // Takes numbers back from ports that are gone or were opened anew.
  void release(const std::map<Key, const io::Port*>& wanted);
  [[nodiscard]] std::uint64_t oldest_version_in_use();

  struct Given {
    PortId id = kNoPort;
    std::shared_ptr<io::Port> port;
  };
  std::map<Key, Given> given_;
  std::deque<Freed> freed_;
  PortId next_ = 2;  // 0 is the uplink's, 1 the host tap's
  std::uint64_t version_ = 0;
  // Every table that a snapshot may still hold: a number is given again only when all tables that
  // knew its last owner are gone, and with them every snapshot that a worker could still read.
  std::deque<std::pair<std::uint64_t, std::weak_ptr<const tables::PortTable>>> versions_;
  std::shared_ptr<const tables::PortTable> last_;
};

}  // namespace podwire::control::build
