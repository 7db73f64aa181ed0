#include "control/explain/question.h"

#include <gtest/gtest.h>

namespace podwire::control::explain {
namespace {

std::string refused(const char* protocol, const char* port) {
  const auto question = make_question("a/b", "c/d", protocol, port);
  return question ? "" : question.error().message;
}

TEST(Question, TakesProtocolsByNameAndNumber) {
  EXPECT_EQ(make_question("a/b", "c/d", "sctp", "http")->protocol, 132);
  EXPECT_EQ(make_question("a/b", "c/d", "17", "53")->port, 53);
  EXPECT_EQ(make_question("a/b", "c/d", "Tcp", "http")->port_name, "http");
  EXPECT_EQ(make_question("a/b", "c/d", "ICMPv6", "")->protocol, 58);
  EXPECT_EQ(parse_question(R"({"from":"a/b","to":"c/d","port":"80"})")->port, 80);
  EXPECT_EQ(parse_question(R"({"from":"a/b","to":"c/d","port":80})")->protocol, 6);
}

TEST(Question, RefusesWithTheFieldsName) {
  EXPECT_EQ(refused("tpc", "80"),
            "protocol: \"tpc\" is not TCP, UDP, SCTP, ICMP, ICMPv6 or a number from 0 to 255");
  EXPECT_EQ(refused("TCP", ""), "port: is not given");
  EXPECT_EQ(refused("TCP", "65536"), "port: 65536 is not between 1 and 65535");
  EXPECT_EQ(refused("ICMP", "8"), "port: ICMP has no ports");
  EXPECT_EQ(make_question("", "a/b", "TCP", "1").error().message, "from: is not given");
  EXPECT_EQ(parse_question(R"({"from":"a/b","port":1})").error().message, "to: is not given");
  EXPECT_EQ(parse_question("[1]").error().message, "the line is not a JSON object");
  EXPECT_EQ(parse_question(R"({"from":"a/b","to":"a/b","port":-1})").error().message,
            "port: -1 is not between 1 and 65535");
}

}  // namespace
}  // namespace podwire::control::explain
