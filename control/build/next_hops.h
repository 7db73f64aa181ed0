// Next hops of the route table by what they mean ("pod 10.0.0.1", "gateway 10.1.1.1"). A meaning
// keeps its number for as long as it is in use: flows and held packets remember numbers, so a freed
// one is given again only after many others. Control thread only.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "dataplane/tables/routes.h"

namespace podwire::control::build {

class NextHops {
 public:
  // Everything is said anew from here on.
  void begin();
  // What was not said since begin() is freed.
  void end();

  // Since begin().
  [[nodiscard]] bool said(const std::string& meaning) const;
  // The first who says something of a meaning is believed; false: somebody has.
  bool say(const std::string& meaning, const tables::NextHop& hop);
  // Several paths, each with its weight; all of them said, none of them several itself.
  using Paths = std::vector<std::pair<std::string, std::uint32_t>>;
  void say_several(const std::string& meaning, const Paths& paths);
  // pod_source_twin; both are said.
  void set_twin(const std::string& meaning, const std::string& twin);

  // Gives the meaning a number if it has none.
  tables::NextHopId number(const std::string& meaning);
  // Meanings in use.
  [[nodiscard]] std::size_t size() const { return numbers_.size(); }
  void write(tables::RouteTable& table) const;

 private:
  struct Place {
    bool said = false;
    tables::NextHop hop;
    std::shared_ptr<const tables::PathGroup> group;
  };
  std::unordered_map<std::string, tables::NextHopId> numbers_;
  std::vector<Place> places_{1};  // by number; 0 means none
  std::deque<tables::NextHopId> freed_;
};

}  // namespace podwire::control::build
