// The thread that speaks memif's control protocol for every memif port of the node: it serves and
// calls sockets, hears messages, hands links to ports and takes them away. Every wait of a peer is
// bounded: one connection a port at a time, two seconds to say everything, and longer and longer
// pauses for a peer that breaks the rules.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "dataplane/io/event_signal.h"
#include "dataplane/io/memif.h"
#include "dataplane/tables/quiescence.h"

namespace podwire::io {

class MemifConnector;

class MemifService : public std::enable_shared_from_this<MemifService> {
 public:
  // What an operator should know, one line each: who has connected, why a port went down. Called on
  // the memif thread.
  using Report = std::function<void(const std::string&)>;
  // `quiescence` outlives every port.
  static Result<std::shared_ptr<MemifService>> start(tables::Quiescence& quiescence, Report report);
  ~MemifService();
  MemifService(const MemifService&) = delete;
  MemifService& operator=(const MemifService&) = delete;

  // A port whose socket is served, or called again and again until somebody serves it. The error
  // names the socket and what is wrong with it, or the wrong value. Control thread.
  Result<std::shared_ptr<MemifPort>> open(const MemifSpec& spec, unsigned workers,
                                          rte_mempool& packets, rte_mempool& large);
  // Ends the port's connection and socket. No worker uses the port any more. Control thread.
  void remove(const MemifPort& port);
  // Empty while the port is up. Any thread but workers.
  [[nodiscard]] std::string down_reason(const MemifPort& port);

  // Workers: a peer's eventfd; a link that has gone bad.
  void signal(int eventfd) noexcept { signal_.send(eventfd); }
  void wake() noexcept;

 private:
  MemifService(tables::Quiescence& quiescence, Report report, EventSignal signal);
  void run();
  int tick();

  tables::Quiescence& quiescence_;
  const Report report_;
  EventSignal signal_;
  Descriptor epoll_, wake_;
  std::mutex mutex_;  // everything below; never a worker's
  std::map<std::uint64_t, std::unique_ptr<MemifConnector>> connectors_;
  std::uint64_t next_id_ = 1;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace podwire::io
