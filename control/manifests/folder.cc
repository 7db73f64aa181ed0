#include "control/manifests/folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <set>
#include <system_error>
#include <tuple>

#include "control/manifests/document.h"
#include "control/manifests/manifest_file.h"

namespace podwire::control::manifests {
namespace {

namespace asio = boost::asio;

// A burst of events (a rename is two) is taken as one change.
constexpr auto kGather = std::chrono::milliseconds(5);
// A deletion may be the first of a whole folder's, which is no change of what is in force.
constexpr auto kGatherDeletion = std::chrono::milliseconds(20);
constexpr auto kLook = std::chrono::seconds(1);
// Not IN_MODIFY: a file is read when its writer has closed it.
constexpr std::uint32_t kEvents = IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO |
                                  IN_DELETE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF |
                                  IN_ONLYDIR;

std::string error_text(int error) {
  return std::generic_category().message(error);
}

// What differs when a file was written or replaced.
using Identity = std::tuple<dev_t, ino_t, off_t, long, long, long, long>;

Identity identity_of(const struct stat& s) {
  return {s.st_dev,          s.st_ino,         s.st_size,        s.st_mtim.tv_sec,
          s.st_mtim.tv_nsec, s.st_ctim.tv_sec, s.st_ctim.tv_nsec};
}

Result<std::string> read_whole(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return fail("cannot be read: " + error_text(errno));
  std::string text;
  std::array<char, 65536> part;
  ssize_t count = 0;
  // One byte past the limit is enough for the reader to refuse it.
  while (text.size() <= kMaxText && (count = read(file, part.data(), part.size())) > 0) {
    text.append(part.data(), static_cast<std::size_t>(count));
  }
  const int error = errno;
  close(file);
  if (count < 0) return fail("cannot be read: " + error_text(error));
  return text;
}

}  // namespace

class Folder::Watch : public std::enable_shared_from_this<Folder::Watch> {
 public:
  Watch(asio::io_context& io, std::string path, Events events)
      : path_(std::move(path)), events_(std::move(events)), inotify_(io), gather_(io), look_(io) {}

  void start() {
    open_watch();
    if (watching_) {
      look_at_all(true);
      deliver(true);
    }
    schedule_look();
  }

  void stop() {
    stopped_ = true;
    close_watch();
    gather_.cancel();
    look_.cancel();
  }

 private:
  void say_health(const std::string& trouble) {
    if (health_said_ && trouble == trouble_) return;
    health_said_ = true;
    trouble_ = trouble;
    events_.health(trouble);
  }

  void open_watch() {
    const int descriptor = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (descriptor < 0) return say_health("cannot be watched: " + error_text(errno));
    if (inotify_add_watch(descriptor, path_.c_str(), kEvents) < 0) {
      const int error = errno;
      close(descriptor);
      return say_health(error == ENOSPC ? "cannot be watched: raise fs.inotify.max_user_watches"
                                        : "cannot be watched: " + error_text(error));
    }
    struct stat status {};
    stat(path_.c_str(), &status);
    folder_ = {status.st_dev, status.st_ino};
    inotify_.assign(descriptor);
    watching_ = true;
    say_health("");
    wait_for_events();
  }

  void close_watch() {
    watching_ = false;
    boost::system::error_code ignored;
    inotify_.close(ignored);
  }

  void wait_for_events() {
    inotify_.async_wait(asio::posix::stream_descriptor::wait_read,
                        [self = shared_from_this()](const boost::system::error_code& error) {
                          if (error || self->stopped_) return;
                          self->read_events();
                          if (self->watching_) self->wait_for_events();
                        });
  }

  void read_events() {
    alignas(inotify_event) std::array<char, 16384> buffer;
    ssize_t count = 0;
    bool lost = false;
    while ((count = read(inotify_.native_handle(), buffer.data(), buffer.size())) > 0) {
      for (ssize_t at = 0; at < count;) {
        inotify_event event;
        std::memcpy(&event, buffer.data() + at, sizeof event);
        const char* const name = event.len > 0 ? buffer.data() + at + sizeof event : "";
        lost =
            (event.mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT)) != 0 || lost;
        note(event.mask, name);
        at += static_cast<ssize_t>(sizeof event + event.len);
      }
    }
    if (lost) close_watch();  // looked for again in look()
    if (gathering_ || (named_.empty() && !all_)) return;
    gathering_ = true;
    gather_.expires_after(deletion_ ? kGatherDeletion : kGather);
    gather_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
      if (error || self->stopped_) return;
      self->gathering_ = false;
      self->take_gathered();
    });
  }

  void note(std::uint32_t mask, const std::string& name) {
    if ((mask & IN_Q_OVERFLOW) != 0) all_ = true;
    if (name.empty()) return;
    if (!is_manifest_name(name)) {
      // kubelet swaps a ConfigMap's files by moving one link, "..data".
      if ((mask & (IN_MOVED_TO | IN_CREATE | IN_DELETE)) != 0) all_ = true;
      return;
    }
    deletion_ = (mask & IN_DELETE) != 0 || deletion_;
    if ((mask & IN_CREATE) != 0) {
      // A new file is read when it is closed; a link is complete at once and is never closed.
      struct stat status {};
      const bool there = lstat((path_ + "/" + name).c_str(), &status) == 0;
      if (there && S_ISREG(status.st_mode) && status.st_nlink < 2) return;
    }
    named_.insert(name);
  }

  void take_gathered() {
    deletion_ = false;
    if (!watching_) {  // gone with its files: what was read stays
      named_.clear();
      all_ = false;
      return;
    }
    if (std::exchange(all_, false)) look_at_all(true);
    for (const std::string& name : named_) look_at(name, true);
    named_.clear();
    deliver(false);
  }

  // Reads the file if it is another than the one last read. One that is being written (`settled`
  // false: nobody said that it is complete) is left for later.
  void look_at(const std::string& name, bool settled) {
    const std::string path = path_ + "/" + name;
    struct stat status {};
    if (stat(path.c_str(), &status) != 0) {
      const int error = errno;
      if (lstat(path.c_str(), &status) != 0) {
        if (known_.erase(name) > 0) changed_[name] = std::nullopt;
      } else {  // a link to nowhere
        const auto [known, is_new] = known_.try_emplace(name);
        if (!is_new && known->second == Identity{}) return;
        known->second = {};
        changed_[name] = Result<std::string>(fail("cannot be read: " + error_text(error)));
      }
      return;
    }
    if (!S_ISREG(status.st_mode)) return;
    const Identity identity = identity_of(status);
    const auto known = known_.find(name);
    if (known != known_.end() && known->second == identity) return;
    if (!settled && std::time(nullptr) - status.st_mtim.tv_sec < 2) return;
    known_[name] = identity;
    changed_[name] = read_whole(path);
  }

  void look_at_all(bool settled) {
    DIR* const folder = opendir(path_.c_str());
    if (folder == nullptr) return say_health("cannot be read: " + error_text(errno));
    std::set<std::string> names;
    while (const dirent* const file = readdir(folder)) {
      if (is_manifest_name(file->d_name)) names.insert(file->d_name);
    }
    closedir(folder);
    for (const auto& [name, identity] : known_) names.insert(name);
    for (const std::string& name : names) look_at(name, settled);
    say_health("");
  }

  void deliver(bool always) {
    if (changed_.empty() && !always) return;
    delivered_ = true;
    events_.changed(std::exchange(changed_, {}));
  }

  void schedule_look() {
    look_.expires_after(kLook);
    look_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
      if (error || self->stopped_) return;
      self->look();
      self->schedule_look();
    });
  }

  void look() {
    struct stat status {};
    const bool there = stat(path_.c_str(), &status) == 0;
    const bool same = there && folder_ == std::pair(status.st_dev, status.st_ino);
    if (watching_ && !same) close_watch();
    const bool reopened = !watching_;
    if (reopened) open_watch();
    if (!watching_) return;
    look_at_all(reopened);
    deliver(!delivered_);
  }

  const std::string path_;
  const Events events_;
  asio::posix::stream_descriptor inotify_;
  asio::steady_timer gather_, look_;
  bool watching_ = false, stopped_ = false, gathering_ = false, all_ = false, delivered_ = false;
  bool health_said_ = false, deletion_ = false;
  std::string trouble_;
  std::pair<dev_t, ino_t> folder_{};
  std::set<std::string> named_;            // of events not yet taken
  std::map<std::string, Identity> known_;  // of the content last read
  Files changed_;
};

Folder::Folder(asio::io_context& io, std::string path, Events events)
    : watch_(std::make_shared<Watch>(io, std::move(path), std::move(events))) {}

Folder::~Folder() {
  watch_->stop();
}

void Folder::start() {
  watch_->start();
}

void Folder::stop() {
  watch_->stop();
}

}  // namespace podwire::control::manifests
