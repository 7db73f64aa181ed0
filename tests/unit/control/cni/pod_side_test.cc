// In a real network namespace with a real tap; needs root, like podwired itself.
#include "control/cni/pod_side.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <future>
#include <sstream>
#include <thread>

namespace podwire::control {
namespace {

// A thread that lives in a namespace of its own, with a tap called eth0.
class Namespace {
 public:
  Namespace() {
    std::promise<int> made;
    auto result = made.get_future();
    thread_ = std::thread([this, &made] {
      made.set_value(make());
      done_.get_future().wait();
    });
    failed = result.get();
  }
  ~Namespace() {
    done_.set_value();
    thread_.join();
    if (tap_ >= 0) close(tap_);
  }
  int failed = 0;
  std::string path;

 private:
  int make() {
    if (unshare(CLONE_NEWNET) != 0) return errno;
    path = "/proc/" + std::to_string(getpid()) + "/task/" + std::to_string(gettid()) + "/ns/net";
    tap_ = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    ifreq request{};
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    std::strcpy(request.ifr_name, "eth0");
    return tap_ >= 0 && ioctl(tap_, TUNSETIFF, &request) == 0 ? 0 : errno;
  }
  std::thread thread_;
  std::promise<void> done_;
  int tap_ = -1;
};

std::string own_namespace() {
  char name[64] = {};
  return readlink("/proc/thread-self/ns/net", name, sizeof name - 1) > 0 ? name : "";
}

class PodSideTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    ASSERT_EQ(inside.failed, 0) << std::strerror(inside.failed);
    home = own_namespace();
    pod.netns = inside.path;
    pod.interface = "eth0";
    pod.mac = *net::Mac::parse("0a:58:0a:00:00:05");
    pod.mtu = 1400;
    pod.ips = {*net::Address::parse("10.0.0.5"), *net::Address::parse("fd00::5")};
  }
  void TearDown() override { EXPECT_EQ(own_namespace(), home); }
  Namespace inside;
  std::string home;
  PodSide pod;
};

TEST_F(PodSideTest, SetsUpBothFamiliesAndAgainWithoutHarm) {
  EXPECT_EQ(check_pod_side(pod).error().message, pod.netns + ": eth0: is down");
  for (int round = 0; round < 2; ++round) {
    const auto done = set_up_pod_side(pod);
    ASSERT_TRUE(done) << done.error().message;
    const auto checked = check_pod_side(pod);
    EXPECT_TRUE(checked) << checked.error().message;
  }
}

TEST_F(PodSideTest, CheckMissesWhatWasTakenAway) {
  ASSERT_TRUE(set_up_pod_side(pod));
  PodSide more = pod;
  more.ips[0] = *net::Address::parse("10.0.0.6");
  EXPECT_EQ(check_pod_side(more).error().message,
            pod.netns + ": eth0: has lost its address 10.0.0.6");
}

TEST_F(PodSideTest, IPv4AloneLeavesIPv6Off) {
  pod.ips.resize(1);
  ASSERT_TRUE(set_up_pod_side(pod));
  EXPECT_TRUE(check_pod_side(pod));
  pod.ips.push_back(*net::Address::parse("fd00::5"));
  EXPECT_FALSE(check_pod_side(pod));
}

TEST_F(PodSideTest, SaysWhatIsMissing) {
  pod.interface = "net1";
  EXPECT_EQ(set_up_pod_side(pod).error().message, pod.netns + ": net1: is not there");
  pod.netns = "/nonexistent";
  EXPECT_EQ(set_up_pod_side(pod).error().message,
            "network namespace /nonexistent: No such file or directory");
  pod.netns = "/dev/null";
  EXPECT_EQ(set_up_pod_side(pod).error().message, "/dev/null is not a network namespace");
}

}  // namespace
}  // namespace podwire::control
