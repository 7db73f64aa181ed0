#include "control/bgp/speaker.h"

#include <algorithm>
#include <utility>

#include "control/bgp/intent.h"
#include "control/bgp/render.h"

namespace podwire::control::bgp {
namespace {

using Clock = std::chrono::steady_clock;

// A session takes a few seconds to come up; what is down for longer is worth a sentence.
constexpr auto kPatience = std::chrono::seconds(15);

Bird::Paths paths_of(const Config& config) {
  const auto or_else = [](const std::string& given, std::string otherwise) {
    return given.empty() ? std::move(otherwise) : given;
  };
  return {config.bird_program, or_else(config.bird_config, config.state_dir + "/bird.conf"),
          or_else(config.bird_socket, config.run_dir + "/bird.ctl")};
}

}  // namespace

Speaker::Speaker(boost::asio::io_context& io, State& state)
    : state_(state),
      bird_(io, paths_of(state.config), [this] { tell(); }),
      service_routes_(state.config.node_name) {
  state_.bgp.enabled = state.config.bgp;
}

void Speaker::start() {
  if (state_.config.bgp) bird_.start();
}

void Speaker::stop() {
  bird_.stop();
}

void Speaker::follow(const Changes& changes) {
  if (!state_.config.bgp || !state_.store.synced) return;
  const bool moved = service_routes_.follow(state_.store, changes);
  const auto tunnel = tunnel_source(state_.store, state_.config.node_name, state_.linux_state);
  const bool due = !begun_ || moved || std::exchange(tunnel_, tunnel) != tunnel ||
                   state_.own_prefixes != own_ || changes.nodes || changes.bgp ||
                   changes.ip_pools || changes.service_cidrs;
  if (!due) return;
  begun_ = true;
  own_ = state_.own_prefixes;
  render_again();
}

void Speaker::render_again() {
  std::vector<build::Problem> problems;
  const auto intent = intend({.config = state_.config,
                              .store = state_.store,
                              .linux_state = state_.linux_state,
                              .own = own_,
                              .service_routes = service_routes_.routes()},
                             problems);
  object_problems_.clear();
  for (const build::Problem& problem : problems) {
    const std::string sentence = problem.object + ": " + problem.sentence;
    if (std::ranges::count(object_problems_, sentence) == 0) object_problems_.push_back(sentence);
  }
  if (intent) {
    BgpState& known = state_.bgp;
    known.router_id = intent->router_id;
    known.as_number = intent->as_number;
    known.own = intent->own;
    known.service_routes = intent->service_routes;
    known.peers.clear();
    for (const Peer& peer : intent->peers) {
      PeerState& shown = known.peers.emplace_back();
      shown.name = peer.name;
      shown.object = peer.object;
      shown.node = peer.node;
      shown.address = peer.address;
      shown.as_number = peer.as_number;
      shown.has_password = peer.password.has_value();
    }
    bird_.want(render(*intent));
  }
  tell();
}

void Speaker::add_peer_problems(std::vector<std::string>& problems) {
  const auto now = Clock::now();
  for (const PeerState& peer : state_.bgp.peers) {
    if (!peer.down_since || now - *peer.down_since < kPatience) continue;
    problems.push_back(
        "BGP peer " + peer.address.to_string() + " (" + peer.object + ", AS " +
        std::to_string(peer.as_number) + "): no session, " +
        (peer.last_error.empty()
             ? std::string("nothing is heard of it") +
                   (peer.has_password ? "; it is down, or its password is another" : "")
             : "last error: " + peer.last_error));
  }
}

void Speaker::tell() {
  BgpState& known = state_.bgp;
  known.connected = bird_.connected();
  known.version = bird_.version();
  known.reloads = bird_.reloads();
  known.refusals = bird_.refusals();
  std::map<std::string, Clock::time_point> down_since;
  for (PeerState& peer : known.peers) {
    const auto found = bird_.protocols().find(peer.name);
    const Protocol protocol = found == bird_.protocols().end() ? Protocol{} : found->second;
    peer.state = protocol.state;
    peer.last_error = protocol.last_error;
    peer.imported = protocol.imported;
    peer.exported = protocol.exported;
    peer.preferred = protocol.preferred;
    peer.filtered = protocol.filtered;
    peer.down_since.reset();
    if (!known.connected || peer.established()) continue;
    const auto before = down_since_.find(peer.name);
    peer.down_since = before == down_since_.end() ? Clock::now() : before->second;
    down_since[peer.name] = *peer.down_since;
  }
  down_since_ = std::move(down_since);
  known.problems = object_problems_;
  if (!bird_.refusal().empty()) known.problems.push_back("BGP: " + bird_.refusal());
  if (!bird_.trouble().empty()) known.problems.push_back("BGP: bird " + bird_.trouble());
  add_peer_problems(known.problems);
  log_.tell(known.problems);
}

}  // namespace podwire::control::bgp
