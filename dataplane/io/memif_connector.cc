#include "dataplane/io/memif_connector.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>

namespace podwire::io {
namespace {

using namespace std::chrono_literals;

constexpr auto kHandshakeTime = 2s;
constexpr auto kShortestPause = 5ms;  // between two connections
constexpr auto kLongestPause = 1000ms;
constexpr auto kGoodBehaviour = 1s;  // connected for so long: earlier failures are forgotten
constexpr auto kRetireCheck = 1ms;
constexpr unsigned kMessagesAtOnce = 16;

}  // namespace

MemifConnector::MemifConnector(const MemifSpec& spec, MemifPort& port, std::uint64_t id,
                               const Surroundings& surroundings)
    : spec_(spec), port_(port), id_(id), around_(surroundings) {}

MemifConnector::~MemifConnector() {
  if (connection_) end("the port is removed");
  if (listener_) remove_memif_socket(spec_.address);
}

Result<void> MemifConnector::open() {
  if (spec_.terms.role == MemifRole::client) return {};
  auto listener = listen_memif(spec_.address);
  if (!listener) return tl::unexpected(listener.error());
  listener_ = std::move(*listener);
  return {};
}

void MemifConnector::say(const std::string& what) {
  if (what == last_said_) return;  // a peer that fails the same way again and again
  last_said_ = what;
  around_.report("memif " + spec_.address.socket + ": " + what);
}

void MemifConnector::listen_for_peers(bool on) {
  if (!listener_ || on == listening_) return;
  epoll_event event{.events = EPOLLIN, .data = {.u64 = id_ * 2 + 1}};
  epoll_ctl(around_.epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, listener_.get(), &event);
  listening_ = on;
}

void MemifConnector::on_listener() {
  if (connection_) return;
  Descriptor accepted(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (accepted) begin(std::move(accepted));
}

void MemifConnector::call() {
  auto connection = connect_memif(spec_.address);
  if (connection) return begin(std::move(*connection));
  down_reason_ = connection.error().message;
  not_before_ = Clock::now() + kLongestPause;
}

void MemifConnector::begin(Descriptor connection) {
  listen_for_peers(false);
  connection_ = std::move(connection);
  peer_ = memif_peer(connection_.get());
  epoll_event event{.events = EPOLLIN, .data = {.u64 = id_ * 2}};
  epoll_ctl(around_.epoll, EPOLL_CTL_ADD, connection_.get(), &event);
  handshake_ = std::make_unique<MemifHandshake>(spec_.terms);
  began_ = Clock::now();
  send_outgoing();
}

void MemifConnector::send_outgoing() {
  while (connection_ && !handshake_->outgoing.empty()) {
    const MemifHandshake::Outgoing out = std::move(handshake_->outgoing.front());
    handshake_->outgoing.pop_front();
    if (auto sent = send_memif(connection_.get(), out.message, out.passed.get()); !sent) {
      end(sent.error().message);
    }
  }
}

void MemifConnector::on_connection() {
  for (unsigned i = 0; i < kMessagesAtOnce && connection_; ++i) {
    auto received = receive_memif(connection_.get());
    if (received && !*received) return;
    const bool over = !received || (*received)->message.type == memif::Type::disconnect;
    const auto taken = received
                           ? handshake_->take((*received)->message, std::move((*received)->passed))
                           : Result<void>(tl::unexpected(received.error()));
    if (!taken) return end(taken.error().message, over);
    // The rings are in use before the peer hears that they are.
    if (auto link = handshake_->take_link()) {
      memory_ = &link->memory;
      attached_ = true;
      began_ = Clock::now();
      down_reason_.clear();
      last_said_.clear();
      say("connected to \"" + handshake_->peer_name() + "\" " + peer_);
      port_.attach(std::move(link));
    }
    send_outgoing();
  }
}

// The connection is over: workers lose the link at once, its memory goes when they have moved on.
void MemifConnector::end(const std::string& reason, bool was_orderly) {
  static_cast<void>(send_memif(connection_.get(), MemifHandshake::disconnect_message(reason), -1));
  epoll_ctl(around_.epoll, EPOLL_CTL_DEL, connection_.get(), nullptr);
  connection_.reset();
  handshake_.reset();
  const auto now = Clock::now();
  const bool good = attached_ && (was_orderly || now - began_ >= kGoodBehaviour);
  failures_ = good ? 0 : failures_ + 1;
  auto pause = kShortestPause * (1U << std::min(failures_, 8U));
  not_before_ = now + std::min<Clock::duration>(pause, kLongestPause);
  down_reason_ = reason;
  say("down: " + reason + " (" + peer_ + ")");
  if (!attached_) return;
  attached_ = false;
  memory_ = nullptr;
  retired_.link = port_.detach();
  retired_.token = around_.quiescence.begin();
}

bool MemifConnector::let_go_of_link() {
  if (retired_.link != nullptr && around_.quiescence.passed(retired_.token)) retired_.link.reset();
  return retired_.link == nullptr;
}

std::optional<MemifConnector::Clock::time_point> MemifConnector::tick(Clock::time_point now) {
  if (attached_ && memory_->fault() != MemifFault::none) end(describe(memory_->fault()));
  if (connection_ && !attached_ && now - began_ >= kHandshakeTime) {
    end("it did not finish its handshake in 2 seconds");
  }
  if (!let_go_of_link()) return now + kRetireCheck;
  if (attached_) return std::nullopt;
  if (connection_) return began_ + kHandshakeTime;
  if (now < not_before_) return not_before_;
  if (spec_.terms.role == MemifRole::server) {
    listen_for_peers(true);
    return std::nullopt;
  }
  call();
  return connection_ ? began_ + kHandshakeTime : not_before_;
}

}  // namespace podwire::io
