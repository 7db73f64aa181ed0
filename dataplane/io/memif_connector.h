// What the memif thread keeps for one port: its socket, the connection it has now, and the links
// that workers may still see. Memif thread, or under the service's mutex.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "dataplane/io/memif.h"
#include "dataplane/io/memif_handshake.h"
#include "dataplane/tables/quiescence.h"

namespace podwire::io {

class MemifConnector {
 public:
  using Clock = std::chrono::steady_clock;
  struct Surroundings {
    tables::Quiescence& quiescence;
    const std::function<void(const std::string&)>& report;
    int epoll;  // events carry id * 2, and one more for the listening socket
  };
  MemifConnector(const MemifSpec& spec, MemifPort& port, std::uint64_t id,
                 const Surroundings& surroundings);
  // Says goodbye and closes everything; a file-system socket is removed.
  ~MemifConnector();
  MemifConnector(const MemifConnector&) = delete;
  MemifConnector& operator=(const MemifConnector&) = delete;

  // A server's socket; a client has nothing to open.
  Result<void> open();
  void on_listener();
  void on_connection();
  // What time brings. Returns when it wants to be called again; nothing: when an event comes.
  std::optional<Clock::time_point> tick(Clock::time_point now);

  [[nodiscard]] const MemifPort& port() const { return port_; }
  [[nodiscard]] const std::string& down_reason() const { return down_reason_; }

 private:
  void begin(Descriptor connection);
  void send_outgoing();
  // `was_orderly`: the peer ended a connection by the rules, and may come back at once.
  void end(const std::string& reason, bool was_orderly = false);
  void call();
  void listen_for_peers(bool on);
  void say(const std::string& what);
  bool let_go_of_link();

  const MemifSpec spec_;
  MemifPort& port_;
  const std::uint64_t id_;
  const Surroundings around_;
  Descriptor listener_, connection_;
  bool listening_ = false;
  std::unique_ptr<MemifHandshake> handshake_;
  bool attached_ = false;
  MemifMemory* memory_ = nullptr;  // of the attached link
  struct {
    std::unique_ptr<MemifLink> link;
    std::uint64_t token = 0;
  } retired_;
  Clock::time_point began_{}, not_before_{};
  unsigned failures_ = 0;
  std::string down_reason_ = "no peer has connected yet", peer_, last_said_;
};

}  // namespace podwire::io
