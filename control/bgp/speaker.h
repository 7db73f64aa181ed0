// BGP on this node, in one: objects -> bird's configuration, bird's answers -> State::bgp. What the
// control loop uses of this folder. Control thread only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "control/bgp/bird.h"
#include "control/bgp/service_routes.h"
#include "control/change_log.h"
#include "control/state.h"
#include "control/store.h"

namespace podwire::control::bgp {

class Speaker {
 public:
  // Both outlive it. Does nothing when config.bgp is off.
  Speaker(boost::asio::io_context& io, State& state);

  void start();
  void stop();
  // After a build from these: bird's configuration follows.
  void follow(const Changes& changes);

 private:
  void render_again();
  void tell();  // State::bgp from what is known
  void add_peer_problems(std::vector<std::string>& problems);

  State& state_;
  Bird bird_;
  ServiceRoutes service_routes_;
  std::vector<net::Prefix> own_;
  std::optional<net::Address> tunnel_;  // as rendered
  std::vector<std::string> object_problems_;
  std::map<std::string, std::chrono::steady_clock::time_point> down_since_;  // by peer's name
  ChangeLog log_;
  bool begun_ = false;
};

}  // namespace podwire::control::bgp
