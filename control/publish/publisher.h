// When a snapshot is built, and what follows once it is in force. Changes are gathered for a
// moment; what the snapshot made stale ends, and those who wait are told, when no worker uses an
// older one. Control thread only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <vector>

#include "control/build/builder.h"
#include "control/change_log.h"
#include "control/loop_hooks.h"
#include "control/object_source.h"
#include "control/publish/flow_sweeps.h"
#include "control/state.h"
#include "control/store_writer.h"

namespace podwire::control {

class Publisher {
 public:
  // Called after each publication: what was built from, and the next hops on the link whose
  // Ethernet address Linux should find out.
  using Published = std::function<void(const Changes&, const std::vector<net::Address>& wanted)>;

  // All outlive the publisher.
  Publisher(boost::asio::io_context& io, State& state, StoreWriter& store, Published published);

  // A source that completes the store before each build; null: none.
  void set_source(ObjectSource* source) { source_ = source; }

  void objects_changed();  // a build is due, at once or when the sync period is over
  void synced();           // at once
  void attachments_changed();
  // Linux's routes; `others`: its addresses or neighbours too.
  void linux_changed(bool others);
  // Calls back, once and not before this returns, when what is known now is in force.
  void when_in_force(std::function<void()> told);
  [[nodiscard]] LoopHooks hooks();

  // Builds and publishes now.
  void build();
  // Builds no more; who waits is not told any more.
  void stop();

 private:
  struct InForce {
    std::vector<std::function<void()>> waiting;
    std::vector<FlowSweeps::Ends> stale_flows;
    bool policy_moved = false;
  };

  void later(std::chrono::milliseconds time, std::function<void()> told);
  void build_at(std::chrono::steady_clock::time_point at);
  void publish(const Changes& changes, build::Built built);
  void watch_for_force();
  void reached_force();
  void end_stale(const FlowSweeps::Ends& stale);
  void sweep_denied_later();
  void sweep_denied();

  boost::asio::io_context& io_;
  State& state_;
  StoreWriter& store_;
  const Published published_;
  boost::asio::steady_timer build_timer_, force_timer_, sweep_timer_;
  build::Builder builder_;
  FlowSweeps sweeps_;
  ChangeLog problems_;
  ObjectSource* source_ = nullptr;

  bool build_due_ = false;
  std::chrono::steady_clock::time_point due_at_{}, last_built_{};
  bool attachments_changed_ = true, linux_changed_ = true;
  std::vector<std::function<void()>> waiting_;  // for the build that is due
  InForce next_force_;                          // for the last publication to be in force
  bool force_watched_ = false;
  std::uint32_t policy_generation_ = 0;  // of the last publication; 0: there was none
  bool sweep_due_ = false, sweep_again_ = false;
  std::chrono::steady_clock::duration sweep_time_{};  // what the last one took
  bool stopped_ = false;
};

}  // namespace podwire::control
