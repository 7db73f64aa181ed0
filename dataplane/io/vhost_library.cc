#include "dataplane/io/vhost_library.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <rte_log.h>
#include <rte_vhost.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
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
#include <iterator>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "dataplane/io/descriptor.h"
#include "dataplane/io/sigbus_guard.h"
#include "dataplane/io/vhost_receive.h"

namespace podwire::io {
namespace {

using Clock = std::chrono::steady_clock;

struct Link {
  VhostPeer* peer = nullptr;
  Clock::time_point next_try;
  Descriptor file;        // the socket in the file system
  std::string name;       // as the library knows it; empty: not registered
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

// The stream sockets of this process that nobody is connected to, or those that somebody is.
std::vector<int> unix_sockets(bool connected) {
  std::vector<int> found;
  DIR* folder = opendir("/proc/self/fd");
  if (folder == nullptr) return found;
  while (const dirent* entry = readdir(folder)) {
    const int descriptor = std::atoi(entry->d_name);
    int family = 0;
    socklen_t length = sizeof family;
    if (getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &family, &length) != 0 || family != AF_UNIX) {
      continue;
    }
    sockaddr_un peer{};
    length = sizeof peer;
    const bool has_peer = getpeername(descriptor, reinterpret_cast<sockaddr*>(&peer), &length) == 0;
    if (has_peer == connected) found.push_back(descriptor);
  }
  closedir(folder);
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<int> common(const std::vector<int>& a, const std::vector<int>& b, bool in_both) {
  std::vector<int> result;
  if (in_both) {
    std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(result));
  } else {
    std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(result));
  }
  return result;
}

// The library makes its socket when a path is registered, connects it later, and does not say which
// it is. Its name says nothing either: a pod binds its own under whatever path it sees. Nothing
// when another thread made one at the same moment: then it is tried again.
class LibrarySocket {
 public:
  LibrarySocket() : before_(unix_sockets(false)) {}
  void registered() { made_ = common(unix_sockets(false), before_, false); }
  [[nodiscard]] int connection() const {
    const auto connected = common(made_, unix_sockets(true), true);
    return connected.size() == 1 ? connected.front() : -1;
  }

 private:
  std::vector<int> before_, made_;
};

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
  message.fd_count += unasked_descriptors();
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

constexpr rte_vhost_user_extern_ops kHooks{.pre_msg_handle = before, .post_msg_handle = after};

// By the keeper, which alone connects.
Link* connecting = nullptr;
LibrarySocket* connecting_socket = nullptr;

int on_connection(int device) {
  Link* link = connecting;
  if (link == nullptr || connecting_socket == nullptr) return -1;
  link->device = device;
  links_by_device[static_cast<unsigned>(device)].store(link, std::memory_order_release);
  const int descriptor = connecting_socket->connection();
  if (descriptor < 0) return -1;
  const timeval limit{.tv_sec = 0, .tv_usec = kSocketLimitMs * 1000L};
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
  // The library has closed its descriptor, but the peer hears of it only when ours is shut as well.
  shutdown(link->connection.get(), SHUT_RDWR);
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
  // Its folder may be the pod's: what is connected to is the socket that was looked at, never what
  // a link in its place leads to.
  link.file = Descriptor(open(link.peer->path().c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat info {};
  if (!link.file || fstat(link.file.get(), &info) != 0 || !S_ISSOCK(info.st_mode)) return;
  const std::string name = "/proc/self/fd/" + std::to_string(link.file.get());
  LibrarySocket socket;
  if (rte_vhost_driver_register(name.c_str(),
                                RTE_VHOST_USER_CLIENT | RTE_VHOST_USER_NO_RECONNECT) != 0) {
    return;
  }
  link.name = name;
  socket.registered();
  connecting = &link;
  connecting_socket = &socket;
  if (rte_vhost_driver_set_features(name.c_str(), kVhostFeatures) != 0 ||
      rte_vhost_driver_set_protocol_features(name.c_str(), kVhostProtocolFeatures) != 0 ||
      rte_vhost_driver_callback_register(name.c_str(), &callbacks()) != 0 ||
      rte_vhost_driver_start(name.c_str()) != 0 || !link.connection) {
    disconnect(link);
  }
  connecting = nullptr;
  connecting_socket = nullptr;
}

// Also from half a connection. No callback for the link runs any more when this returns.
void Keeper::disconnect(Link& link) {
  if (!link.name.empty()) rte_vhost_driver_unregister(link.name.c_str());
  link.name.clear();
  link.file = Descriptor();
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
