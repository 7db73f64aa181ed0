#include "control/loop.h"

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <csignal>
#include <utility>

#include "control/build/builder.h"
#include "control/change_log.h"
#include "control/denial_log.h"
#include "control/log.h"
#include "control/loop_hooks.h"
#include "control/manifests/source.h"
#include "control/object_source.h"
#include "control/serve/front.h"
#include "control/state.h"
#include "control/store_writer.h"

namespace podwire::control {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

// Events are asked for: workers never wake control.
constexpr auto kPollIdle = 10ms;
constexpr auto kPollBusy = 1ms;
// Workers pass a quiescent point once a round, microseconds apart, unless one is held up.
constexpr auto kReclaim = 1ms;

std::map<std::string, std::vector<net::Address>> addresses_of(
    const std::vector<Attachment>& attachments) {
  std::map<std::string, std::vector<net::Address>> addresses;
  for (const Attachment& attachment : attachments) {
    // Of a pod's interfaces the first that was attached is its own in Kubernetes' eyes.
    if (!attachment.pod.empty()) addresses.try_emplace(attachment.pod, attachment.ips);
  }
  return addresses;
}

}  // namespace

class Loop::Control final : public ObjectSink {
 public:
  Control(const Config& config, DataplaneLink& dataplane)
      : state_{.config = config, .dataplane = dataplane},
        writer_(state_.store),
        builder_(config),
        front_(io_, state_, hooks()) {}

  int run();
  void stop() {
    asio::post(io_, [this] { finish(); });
  }

  // ObjectSink
  void put(kube::Object object) override {
    writer_.put(std::move(object));
    build_within(debounce());
  }
  void remove(kube::Kind kind, const std::string& full_name) override {
    writer_.remove(kind, full_name);
    build_within(debounce());
  }
  void synced() override {
    log(LogLevel::info, "every object is read", "source=\"" + state_.source + "\"");
    state_.store.synced = true;
    build_within(0ms);
  }
  void problems(std::vector<std::string> all) override {
    state_.changes_refused += input_log_.tell(std::move(all));
    state_.input_problems = input_log_.now();
  }
  void health(bool healthy, const std::string& sentence) override {
    state_.source_healthy = healthy;
    if (healthy) {
      log(LogLevel::info, state_.source + " can be read");
    } else {
      log(LogLevel::warning, sentence);
    }
  }

 private:
  struct InForce {
    std::vector<std::function<void()>> waiting;
    std::vector<std::function<bool(const observe::FlowRow&)>> stale_flows;
  };

  [[nodiscard]] std::chrono::milliseconds debounce() const {
    return std::chrono::milliseconds(state_.config.debounce_ms);
  }
  LoopHooks hooks();
  void start_source();
  void build_within(std::chrono::milliseconds time);
  void build();
  void publish(build::Built built);
  void watch_for_force();
  void reached_force();
  void poll_events();
  void finish();

  asio::io_context io_{1};
  asio::signal_set signals_{io_, SIGTERM, SIGINT};
  asio::steady_timer build_timer_{io_}, force_timer_{io_}, poll_timer_{io_};
  State state_;
  StoreWriter writer_;
  build::Builder builder_;
  std::unique_ptr<ObjectSource> source_;
  Front front_;
  ChangeLog input_log_, build_log_;
  DenialLog denials_;

  bool build_due_ = false;
  Clock::time_point build_at_{};
  bool attachments_changed_ = false, linux_changed_ = false;
  std::vector<std::function<void()>> waiting_;  // for a build that is due
  InForce next_force_;                          // for what is published to be in force
  bool force_due_ = false;
  bool finished_ = false;
};

LoopHooks Loop::Control::hooks() {
  return {.attachments_changed =
              [this] {
                attachments_changed_ = true;
                writer_.set_pod_addresses(addresses_of(state_.attachments));
                build_within(0ms);
              },
          .when_in_force =
              [this](std::function<void()> told) {
                if (build_due_) {
                  waiting_.push_back(std::move(told));
                } else {
                  next_force_.waiting.push_back(std::move(told));
                  watch_for_force();
                }
              }};
}

int Loop::Control::run() {
  state_.started = Clock::now();
  signals_.async_wait([this](const boost::system::error_code& error, int signal) {
    if (error) return;
    log(LogLevel::info, std::string("stopping on ") + (signal == SIGTERM ? "SIGTERM" : "SIGINT"));
    finish();
  });
  if (const auto started = front_.start(); !started) {
    log(LogLevel::error, started.error().message);
    finish();
    return 1;
  }
  writer_.set_pod_addresses(addresses_of(state_.attachments));
  attachments_changed_ = linux_changed_ = true;
  build();  // before the first sync too: the node's own traffic passes from here on
  asio::post(io_, [this] { start_source(); });
  poll_events();
  io_.run();
  return 0;
}

void Loop::Control::start_source() {
  const std::string& folder = state_.config.manifests;
  if (folder.empty()) {
    return log(LogLevel::warning, "no source of objects: set manifests to a folder");
  }
  source_ = std::make_unique<manifests::ManifestSource>(io_, folder);
  state_.source = source_->name();
  source_->start(*this);
}

void Loop::Control::build_within(std::chrono::milliseconds time) {
  const auto at = Clock::now() + time;
  if (build_due_ && build_at_ <= at) return;
  build_due_ = true;
  build_at_ = at;
  build_timer_.expires_at(at);
  build_timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error && !finished_) build();
  });
}

void Loop::Control::build() {
  const auto begin = Clock::now();
  build_due_ = false;
  if (source_ != nullptr) source_->complete(writer_);
  const Changes changes = writer_.take_changes();
  publish(builder_.build({.store = state_.store,
                          .changes = changes,
                          .attachments = state_.attachments,
                          .attachments_changed = std::exchange(attachments_changed_, false),
                          .linux_state = state_.linux_state,
                          .linux_changed = std::exchange(linux_changed_, false),
                          .uplink = state_.dataplane.uplink(),
                          .host_tap = state_.dataplane.host_tap(),
                          .uplink_mac = state_.dataplane.uplink_mac()}));
  state_.last_build_time =
      std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begin);
}

void Loop::Control::publish(build::Built built) {
  state_.snapshot = built.snapshot.get();
  state_.dataplane.publish(std::move(built.snapshot));
  state_.last_publish = Clock::now();
  ++state_.publishes;

  std::vector<std::string> problems;
  for (const build::Problem& problem : built.problems) {
    problems.push_back(problem.object + ": " + problem.sentence);
  }
  state_.build_problems = std::move(built.problems);
  build_log_.tell(std::move(problems));

  if (built.stale_flows) next_force_.stale_flows.push_back(std::move(built.stale_flows));
  for (auto& told : waiting_) next_force_.waiting.push_back(std::move(told));
  waiting_.clear();
  watch_for_force();
  front_.published();
}

void Loop::Control::watch_for_force() {
  if (std::exchange(force_due_, true)) return;
  force_timer_.expires_after(kReclaim);
  force_timer_.async_wait([this](const boost::system::error_code& error) {
    if (error || finished_) return;
    force_due_ = false;
    if (state_.dataplane.reclaim() == 0) {
      reached_force();
    } else {
      watch_for_force();
    }
  });
}

// No worker uses an older snapshot now, so none makes a flow by it any more.
void Loop::Control::reached_force() {
  InForce reached = std::exchange(next_force_, {});
  for (const auto& stale : reached.stale_flows) {
    const std::size_t ended = state_.dataplane.erase_flows(stale);
    if (ended > 0) log(LogLevel::debug, "ended stale flows", "flows=" + std::to_string(ended));
  }
  for (const auto& told : reached.waiting) told();
}

void Loop::Control::poll_events() {
  bool any = false;
  state_.dataplane.poll_events([&](const observe::Event& event) {
    any = true;
    switch (event.kind) {
      case observe::Event::Kind::neighbour_wanted:
        break;
      case observe::Event::Kind::policy_denied:
        denials_.tell(state_, event);
        break;
    }
  });
  denials_.flush();
  poll_timer_.expires_after(any ? kPollBusy : kPollIdle);
  poll_timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error && !finished_) poll_events();
  });
}

void Loop::Control::finish() {
  if (std::exchange(finished_, true)) return;
  front_.stop();
  if (source_ != nullptr) source_->stop();
  io_.stop();
}

Loop::Loop(const Config& config, DataplaneLink& dataplane)
    : control_(std::make_unique<Control>(config, dataplane)) {}

Loop::~Loop() = default;

int Loop::run() {
  return control_->run();
}

void Loop::stop() {
  control_->stop();
}

}  // namespace podwire::control
