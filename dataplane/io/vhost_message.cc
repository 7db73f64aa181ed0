#include "dataplane/io/vhost_message.h"

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>

#include "dataplane/io/event_signal.h"
#include "dataplane/io/virtqueue.h"

namespace podwire::io {
namespace {

using Message = VhostMessage;

static_assert(offsetof(Message, fds) == 644, "lib/vhost/vhost_user.h: vhu_msg_context");
static_assert(sizeof(Message) == 680);

constexpr std::uint32_t kIndexMask = 0xff, kNoFd = 0x100;  // of the kick, call and error messages

struct Shape {
  const char* name;
  std::uint32_t size;  // of the payload
};

// Null for what may never pass.
const Shape* shape_of(std::uint32_t request) {
  static constexpr std::array<Shape, 19> kShapes{{
      {nullptr, 0},          {"GET_FEATURES", 0},          {"SET_FEATURES", 8},
      {"SET_OWNER", 0},      {"RESET_OWNER", 0},           {"SET_MEM_TABLE", 0},  // its own check
      {nullptr, 0},                                                               // SET_LOG_BASE
      {nullptr, 0},                                                               // SET_LOG_FD
      {"SET_VRING_NUM", 8},  {"SET_VRING_ADDR", 40},       {"SET_VRING_BASE", 8},
      {"GET_VRING_BASE", 8}, {"SET_VRING_KICK", 8},        {"SET_VRING_CALL", 8},
      {"SET_VRING_ERR", 8},  {"GET_PROTOCOL_FEATURES", 0}, {"SET_PROTOCOL_FEATURES", 8},
      {"GET_QUEUE_NUM", 0},  {"SET_VRING_ENABLE", 8},
  }};
  if (request >= kShapes.size() || kShapes[request].name == nullptr) return nullptr;
  return &kShapes[request];
}

// Only files whose pages the kernel itself provides: one of a FUSE file system would let the peer
// decide when a worker's access to it goes on.
std::string region_objection(const Message::Region& region, int descriptor) {
  struct stat file {};
  struct statfs system {};
  if (fstat(descriptor, &file) != 0 || fstatfs(descriptor, &system) != 0 ||
      !S_ISREG(file.st_mode) ||
      (system.f_type != TMPFS_MAGIC && system.f_type != HUGETLBFS_MAGIC)) {
    return "shares memory that is neither a memfd nor a file of tmpfs or hugetlbfs";
  }
  const auto bytes = static_cast<std::uint64_t>(file.st_size);
  if (region.size == 0 || region.file_offset > bytes || region.size > bytes - region.file_offset) {
    return "shares a memory region of " + std::to_string(region.size) + " bytes at offset " +
           std::to_string(region.file_offset) + " of a file of " + std::to_string(bytes);
  }
  if (region.guest_address + region.size < region.size ||
      region.user_address + region.size < region.size) {
    return "shares a memory region whose addresses wrap around";
  }
  return {};
}

std::string memory_objection(const Message& message) {
  const std::uint32_t regions = message.memory.regions;
  if (message.size < 8 || regions == 0 || regions > Message::kMaxFds) {
    return "sends a memory table of " + std::to_string(regions) + " regions; 1 to 8 can be";
  }
  if (message.size != 8 + regions * sizeof(Message::Region) ||
      message.fd_count != static_cast<int>(regions)) {
    return "sends a memory table whose regions and descriptors are not as many";
  }
  for (unsigned i = 0; i < regions; ++i) {
    Message::Region region;
    std::memcpy(&region, message.whole.data() + 8 + i * sizeof region, sizeof region);
    if (auto why = region_objection(region, message.fds[i]); !why.empty()) return why;
  }
  return {};
}

std::string vring_objection(const char* name, std::uint32_t index, unsigned queues) {
  if (index < 2 * queues) return {};
  return "names ring " + std::to_string(index) + " in " + name + "; there are " +
         std::to_string(2 * queues);
}

std::string event_objection(const Message& message, const char* name, unsigned queues) {
  const std::uint64_t value = message.u64;
  if (auto why = vring_objection(name, value & kIndexMask, queues); !why.empty()) return why;
  if ((value & ~std::uint64_t{kIndexMask | kNoFd}) != 0) {
    return std::string("sets bits in ") + name + " that mean nothing";
  }
  const int expected = (value & kNoFd) != 0 ? 0 : 1;
  if (message.fd_count != expected || (expected == 1 && !is_eventfd(message.fds[0]))) {
    return std::string("sends ") + name + " without one eventfd";
  }
  return {};
}

}  // namespace

void VhostMessage::close_fds() noexcept {
  for (unsigned i = 0; i < kMaxFds; ++i) {
    if (fds[i] >= 0) close(fds[i]);
    fds[i] = -1;
  }
  fd_count = 0;
}

std::string objection(const VhostMessage& message, unsigned queues) {
  const Shape* shape = shape_of(message.request);
  if (shape == nullptr) {
    return "sends message " + std::to_string(message.request) + ", which was not negotiated";
  }
  if (message.request == Message::set_mem_table) return memory_objection(message);
  if (message.size != shape->size && (shape->size != 0 || message.size > sizeof(Message::whole))) {
    return std::string("sends ") + shape->name + " of " + std::to_string(message.size) + " bytes";
  }
  switch (message.request) {
    case Message::set_vring_kick:
    case Message::set_vring_call:
    case Message::set_vring_err:
      return event_objection(message, shape->name, queues);
    default:
      break;
  }
  if (message.fd_count != 0) {
    return std::string("sends ") + shape->name + " with " + std::to_string(message.fd_count) +
           " descriptors";
  }
  switch (message.request) {
    case Message::set_features:
      if ((message.u64 & ~kVhostFeatures) != 0) return "takes features that were not offered";
      return {};
    case Message::set_protocol_features:
      if ((message.u64 & ~kVhostProtocolFeatures) != 0) {
        return "takes protocol features that were not offered";
      }
      return {};
    case Message::set_vring_num: {
      const unsigned size = message.state.number;
      if (size == 0 || size > Virtqueue::kMaxSize || (size & (size - 1)) != 0) {
        return "wants a ring of " + std::to_string(size) + " entries; a power of two to " +
               std::to_string(Virtqueue::kMaxSize) + " can be";
      }
      return vring_objection(shape->name, message.state.index, queues);
    }
    case Message::set_vring_base:
      if (message.state.number > 0xffff) return "sets a ring index beyond 65535";
      return vring_objection(shape->name, message.state.index, queues);
    case Message::get_vring_base:
    case Message::set_vring_enable:
      return vring_objection(shape->name, message.state.index, queues);
    case Message::set_vring_addr:
      if (message.address.flags != 0) return "asks for a log of a ring, which was not negotiated";
      return vring_objection(shape->name, message.address.index, queues);
    default:
      return {};
  }
}

}  // namespace podwire::io
