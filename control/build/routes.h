// Nodes, pools, local pods and Linux's tables -> RouteTable. Control thread only.
//
// Who wins where two say something about the same prefix, strongest first: own addresses, local
// pods, other nodes' addresses, nodes' pod ranges, neighbours, Linux's routes.
// Sources: projectcalico.org/v3 IPPool (ipipMode), felix/dataplane/linux ipip_mgr.go for what
// CrossSubnet compares.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "control/build/builder.h"
#include "control/build/ports.h"
#include "control/build/this_node.h"
#include "dataplane/tables/routes.h"

namespace podwire::control::build {

class RoutesBuilder {
 public:
  struct Result {
    std::shared_ptr<const tables::RouteTable> table;
    std::uint32_t generation = 0;  // moved when a prefix leads to another NextHopId
    std::vector<net::Address> wanted_neighbours;
  };
  // Builds everything anew but shares with the last table what came out the same. Call it when
  // nodes, pools, ports, attachments or Linux's tables changed.
  Result build(const Inputs& inputs, const ThisNode& self, const PortsBuilder::Result& ports,
               std::vector<Problem>& problems);

 private:
  // One run of build(): what is wanted, by prefix and by next hop.
  struct Draft;

  tables::NextHopId id_for(const std::string& meaning);
  void release(const Draft& draft);
  // What leads nowhere else: own addresses, local pods, the own range's unused addresses.
  void add_own(Draft& draft) const;
  void add_nodes(Draft& draft) const;
  void add_linux(Draft& draft) const;
  void finish(Draft& draft);

  // A next hop's number belongs to its meaning ("pod 10.0.0.1", "gateway 10.1.1.1"). Freed numbers
  // are given again only after many others, since flows and held packets remember them.
  std::map<std::string, tables::NextHopId> numbers_;
  std::deque<tables::NextHopId> freed_;
  tables::NextHopId next_ = 1;
  std::map<net::Prefix, tables::NextHopId> prefixes_;  // of last_
  std::uint32_t generation_ = 0;
  std::shared_ptr<const tables::RouteTable> last_;
};

}  // namespace podwire::control::build
