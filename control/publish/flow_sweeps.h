// Ends flows by looking at all of the table, a part in each turn of the loop: a table of millions
// takes seconds, in which CNI requests and changes would wait. What is asked for during a walk is
// looked for in the next one, all of it at once. Control thread only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "control/dataplane_link.h"

namespace podwire::control {

class FlowSweeps {
 public:
  using Ends = std::function<bool(const observe::FlowRow&)>;
  using Then = std::function<void(std::size_t ended)>;

  // Both outlive it.
  FlowSweeps(boost::asio::io_context& io, DataplaneLink& dataplane)
      : io_(io), dataplane_(dataplane) {}

  // Ends the flows that `ends` is true of, of all that are there now. `then` is called once, and
  // not before this returns; never when this is gone before.
  void add(Ends ends, Then then);

 private:
  struct Job {
    Ends ends;
    Then then;
    std::size_t ended = 0;
  };
  void later();
  void step();

  boost::asio::io_context& io_;
  DataplaneLink& dataplane_;
  std::vector<Job> next_, now_;  // of the next walk, and of the one under way
  observe::FlowCursor at_;
  const std::shared_ptr<int> alive_ = std::make_shared<int>();
};

}  // namespace podwire::control
