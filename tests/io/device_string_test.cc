#include "dataplane/io/device_string.h"

#include <gtest/gtest.h>

namespace podwire::test {
namespace {

TEST(DeviceString, IsTakenApart) {
  const auto device = io::parse_device_string("net_af_packet0,iface=eth0,framesz=4096");
  EXPECT_EQ(device.name, "net_af_packet0");
  EXPECT_TRUE(device.is_driver("net_af_packet"));
  EXPECT_EQ(device.value("iface"), "eth0");
  EXPECT_EQ(device.value("frame"), "");
}

TEST(DeviceString, SaysTheLargestFrame) {
  const auto largest = [](const char* text) {
    return io::parse_device_string(text).largest_frame();
  };
  EXPECT_EQ(largest("net_memif0,role=server,socket=/run/x.sock"), 2048);
  EXPECT_EQ(largest("net_memif0,bsize=9216"), 9216);
  EXPECT_EQ(largest("net_memif0,bsize=70000"), 65535) << "the driver refuses it";
  EXPECT_EQ(largest("net_af_packet0,iface=eth0"), 2048 - 32);  // behind the ring's own header
  EXPECT_EQ(largest("net_af_packet0,iface=eth0,framesz=16384"), 16384 - 32);
  EXPECT_EQ(largest("net_af_packet0,iface=eth0,framesz=8"), 0);
  EXPECT_EQ(largest("0000:03:00.0"), 65535);
}

}  // namespace
}  // namespace podwire::test
