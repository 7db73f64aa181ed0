// This node's bird: its configuration is checked by bird itself, put in place, and taken by the
// bird that runs; what it says of its protocols is followed. Control thread only.
//
//   want(text) ── bird -p ──┬── refused: bird's sentence; the last one stays
//                           └── renamed into place ── configure ── asked for its number
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "control/bgp/bird_client.h"
#include "control/bgp/program.h"
#include "control/bgp/protocols.h"

namespace podwire::control::bgp {

class Bird {
 public:
  struct Paths {
    std::string program, configuration, socket;
  };
  // `changed` is called from the event loop when what the readers below answer became another.
  Bird(boost::asio::io_context& io, Paths paths, std::function<void()> changed);

  void start();
  void stop();
  // What bird is to do from now on; the same text twice costs nothing.
  void want(std::string text);

  [[nodiscard]] bool connected() const { return client_.connected(); }
  [[nodiscard]] const std::string& version() const { return version_; }
  [[nodiscard]] const std::map<std::string, Protocol>& protocols() const { return protocols_; }
  [[nodiscard]] std::uint64_t reloads() const { return reloads_; }
  [[nodiscard]] std::uint64_t refusals() const { return refusals_; }
  // One sentence each; empty: nothing is wrong.
  [[nodiscard]] const std::string& refusal() const { return refusal_; }
  [[nodiscard]] const std::string& trouble() const { return trouble_; }

 private:
  void settle();
  void checked(const std::string& text, const Program::End& end);
  Result<void> install(const std::string& text);
  Result<void> write_aside(const std::string& text) const;
  void compare();  // what runs with what is in place
  void configure();
  void follow();
  void refuse(std::string sentence);
  void give_up_for_now(std::string sentence);

  boost::asio::io_context& io_;
  const Paths paths_;
  const std::function<void()> changed_;
  BirdClient client_;
  boost::asio::steady_timer timer_, again_;
  std::unique_ptr<Program> check_;
  std::optional<std::string> wanted_, refused_;
  std::string in_place_;  // the file's text, when it is one of ours
  std::string version_, refusal_, trouble_;
  std::map<std::string, Protocol> protocols_;
  std::uint64_t reloads_ = 0, refusals_ = 0;
  bool stopped_ = false;
};

}  // namespace podwire::control::bgp
