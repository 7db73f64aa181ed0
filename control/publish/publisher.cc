#include "control/publish/publisher.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "control/build/blocks.h"
#include "control/log.h"
#include "control/publish/denied_flows.h"

namespace podwire::control {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

// Workers pass a quiescent point once a round, microseconds apart, unless one is held up.
constexpr auto kReclaim = 1ms;
// Flows under way have met their next packet by then, and were ended by it, under its own reason.
constexpr auto kIdleFor = 500ms;

using PodAddresses = std::map<std::string, std::vector<net::Address>>;

PodAddresses addresses_of(const std::vector<Attachment>& attachments) {
  PodAddresses addresses;
  for (const Attachment& attachment : attachments) {
    // Of a pod's interfaces the first that was attached is its own in Kubernetes' eyes.
    if (!attachment.pod.empty()) addresses.try_emplace(attachment.pod, attachment.ips);
  }
  return addresses;
}

}  // namespace

Publisher::Publisher(boost::asio::io_context& io, State& state, StoreWriter& store,
                     Published published)
    : io_(io),
      state_(state),
      store_(store),
      published_(std::move(published)),
      build_timer_(io),
      force_timer_(io),
      sweep_timer_(io),
      builder_(state.config),
      sweeps_(io, state.dataplane) {}

// A single change is built at once. In a burst the next build waits: the control thread has at
// least as much time for all else as it builds.
void Publisher::objects_changed() {
  const auto pause = std::max<Clock::duration>(
      std::chrono::milliseconds(state_.config.min_sync_period_ms), state_.last_build_time);
  build_at(std::max(Clock::now(), last_built_ + pause));
}

void Publisher::synced() {
  state_.store.synced = true;
  build_at(Clock::now());
}

void Publisher::attachments_changed() {
  attachments_changed_ = true;
  build_at(Clock::now());
}

void Publisher::linux_changed(bool others) {
  linux_changed_ |= others;
  objects_changed();
}

void Publisher::when_in_force(std::function<void()> told) {
  if (build_due_) {
    waiting_.push_back(std::move(told));
    return;
  }
  next_force_.waiting.push_back(std::move(told));
  watch_for_force();
}

LoopHooks Publisher::hooks() {
  return {.attachments_changed = [this] { attachments_changed(); },
          .when_in_force = [this](std::function<void()> told) { when_in_force(std::move(told)); },
          .later = [this](std::chrono::milliseconds time,
                          std::function<void()> told) { later(time, std::move(told)); },
          .end_flows =
              [this](FlowSweeps::Ends ends, std::function<void()> then) {
                sweeps_.add(std::move(ends), [then = std::move(then)](std::size_t) { then(); });
              }};
}

void Publisher::later(std::chrono::milliseconds time, std::function<void()> told) {
  const auto timer = std::make_shared<boost::asio::steady_timer>(io_, time);
  timer->async_wait([this, timer, told = std::move(told)](const boost::system::error_code& error) {
    if (!error && !stopped_) told();
  });
}

void Publisher::build_at(Clock::time_point at) {
  if (stopped_ || (build_due_ && due_at_ <= at)) return;
  if (!build_due_) state_.sync.queued();
  build_due_ = true;
  due_at_ = at;
  build_timer_.expires_at(at);
  build_timer_.async_wait([this](const boost::system::error_code& error) {
    // A wait that had ended already when it was moved up comes a second time.
    if (!error && build_due_ && !stopped_) build();
  });
}

void Publisher::build() {
  const auto begin = Clock::now();
  build_due_ = false;
  build_timer_.cancel();
  if (attachments_changed_) store_.set_pod_addresses(addresses_of(state_.attachments));
  if (source_ != nullptr) source_->complete(store_);
  const Changes changes = store_.take_changes();
  if (attachments_changed_ || changes.nodes || changes.blocks || changes.ip_pools) {
    state_.own_prefixes =
        build::own_prefixes(state_.config.node_name, state_.store, state_.attachments);
  }
  build::Built built =
      builder_.build({.store = state_.store,
                      .changes = changes,
                      .attachments = state_.attachments,
                      .attachments_changed = std::exchange(attachments_changed_, false),
                      .linux_state = state_.linux_state,
                      .linux_changed = std::exchange(linux_changed_, false),
                      .uplink = state_.dataplane.uplink(),
                      .host_tap = state_.dataplane.host_tap(),
                      .uplink_mac = state_.dataplane.uplink_mac(),
                      .changed_routes = state_.linux_state.routes->take_changes()});
  last_built_ = Clock::now();
  const auto took = last_built_ - begin;
  state_.last_build_time = std::chrono::duration_cast<std::chrono::microseconds>(took);
  state_.sync.published(changes, store_, took);
  publish(changes, std::move(built));
}

void Publisher::publish(const Changes& changes, build::Built built) {
  state_.snapshot = built.snapshot.get();
  state_.dataplane.publish(std::move(built.snapshot));
  state_.last_publish = Clock::now();
  ++state_.publishes;

  std::vector<std::string> sentences;
  for (const build::Problem& problem : built.problems) {
    sentences.push_back(problem.object + ": " + problem.sentence);
  }
  problems_.tell(std::move(sentences));
  state_.build_problems = std::move(built.problems);

  const auto policy = state_.snapshot->policy_generation;
  const auto before = std::exchange(policy_generation_, policy);
  next_force_.policy_moved |= before != 0 && before != policy;
  if (built.stale_flows) next_force_.stale_flows.push_back(std::move(built.stale_flows));
  for (auto& told : waiting_) next_force_.waiting.push_back(std::move(told));
  waiting_.clear();
  watch_for_force();
  published_(changes, built.wanted_neighbours);
}

void Publisher::watch_for_force() {
  if (std::exchange(force_watched_, true)) return;
  force_timer_.expires_after(kReclaim);
  force_timer_.async_wait([this](const boost::system::error_code& error) {
    if (error || stopped_) return;
    force_watched_ = false;
    if (state_.dataplane.reclaim() == 0) {
      reached_force();
    } else {
      watch_for_force();
    }
  });
}

// No worker makes a flow by an older snapshot any more.
void Publisher::reached_force() {
  state_.sync.in_force();
  const InForce reached = std::exchange(next_force_, {});
  for (const auto& stale : reached.stale_flows) end_stale(stale);
  if (reached.policy_moved) sweep_denied_later();
  for (const auto& told : reached.waiting) told();
}

void Publisher::end_stale(const FlowSweeps::Ends& stale) {
  sweeps_.add(stale, [this, begin = Clock::now()](std::size_t ended) {
    state_.sync.ended_flows(ended, Clock::now() - begin);
    if (ended > 0) log(LogLevel::debug, "ended stale flows", "flows=" + std::to_string(ended));
  });
}

// Policy may change all the time, and the table of flows be large: between two sweeps there is more
// time than one takes.
void Publisher::sweep_denied_later() {
  if (std::exchange(sweep_due_, true)) {
    sweep_again_ = true;
    return;
  }
  sweep_timer_.expires_after(std::max<Clock::duration>(kIdleFor, 3 * sweep_time_));
  sweep_timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error && !stopped_) sweep_denied();
  });
}

void Publisher::sweep_denied() {
  sweeps_.add(denied_flows(*state_.snapshot), [this, begin = Clock::now()](std::size_t ended) {
    sweep_time_ = Clock::now() - begin;
    if (ended > 0)
      log(LogLevel::info, "ended idle flows that policy forbids", "flows=" + std::to_string(ended));
    sweep_due_ = false;
    if (std::exchange(sweep_again_, false)) sweep_denied_later();
  });
}

void Publisher::stop() {
  stopped_ = true;
  build_timer_.cancel();
  force_timer_.cancel();
  sweep_timer_.cancel();
}

}  // namespace podwire::control
