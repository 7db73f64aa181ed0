#include "control/publish/flow_sweeps.h"

#include <gtest/gtest.h>

#include <boost/asio/post.hpp>
#include <chrono>
#include <numeric>
#include <string>

#include "tests/unit/control/fake_dataplane.h"

namespace podwire::control {
namespace {

// A table of which a part takes a while.
class SlowTable final : public FakeDataplane {
 public:
  static constexpr std::uint32_t kParts = 20, kPart = 5;
  SlowTable() : ports(kParts * kPart) { std::iota(ports.begin(), ports.end(), std::uint16_t{0}); }

  void erase_flows(observe::FlowCursor& at,
                   const std::function<bool(const observe::FlowRow&)>& ends) override {
    ++parts;
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(1);
    while (std::chrono::steady_clock::now() < until) {
    }
    std::erase_if(ports, [&](std::uint16_t port) {
      if (port / kPart != at.group) return false;
      observe::FlowRow row;
      row.source_port = net::be16(port);
      return ends(row);
    });
    at.at_end = ++at.group == kParts;
  }
  std::vector<std::uint16_t> ports;  // of the flows that are there
  unsigned parts = 0;
};

FlowSweeps::Ends port_below(unsigned limit) {
  return [limit](const observe::FlowRow& row) { return row.source_port.host() < limit; };
}

class FlowSweepsTest : public testing::Test {
 protected:
  FlowSweeps::Then note(const std::string& name) {
    return [this, name](std::size_t ended) { said.push_back(name + std::to_string(ended)); };
  }
  boost::asio::io_context io;
  SlowTable table;
  FlowSweeps sweeps{io, table};
  std::vector<std::string> said;
};

TEST_F(FlowSweepsTest, OthersHaveTheirTurnBetweenTheParts) {
  sweeps.add(port_below(30), note("ended "));
  EXPECT_EQ(table.parts, 0U);
  EXPECT_EQ(io.run_one(), 1U);
  EXPECT_EQ(table.parts, 1U);
  boost::asio::post(io, [this] { said.push_back("other"); });
  io.run();
  EXPECT_EQ(said, (std::vector<std::string>{"other", "ended 30"}));
  EXPECT_EQ(table.ports.size(), 70U);
  EXPECT_EQ(table.parts, SlowTable::kParts);
}

TEST_F(FlowSweepsTest, WhatComesDuringAWalkIsLookedForInOneThatFollows) {
  sweeps.add(port_below(10), note("first "));
  EXPECT_EQ(io.run_one(), 1U);
  sweeps.add(port_below(20), note("second "));
  sweeps.add(port_below(15), note("third "));
  io.run();
  EXPECT_EQ(said, (std::vector<std::string>{"first 10", "second 10", "third 5"}));
  EXPECT_EQ(table.parts, 2 * SlowTable::kParts);
  sweeps.add(port_below(100), note("last "));
  io.restart();
  io.run();
  EXPECT_EQ(said.back(), "last 80");
  EXPECT_TRUE(table.ports.empty());
}

TEST_F(FlowSweepsTest, NobodyIsToldOnceItIsGone) {
  {
    FlowSweeps gone(io, table);
    gone.add(port_below(10), note("gone "));
  }
  io.run();
  EXPECT_TRUE(said.empty());
  EXPECT_EQ(table.ports.size(), 100U);
}

}  // namespace
}  // namespace podwire::control
