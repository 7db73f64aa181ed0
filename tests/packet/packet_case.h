// A packet case: a node, and bursts through it with all that must come of them.
//
//   PACKET_CASE(ServicePodToClusterIp) {
//     World world;
//     world.add_cluster_ip(17, "10.96.0.1:53", {"10.244.1.3:5353"});
//     world.publish();
//     const Frame question = udp("10.244.1.2", 4000, "10.96.0.1", 53);
//     RUN(world, {.in = {{"a", question}},
//                 .out = {{"b", question.to("10.244.1.3", 5353).one_hop_less()}},
//                 .counters = {{"flows_created", 1}}});
//   }
#pragma once

#include <gtest/gtest.h>

#include "tests/lib/world.h"

#define PACKET_CASE(name) TEST(Packet, name)

#define RUN(world, ...)                                                       \
  do {                                                                        \
    const std::string wrong = (world).run(::podwire::test::Step __VA_ARGS__); \
    ASSERT_TRUE(wrong.empty()) << wrong;                                      \
  } while (false)
