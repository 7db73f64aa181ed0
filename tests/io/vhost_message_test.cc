#include "dataplane/io/vhost_message.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "dataplane/io/descriptor.h"

namespace podwire::io {
namespace {

constexpr unsigned kPairs = 2;

VhostMessage message(std::uint32_t request, std::uint32_t size, std::uint64_t value = 0) {
  VhostMessage made{};
  made.request = request;
  made.flags = 1;
  made.size = size;
  made.fds.fill(-1);
  made.u64 = value;
  return made;
}

VhostMessage with_fd(VhostMessage made, int fd) {
  made.fds[0] = fd;
  made.fd_count = 1;
  return made;
}

VhostMessage table(int fd, VhostMessage::Region region) {
  VhostMessage made = with_fd(message(VhostMessage::set_mem_table, 40), fd);
  made.u64 = 1;
  std::memcpy(made.whole.data() + 8, &region, sizeof region);
  return made;
}

std::uint64_t state(std::uint32_t index, std::uint32_t number) {
  return index | std::uint64_t{number} << 32U;
}

class Objection : public testing::Test {
 protected:
  Objection() : memory_(memfd_create("guest", MFD_CLOEXEC)), event_(eventfd(0, EFD_CLOEXEC)) {
    EXPECT_EQ(ftruncate(memory_.get(), 8192), 0);
  }
  Descriptor memory_, event_;
};

TEST_F(Objection, NoneToWhatAGuestSays) {
  const VhostMessage all[] = {
      message(VhostMessage::get_features, 0),
      message(VhostMessage::set_features, 8, kVhostFeatures),
      message(VhostMessage::set_owner, 0),
      message(VhostMessage::get_protocol_features, 0),
      message(VhostMessage::set_protocol_features, 8, kVhostProtocolFeatures),
      message(VhostMessage::get_queue_num, 0),
      message(VhostMessage::set_vring_num, 8, state(3, 4096)),
      message(VhostMessage::set_vring_base, 8, state(3, 65535)),
      message(VhostMessage::get_vring_base, 8, state(0, 0)),
      message(VhostMessage::set_vring_enable, 8, state(0, 1)),
      message(VhostMessage::set_vring_addr, 40, state(3, 0)),
      message(VhostMessage::set_vring_kick, 8, 0x103),
      with_fd(message(VhostMessage::set_vring_call, 8, 3), event_.get()),
      table(memory_.get(),
            {.guest_address = 0, .size = 4096, .user_address = 0, .file_offset = 4096}),
  };
  for (const auto& m : all) EXPECT_EQ(objection(m, kPairs), "") << m.request;
}

TEST_F(Objection, ToWhatNoGuestSays) {
  const VhostMessage all[] = {
      message(VhostMessage::set_features, 4),
      message(VhostMessage::set_features, 8, 1ULL << 28U),  // indirect descriptors
      message(VhostMessage::set_features, 8, 1ULL << 34U),  // packed ring
      message(VhostMessage::set_features, 8, 1ULL << 26U),  // log
      message(VhostMessage::set_protocol_features, 8, 1ULL << 12U),
      with_fd(message(VhostMessage::get_features, 0), event_.get()),
      message(VhostMessage::set_vring_num, 8, state(4, 256)),
      message(VhostMessage::set_vring_num, 8, state(0, 0)),
      message(VhostMessage::set_vring_num, 8, state(0, 3)),
      message(VhostMessage::set_vring_num, 8, state(0, 8192)),
      message(VhostMessage::set_vring_base, 8, state(0, 65536)),
      message(VhostMessage::set_vring_addr, 40, state(0, 1)),
      message(VhostMessage::set_vring_kick, 8, 3),  // no descriptor
      with_fd(message(VhostMessage::set_vring_kick, 8, 0x103), event_.get()),
      with_fd(message(VhostMessage::set_vring_kick, 8, 1ULL << 32U), event_.get()),
      with_fd(message(VhostMessage::set_vring_call, 8, 3), memory_.get()),
      with_fd(message(VhostMessage::set_vring_call, 8, 4), event_.get()),
      table(event_.get(), {.guest_address = 0, .size = 4096, .user_address = 0, .file_offset = 0}),
      table(memory_.get(), {.guest_address = 0, .size = 0, .user_address = 0, .file_offset = 0}),
      table(memory_.get(), {.guest_address = 0, .size = 8193, .user_address = 0, .file_offset = 0}),
      table(memory_.get(),
            {.guest_address = 0, .size = 1ULL << 40U, .user_address = 0, .file_offset = 0}),
      table(memory_.get(),
            {.guest_address = 0, .size = 4096, .user_address = 0, .file_offset = 8192}),
      table(memory_.get(),
            {.guest_address = 0, .size = 4096, .user_address = 0, .file_offset = ~0ULL}),
      table(memory_.get(),
            {.guest_address = ~0ULL - 100, .size = 4096, .user_address = 0, .file_offset = 0}),
  };
  for (const auto& m : all) EXPECT_NE(objection(m, kPairs), "") << m.request << " " << m.u64;
  for (const std::uint32_t request : {0U, 6U, 7U, 19U, 20U, 21U, 22U, 24U, 25U, 26U, 28U, 29U, 30U,
                                      31U, 32U, 39U, 40U, 41U, 0xffffffffU}) {
    EXPECT_NE(objection(message(request, 8), kPairs), "") << request;
  }
}

}  // namespace
}  // namespace podwire::io
