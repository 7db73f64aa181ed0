#include "control/serve/line_server.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <boost/asio.hpp>
#include <cerrno>
#include <cstring>
#include <set>
#include <utility>

namespace podwire::control {

namespace asio = boost::asio;
using Socket = asio::local::stream_protocol::socket;
using boost::system::error_code;

namespace {
class Connection;
}

struct LineServer::Shared {
  Shared(asio::io_context& context, LineServerOptions given, Handler on_line, Refusal on_refusal)
      : io(context),
        options(std::move(given)),
        handler(std::move(on_line)),
        refusal(std::move(on_refusal)),
        acceptor(context) {}

  asio::io_context& io;
  LineServerOptions options;
  Handler handler;
  Refusal refusal;
  asio::local::stream_protocol::acceptor acceptor;
  std::set<std::shared_ptr<Connection>> connections;
  bool bound = false;
};

namespace {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(LineServer::Shared& server, Socket socket)
      : server_(&server), socket_(std::move(socket)), timer_(server.io) {}

  void start() {
    if (!peer_is_trusted()) {
      return refuse("only root may use " + server_->options.path);
    }
    arm();
    read_more();
  }

  // The server is going away.
  void abandon() {
    server_ = nullptr;
    error_code ignored;
    socket_.close(ignored);
    timer_.cancel();
  }

 private:
  bool peer_is_trusted() {
    ucred peer{};
    socklen_t size = sizeof peer;
    if (getsockopt(socket_.native_handle(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
      return false;
    }
    return peer.uid == 0 || peer.uid == geteuid();
  }

  void arm() {
    timer_.expires_after(std::chrono::milliseconds(server_->options.idle_ms));
    timer_.async_wait([self = shared_from_this()](error_code error) {
      if (!error) self->finish();
    });
  }

  void finish() {
    if (server_ == nullptr) return;
    auto* server = std::exchange(server_, nullptr);
    error_code ignored;
    socket_.close(ignored);
    timer_.cancel();
    server->connections.erase(shared_from_this());
  }

  void read_more() {
    socket_.async_read_some(asio::buffer(chunk_),
                            [self = shared_from_this()](error_code error, std::size_t size) {
                              if (self->server_ == nullptr) return;
                              if (error) return self->finish();
                              self->take(size);
                            });
  }

  void take(std::size_t size) {
    const std::size_t seen = line_.size();
    line_.append(chunk_.data(), size);
    const auto end = line_.find('\n', seen);
    if ((end == std::string::npos ? line_.size() : end) > server_->options.longest_line) {
      return refuse("a request is at most " + std::to_string(server_->options.longest_line) +
                    " bytes long");
    }
    if (end == std::string::npos) return read_more();
    line_.resize(end);
    timer_.cancel();  // the answer may take its time
    // What the peer sends after its line is not read; that it hangs up is seen when writing.
    server_->handler(std::move(line_), [weak = weak_from_this()](std::string reply) {
      if (const auto self = weak.lock(); self && self->server_ != nullptr) {
        self->send(std::move(reply));
      }
    });
  }

  void refuse(const std::string& sentence) {
    reply_ = server_->refusal(sentence) + '\n';
    arm();
    asio::async_write(socket_, asio::buffer(reply_),
                      [self = shared_from_this()](error_code error, std::size_t) {
                        if (self->server_ == nullptr) return;
                        if (error) return self->finish();
                        self->socket_.shutdown(Socket::shutdown_send, error);
                        self->see_off();
                      });
  }

  // Until the peer hangs up, or its time is over: closed with something unread, the socket would
  // tell it of a reset and not why.
  void see_off() {
    socket_.async_read_some(asio::buffer(chunk_),
                            [self = shared_from_this()](error_code error, std::size_t) {
                              if (self->server_ == nullptr) return;
                              if (error) return self->finish();
                              self->see_off();
                            });
  }

  void send(std::string reply) {
    reply_ = std::move(reply);
    reply_ += '\n';
    arm();
    asio::async_write(socket_, asio::buffer(reply_),
                      [self = shared_from_this()](error_code, std::size_t) { self->finish(); });
  }

  LineServer::Shared* server_;  // null: closed
  Socket socket_;
  asio::steady_timer timer_;
  std::array<char, 4096> chunk_{};
  std::string line_, reply_;
};

void accept_next(const std::shared_ptr<LineServer::Shared>& server) {
  server->acceptor.async_accept([weak = std::weak_ptr(server)](error_code error, Socket socket) {
    const auto shared = weak.lock();
    if (!shared || !shared->acceptor.is_open()) return;
    if (!error && shared->connections.size() < shared->options.most_connections) {
      const auto connection = std::make_shared<Connection>(*shared, std::move(socket));
      shared->connections.insert(connection);
      connection->start();
    }
    if (error == asio::error::no_descriptors) {
      // Out of descriptors: asking again at once would spin.
      auto pause = std::make_shared<asio::steady_timer>(shared->io, std::chrono::seconds(1));
      pause->async_wait([weak, pause](error_code) {
        if (const auto later = weak.lock(); later && later->acceptor.is_open()) {
          accept_next(later);
        }
      });
      return;
    }
    accept_next(shared);
  });
}

bool somebody_serves(const std::string& path) {
  const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (probe < 0) return false;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  const bool served = connect(probe, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  close(probe);
  return served;
}

}  // namespace

LineServer::LineServer(asio::io_context& io, LineServerOptions options, Handler handler,
                       Refusal refusal)
    : shared_(std::make_shared<Shared>(io, std::move(options), std::move(handler),
                                       std::move(refusal))) {}

LineServer::~LineServer() {
  stop_listening();
  auto connections = std::move(shared_->connections);
  shared_->connections.clear();
  for (const auto& connection : connections) connection->abandon();
}

Result<void> LineServer::listen() {
  const std::string& path = shared_->options.path;
  if (path.size() >= sizeof(sockaddr_un::sun_path)) {
    return fail(path + ": longer than a socket's path may be; choose a shorter run-dir");
  }
  if (somebody_serves(path)) {
    return fail(path + ": another podwired serves it; stop that one or choose another run-dir");
  }
  struct stat before {};
  if (lstat(path.c_str(), &before) == 0) {
    if (!S_ISSOCK(before.st_mode)) return fail(path + ": is there and is no socket; remove it");
    unlink(path.c_str());
  }
  auto& acceptor = shared_->acceptor;
  error_code error;
  acceptor.open({}, error);
  if (!error) {
    // The mode must hold from the first moment on.
    const mode_t mask = umask(0177);
    acceptor.bind({path}, error);
    umask(mask);
  }
  if (!error) shared_->bound = true;
  if (!error) acceptor.listen(128, error);
  if (error) {
    stop_listening();
    return fail(path + ": cannot be served: " + error.message());
  }
  accept_next(shared_);
  return {};
}

void LineServer::stop_listening() {
  error_code ignored;
  shared_->acceptor.close(ignored);
  if (std::exchange(shared_->bound, false)) unlink(shared_->options.path.c_str());
}

}  // namespace podwire::control
