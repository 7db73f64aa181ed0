#include "dataplane/io/vhost_library.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <rte_log.h>
#include <rte_vhost.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "dataplane/io/descriptor.h"
#include "dataplane/io/sigbus_guard.h"

namespace podwire::io {
namespace {

using Clock = std::chrono::steady_clock;

struct Link {
  VhostPeer* peer = nullptr;
  Clock::time_point next_try;
  bool registered = false;
  int device = -1;        // -1: not connected
  Descriptor connection;  // our own copy
  std::atomic<bool> closed{false};
};

// By the library's device number; its callbacks know nothing else.
std::array<std::atomic<Link*>, RTE_MAX_VHOST_DEVICE> links_by_device;

Link* link_of(int device) {
  if (device < 0 || device >= RTE_MAX_VHOST_DEVICE) return nullptr;
  return links_by_device[static_cast<unsigned>(device)].load(std::memory_order_acquire);
}

// The socket that is connected to `path`: the library does not say which it made. -1: none.
int connection_to(const std::string& path) {
  DIR* folder = opendir("/proc/self/fd");
  if (folder == nullptr) return -1;
  int found = -1;
  while (const dirent* entry = readdir(folder)) {
    const int descriptor = std::atoi(entry->d_name);
    sockaddr_un address{};
    socklen_t length = sizeof address;
    if (getpeername(descriptor, reinterpret_cast<sockaddr*>(&address), &length) != 0 ||
        address.sun_family != AF_UNIX || length <= offsetof(sockaddr_un, sun_path)) {
      continue;
    }
    const auto bytes = length - offsetof(sockaddr_un, sun_path);
    if (path == std::string(address.sun_path, strnlen(address.sun_path, bytes))) {
      found = descriptor;
      break;
    }
  }
  closedir(folder);
  return found;
}

// Half of what a socket holds at least (net.core.wmem_default); a guest reads each answer before it
// goes on.
constexpr int kMostUnread = 64 * 1024;

bool leaves_answers(const Link& link) {
  int bytes = 0;
  return ioctl(link.connection.get(), SIOCOUTQ, &bytes) == 0 && bytes > kMostUnread;
}

// The library touches rings in memory that it has just mapped, which nobody watches yet.
std::atomic<bool> faulted{false};

rte_vhost_msg_result before(int device, void* raw) {
  survive_sigbus_here(faulted);
  Link* link = link_of(device);
  if (link == nullptr) return RTE_VHOST_MSG_RESULT_ERR;
  auto& message = *static_cast<VhostMessage*>(raw);
  switch (link->peer->before(message, leaves_answers(*link))) {
    case VhostPeer::Pass::on:
      return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
    case VhostPeer::Pass::answered:
      return RTE_VHOST_MSG_RESULT_REPLY;
    case VhostPeer::Pass::refused:
      break;
  }
  // The library would leave the descriptors open, and the connection too if an answer was asked
  // for.
  message.close_fds();
  message.flags &= ~VhostMessage::kNeedReply;
  return RTE_VHOST_MSG_RESULT_ERR;
}

rte_vhost_msg_result after(int device, void* raw) {
  Link* link = link_of(device);
  auto& message = *static_cast<VhostMessage*>(raw);
  const bool lost = faulted.exchange(false, std::memory_order_acq_rel);
  if (link != nullptr && link->peer->after(message, lost)) return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
  message.flags &= ~VhostMessage::kNeedReply;
  return RTE_VHOST_MSG_RESULT_ERR;
}

const rte_vhost_user_extern_ops kHooks{.pre_msg_handle = before, .post_msg_handle = after};

Link* connecting = nullptr;  // by the keeper, which alone connects

int on_connection(int device) {
  Link* link = connecting;
  if (link == nullptr) return -1;
  link->device = device;
  links_by_device[static_cast<unsigned>(device)].store(link, std::memory_order_release);
  const int descriptor = connection_to(link->peer->path());
  if (descriptor < 0) return -1;
  const timeval limit{.tv_sec = 0, .tv_usec = kSocketLimitMs * 1000};
  if (setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0 ||
      setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0 ||
      rte_vhost_extern_callback_register(device, &kHooks, nullptr) != 0) {
    return -1;
  }
  link->connection = Descriptor(fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
  link->peer->connected(device);
  return 0;
}

void on_disconnection(int device) {
  Link* link = link_of(device);
  if (link == nullptr) return;
  link->peer->disconnected();
  link->closed.store(true, std::memory_order_release);
}

int on_device(int device) {
  if (Link* link = link_of(device)) link->peer->device_running(true);
  return 0;
}

void on_device_end(int device) {
  if (Link* link = link_of(device)) link->peer->device_running(false);
}

int on_ring(int device, std::uint16_t ring, int enable) {
  if (Link* link = link_of(device)) link->peer->ring_ready(ring, enable != 0);
  return 0;
}

const rte_vhost_device_ops& callbacks() {
  static const rte_vhost_device_ops ops = [] {
    rte_vhost_device_ops made{};
    made.new_device = on_device;
    made.destroy_device = on_device_end;
    made.vring_state_changed = on_ring;
    made.new_connection = on_connection;
    made.destroy_connection = on_disconnection;
    return made;
  }();
  return ops;
}

class Keeper {
 public:
  static Keeper& get() {
    static Keeper keeper;
    return keeper;
  }
  ~Keeper() { stop(); }
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  Result<void> add(VhostPeer& peer);
  void remove(VhostPeer& peer);

 private:
  Keeper() = default;
  void run();
  void look_after(Link& link);
  void connect(Link& link);
  void disconnect(Link& link);
  void stop();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::unique_ptr<Link>> links_;
  std::thread thread_;
  bool stopping_ = false;
};

Result<void> Keeper::add(VhostPeer& peer) {
  const std::scoped_lock lock(mutex_);
  for (const auto& link : links_) {
    if (link->peer->path() == peer.path()) {
      return fail("vhost-user socket " + peer.path() + ": another port has it");
    }
  }
  if (links_.size() >= RTE_MAX_VHOST_DEVICE) {
    return fail("vhost-user socket " + peer.path() + ": the node already has " +
                std::to_string(links_.size()) + " vhost-user ports, which is the limit");
  }
  // What it says of peers, our own sentences say better (Port::down_reason).
  rte_log_set_level_pattern("lib.vhost.*", RTE_LOG_CRIT);
  links_.push_back(std::make_unique<Link>());
  links_.back()->peer = &peer;
  if (!thread_.joinable()) {
    stopping_ = false;
    thread_ = std::thread([this] { run(); });
    pthread_setname_np(thread_.native_handle(), "vhost-keeper");
  }
  wake_.notify_one();
  return {};
}

void Keeper::remove(VhostPeer& peer) {
  bool last = false;
  {
    const std::scoped_lock lock(mutex_);
    const auto found = std::find_if(links_.begin(), links_.end(),
                                    [&](const auto& link) { return link->peer == &peer; });
    if (found == links_.end()) return;
    disconnect(**found);
    links_.erase(found);
    last = links_.empty();
  }
  if (last) stop();
}

void Keeper::stop() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Keeper::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    for (const auto& link : links_) look_after(*link);
    wake_.wait_for(lock, std::chrono::milliseconds(kRetryMs));
  }
}

void Keeper::look_after(Link& link) {
  if (link.closed.load(std::memory_order_acquire)) {
    disconnect(link);
    link.next_try =
        Clock::now() + std::chrono::milliseconds(link.peer->misbehaved() ? kPenaltyMs : kRetryMs);
  } else if (link.device >= 0) {
    // The library's thread then reads the end of the stream, and does the rest.
    if (link.peer->unwanted()) shutdown(link.connection.get(), SHUT_RDWR);
  } else if (Clock::now() >= link.next_try) {
    connect(link);
  }
}

void Keeper::connect(Link& link) {
  const char* path = link.peer->path().c_str();
  if (access(path, F_OK) != 0) return;
  if (rte_vhost_driver_register(path, RTE_VHOST_USER_CLIENT | RTE_VHOST_USER_NO_RECONNECT) != 0) {
    return;
  }
  link.registered = true;
  connecting = &link;
  if (rte_vhost_driver_set_features(path, kVhostFeatures) != 0 ||
      rte_vhost_driver_set_protocol_features(path, kVhostProtocolFeatures) != 0 ||
      rte_vhost_driver_callback_register(path, &callbacks()) != 0 ||
      rte_vhost_driver_start(path) != 0 || !link.connection) {
    disconnect(link);
  }
  connecting = nullptr;
}

// Also from half a connection. No callback for the link runs any more when this returns.
void Keeper::disconnect(Link& link) {
  if (link.registered) rte_vhost_driver_unregister(link.peer->path().c_str());
  link.registered = false;
  if (link.device >= 0) {
    links_by_device[static_cast<unsigned>(link.device)].store(nullptr, std::memory_order_release);
    if (!link.closed.load(std::memory_order_acquire)) link.peer->disconnected();
  }
  link.device = -1;
  link.connection = Descriptor();
  link.closed.store(false, std::memory_order_release);
}

}  // namespace

Result<void> vhost_attach(VhostPeer& peer) {
  return Keeper::get().add(peer);
}

void vhost_detach(VhostPeer& peer) {
  Keeper::get().remove(peer);
}

}  // namespace podwire::io
