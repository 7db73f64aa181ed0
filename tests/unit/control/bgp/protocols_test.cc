#include "control/bgp/protocols.h"

#include <gtest/gtest.h>

#include <sstream>

namespace podwire::control::bgp {
namespace {

// As BIRD 2.0.12 answers `show protocols all`, a device protocol and two of BGP's.
constexpr const char* kAnswer = R"(2002-Name       Proto      Table      State  Since         Info
1002-device1    Device     ---        up     20:35:13.291  
1006-
1002-Mesh_10_0_0_1 BGP     ---        up     20:35:13.291  Established   
1006-  Description:    node mesh, node n1
   BGP state:          Established
     Neighbor address: 10.0.0.1
     Neighbor AS:      64512
   Channel ipv4
     State:          UP
     Routes:         3 imported, 1 filtered, 2 exported, 3 preferred
     Route change stats:     received   rejected   filtered    ignored   accepted
       Import updates:              9          0          0          0          1
1002-Global_192_0_2_1 BGP        ---        start  20:35:13.291  Active        Received: Bad peer AS
1006-  BGP state:          Active
     Neighbor address: 192.0.2.1
     Last error:       Received: Bad peer AS
   Channel ipv4
     State:          DOWN
 
0000 
)";

TEST(Protocols, AreReadFromBirdsAnswer) {
  BirdAnswer answer;
  std::istringstream lines(kAnswer);
  bool whole = false;
  for (std::string line; std::getline(lines, line);) {
    ASSERT_FALSE(whole);
    whole = read_line(line, answer);
  }
  EXPECT_TRUE(whole);
  EXPECT_FALSE(answer.failed());
  const auto all = read_protocols(answer);
  ASSERT_EQ(all.size(), 2U);
  const Protocol& mesh = all.at("Mesh_10_0_0_1");
  EXPECT_EQ(mesh.state, "Established");
  EXPECT_EQ(mesh.last_error, "");
  EXPECT_EQ(mesh.imported, 3U);
  EXPECT_EQ(mesh.filtered, 1U);
  EXPECT_EQ(mesh.exported, 2U);
  EXPECT_EQ(mesh.preferred, 3U);
  const Protocol& tor = all.at("Global_192_0_2_1");
  EXPECT_EQ(tor.state, "Active");
  EXPECT_EQ(tor.last_error, "Received: Bad peer AS");
  EXPECT_EQ(tor.imported, 0U);
}

TEST(BirdAnswer, EndsWithItsLastLineAndKnowsErrors) {
  BirdAnswer answer;
  EXPECT_FALSE(read_line("+of a log", answer));
  EXPECT_FALSE(read_line("0002-Reading configuration", answer));
  EXPECT_FALSE(read_line(" more of it", answer));
  EXPECT_TRUE(read_line("8002 /x.conf:5:17 syntax error", answer));
  ASSERT_EQ(answer.lines.size(), 3U);
  EXPECT_EQ(answer.lines[1].code, 2);
  EXPECT_EQ(answer.lines[1].text, "more of it");
  EXPECT_TRUE(answer.failed());
  EXPECT_EQ(answer.lines.back().text, "/x.conf:5:17 syntax error");
  BirdAnswer odd;
  EXPECT_FALSE(read_line("", odd));
  EXPECT_FALSE(read_line("12", odd));
  EXPECT_FALSE(read_line("abcd text", odd));
}

}  // namespace
}  // namespace podwire::control::bgp
