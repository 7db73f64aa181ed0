#include "control/loop.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <csignal>
#include <utility>

#include "control/apiserver/source.h"
#include "control/background.h"
#include "control/bgp/speaker.h"
#include "control/change_log.h"
#include "control/denial_log.h"
#include "control/log.h"
#include "control/manifests/source.h"
#include "control/object_source.h"
#include "control/publish/publisher.h"
#include "control/routes/host_network.h"
#include "control/serve/front.h"
#include "control/state.h"
#include "control/store_writer.h"

namespace podwire::control {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

// Events are asked for: workers never wake control.
constexpr auto kPollIdle = 10ms;
constexpr auto kPollBusy = 1ms;

}  // namespace

class Loop::Control final : public ObjectSink {
 public:
  Control(const Config& config, DataplaneLink& dataplane)
      : state_{config, dataplane},
        publisher_(io_, state_, store_,
                   [this](const auto& changes, const auto& wanted) { published(changes, wanted); }),
        front_(io_, state_, hooks()),
        speaker_(io_, state_),
        network_(io_, config, {dataplane.uplink_kernel_device(), dataplane.uplink_largest_mtu()},
                 [this] { linux_changed(); }) {}

  int run();
  void stop() {
    asio::post(io_, [this] { finish(); });
  }

  void put(kube::Object object) override { objects_changed(store_.put(std::move(object))); }
  void remove(kube::Kind kind, const std::string& full_name) override {
    objects_changed(store_.remove(kind, full_name));
  }
  void synced() override {
    log(LogLevel::info, "every object of " + state_.source + " is read");
    publisher_.synced();
  }
  void problems(std::vector<std::string> all) override {
    state_.changes_refused += input_problems_.tell(std::move(all));
    state_.input_problems = input_problems_.now();
  }
  void health(bool healthy, const std::string& sentence) override {
    state_.source_healthy = healthy;
    state_.source_trouble = sentence;
    log(healthy ? LogLevel::info : LogLevel::warning,
        healthy ? state_.source + " can be read" : sentence + "; the last state stays in force");
  }

 private:
  Result<void> start();
  LoopHooks hooks() {
    LoopHooks all = publisher_.hooks();
    all.elsewhere = [this](std::function<void()> job, std::function<void()> then) {
      background_.run(std::move(job), std::move(then));
    };
    return all;
  }
  void start_source();
  // A first list of a large cluster comes in over seconds; nothing of it passes before its end.
  void objects_changed(bool any) {
    if (any && state_.store.synced) publisher_.objects_changed();
  }
  void linux_changed() {
    const bool others = state_.linux_state != network_.state();
    if (others) state_.linux_state = network_.state();
    publisher_.linux_changed(others);
  }
  void published(const Changes& changes, const std::vector<net::Address>& wanted_neighbours) {
    network_.follow({.store = state_.store,
                     .changes = changes,
                     .services = *state_.snapshot->services,
                     .pods = state_.attachments,
                     .own_prefixes = state_.own_prefixes,
                     .wanted_neighbours = wanted_neighbours});
    front_.published(changes, store_);
    speaker_.follow(changes);
  }
  void poll_events();
  void finish();

  asio::io_context io_{1};
  asio::signal_set signals_{io_, SIGTERM, SIGINT};
  asio::steady_timer poll_timer_{io_};
  State state_;
  StoreWriter store_{state_.store};
  Publisher publisher_;
  Background background_{io_};
  Front front_;
  bgp::Speaker speaker_;
  routes::HostNetwork network_;
  std::unique_ptr<ObjectSource> source_;
  ChangeLog input_problems_;
  DenialLog denials_;
  bool finished_ = false;
};

int Loop::Control::run() {
  state_.started = std::chrono::steady_clock::now();
  signals_.async_wait([this](const boost::system::error_code& error, int signal) {
    if (error) return;
    log(LogLevel::info, std::string("stopping on ") + (signal == SIGTERM ? "SIGTERM" : "SIGINT"));
    finish();
  });
  if (const auto started = start(); !started) {
    log(LogLevel::error, started.error().message);
    finish();
    return 1;
  }
  publisher_.build();  // before the first sync too: the node's own traffic passes from here on
  asio::post(io_, [this] { start_source(); });
  poll_events();
  io_.run();
  return 0;
}

Result<void> Loop::Control::start() {
  if (auto started = network_.start(); !started) return started;
  state_.linux_state = network_.state();
  if (auto started = front_.start(); !started) return started;
  speaker_.start();
  return {};
}

void Loop::Control::start_source() {
  if (state_.config.manifests.empty()) {
    source_ = std::make_unique<apiserver::ApiSource>(
        io_, [config = &state_.config] { return read_access(*config); }, state_.config.bgp);
  } else {
    source_ = std::make_unique<manifests::ManifestSource>(io_, state_.config.manifests);
  }
  state_.source = source_->name();
  state_.object_source = source_.get();
  publisher_.set_source(source_.get());
  source_->start(*this);
}

void Loop::Control::poll_events() {
  bool any = false;
  state_.dataplane.poll_events([&](const observe::Event& event) {
    any = true;
    switch (event.kind) {
      case observe::Event::Kind::neighbour_wanted:
        network_.resolve(event.address);
        break;
      case observe::Event::Kind::policy_denied:
        denials_.tell(*state_.snapshot->policies, state_.store, event);
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
  speaker_.stop();
  if (source_ != nullptr) source_->stop();
  publisher_.stop();
  network_.stop();
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
