#include "bench/ports/segment.h"

#include <gtest/gtest.h>

namespace podwire::ports {
namespace {

using net::Tcp;

// Both ends keep RFC 9293's books: what they expect next is what comes.
TEST(Segment, StepsAreThoseOfARealConnection) {
  for (const std::uint32_t payload : {18U, 1460U}) {
    std::uint32_t sent[2] = {0, 0};  // next sequence number of client and server
    bool finished[2] = {false, false};
    for (unsigned step = 0; step < kStepsOfConnection; ++step) {
      const unsigned end = step % 2;
      const Segment segment = segment_of_step(step, payload);
      EXPECT_EQ(segment.sequence, sent[end]) << step;
      if (step > 0) {
        EXPECT_TRUE(segment.flags & Tcp::ack) << step;
        EXPECT_EQ(segment.acknowledgement, sent[1 - end]) << step;
      }
      sent[end] += payload;
      if ((segment.flags & Tcp::syn) != 0) ++sent[end];
      if ((segment.flags & Tcp::fin) != 0) {
        ++sent[end];
        finished[end] = true;
      }
      EXPECT_EQ((segment.flags & Tcp::syn) != 0, step < 2) << step;
    }
    EXPECT_TRUE(finished[0] && finished[1]);
    // The last segment acknowledges the server's FIN.
    EXPECT_EQ(segment_of_step(6, payload).acknowledgement, sent[1]);
  }
}

// A flow opened for measuring: its data follows what the SYNs carried.
TEST(Segment, StandsBehindTheHandshake) {
  const Segment steady;
  EXPECT_EQ(steady.sequence, segment_of_step(2, sizeof(Stamp)).sequence);
  EXPECT_EQ(steady.acknowledgement, segment_of_step(2, sizeof(Stamp)).acknowledgement);
}

}  // namespace
}  // namespace podwire::ports
