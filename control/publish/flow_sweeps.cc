#include "control/publish/flow_sweeps.h"

#include <boost/asio/post.hpp>
#include <chrono>
#include <utility>

namespace podwire::control {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kAtATime{1};

}  // namespace

void FlowSweeps::add(Ends ends, Then then) {
  next_.push_back({std::move(ends), std::move(then)});
  if (next_.size() == 1 && now_.empty()) later();
}

void FlowSweeps::later() {
  boost::asio::post(io_, [this, alive = std::weak_ptr(alive_)] {
    if (!alive.expired()) step();
  });
}

void FlowSweeps::step() {
  if (now_.empty()) now_ = std::exchange(next_, {});
  const auto end_those = [this](const observe::FlowRow& flow) {
    bool ends = false;
    for (Job& job : now_) {
      if (!job.ends(flow)) continue;
      ++job.ended;
      ends = true;
    }
    return ends;
  };
  const auto until = Clock::now() + kAtATime;
  while (!at_.at_end && Clock::now() < until) dataplane_.erase_flows(at_, end_those);
  if (!at_.at_end) return later();
  at_ = {};
  const auto done = std::exchange(now_, {});
  if (!next_.empty()) later();
  for (const Job& job : done) job.then(job.ended);
}

}  // namespace podwire::control
