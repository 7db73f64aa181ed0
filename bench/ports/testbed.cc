#include "bench/ports/testbed.h"

#include <rte_cycles.h>
#include <rte_launch.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "bench/ports/opening.h"

namespace podwire::ports {
namespace {

constexpr double kDrainSeconds = 0.1;  // without arrivals before a trial has ended
constexpr std::uint8_t kTrials = 128;
constexpr unsigned kTunnelRoom = 40;  // what comes back may have an IP header more

template <typename Value>
std::uint64_t sum_of(const Trial& trial, Value&& value) {
  std::uint64_t sum = 0;
  for (const Direction& direction : trial.directions) sum += value(direction);
  return sum;
}

void fill_with_padding(rte_mempool*, void*, void* object, unsigned) {
  auto* frame = static_cast<rte_mbuf*>(object);
  std::memset(frame->buf_addr, kPadding, frame->buf_len);
}

}  // namespace

unsigned memory_needed_mb(const TestbedOptions& options) {
  constexpr unsigned kOthersMb = 128, kBufferOverhead = 512;
  const unsigned frame =
      std::max(options.traffic.largest_size(), unsigned{RTE_MBUF_DEFAULT_DATAROOM});
  const std::uint64_t bytes = std::uint64_t{2} * options.buffers * (frame + kBufferOverhead);
  return kOthersMb + static_cast<unsigned>(bytes >> 20U);
}

std::uint64_t Trial::sent() const {
  return sum_of(*this, [](const Direction& d) { return d.sent.packets; });
}
std::uint64_t Trial::intended() const {
  return sum_of(*this,
                [](const Direction& d) { return d.sent.packets + d.sent.refused + d.sent.late; });
}
std::uint64_t Trial::arrived() const {
  return sum_of(*this, [](const Direction& d) { return d.arrived.packets; });
}
std::uint64_t Trial::lost() const {
  return sum_of(*this, [](const Direction& d) { return d.lost(); });
}

Testbed::~Testbed() = default;

Result<std::unique_ptr<Testbed>> Testbed::make(const TestbedOptions& options) {
  std::unique_ptr<Testbed> testbed(new Testbed);
  testbed->options_ = options;
  testbed->tsc_hz_ = rte_get_tsc_hz();
  if (auto done = testbed->open_devices(); !done) return tl::unexpected(done.error());
  testbed->make_directions();
  return testbed;
}

Result<void> Testbed::open_devices() {
  const unsigned bytes = options_.traffic.largest_size();
  auto out = make_pool("ports_transmit", options_.buffers, bytes);
  auto in = out ? make_pool("ports_receive", options_.buffers, bytes + kTunnelRoom) : out;
  if (!in) return tl::unexpected(in.error());
  transmit_pool_ = *out;
  receive_pool_ = *in;
  rte_mempool_obj_iter(transmit_pool_, fill_with_padding, nullptr);
  const auto open = [&](const std::string& text, std::unique_ptr<Device>& device) -> Result<void> {
    auto opened = Device::open(text, *receive_pool_, bytes);
    if (!opened) return tl::unexpected(opened.error());
    device = std::move(*opened);
    return device->wait_for_link(options_.link_seconds);
  };
  if (auto done = open(options_.transmit_device, transmit_device_); !done) return done;
  if (options_.receive_device.empty()) return {};
  return open(options_.receive_device, receive_device_);
}

void Testbed::make_directions() {
  Device& first = *transmit_device_;
  Device& second = receive_device_ ? *receive_device_ : first;
  const auto or_else = [](net::Mac given, net::Mac otherwise) {
    return given.is_zero() ? otherwise : given;
  };
  forward_maker_.emplace(options_.traffic.shape, first.mac(),
                         or_else(options_.destination_mac, second.mac()));
  reply_maker_.emplace(
      options_.traffic.shape, second.mac(),
      or_else(options_.reply_mac,
              or_else(receive_device_ ? net::Mac{} : options_.destination_mac, first.mac())));
  const auto& traffic = options_.traffic;
  senders_.push_back(std::make_unique<Sender>(first, *transmit_pool_, *forward_maker_, traffic,
                                              options_.space, nullptr));
  arrivals_.push_back(std::make_unique<Arrivals>(traffic.flows));
  if (options_.bidirectional) {
    senders_.push_back(std::make_unique<Sender>(second, *transmit_pool_, *reply_maker_, traffic,
                                                options_.space, &learned_));
    arrivals_.push_back(std::make_unique<Arrivals>(traffic.flows));
  }
  Arrivals* replies = options_.bidirectional ? arrivals_[1].get() : nullptr;
  if (!receive_device_) {
    sinks_.push_back(std::make_unique<Sink>(first, arrivals_[0].get(), replies, tsc_hz_));
    return;
  }
  sinks_.push_back(std::make_unique<Sink>(second, arrivals_[0].get(), nullptr, tsc_hz_));
  sinks_.push_back(std::make_unique<Sink>(first, nullptr, replies, tsc_hz_));
}

Result<void> Testbed::open_flows() {
  next_trial();
  Device& second = receive_device_ ? *receive_device_ : *transmit_device_;
  Opener opener({*transmit_device_, *forward_maker_, *sinks_.front()},
                {second, *reply_maker_, *sinks_.back()}, *transmit_pool_, trial_);
  auto learned = opener.open(options_.space, options_.traffic.flows, options_.bidirectional);
  if (!learned) return tl::unexpected(learned.error());
  learned_ = std::move(*learned);
  return {};
}

void Testbed::next_trial() {
  trial_ = static_cast<std::uint8_t>((trial_ + 1) % kTrials);
  for (auto& arrivals : arrivals_) arrivals->start();
  for (auto& sink : sinks_) sink->start(trial_);
}

void Testbed::poll_sinks() noexcept {
  for (auto& sink : sinks_) sink->poll();
}

// With a second core the sinks are polled there.
void Testbed::send_until(std::uint64_t end) noexcept {
  const bool alone = options_.cores.size() < 2;
  for (std::uint64_t now = rte_rdtsc(); now < end; now = rte_rdtsc()) {
    for (auto& sender : senders_) sender->poll(now);
    if (alone) poll_sinks();
  }
  for (auto& sender : senders_) sender->stop(end);
}

void Testbed::drain() {
  const auto patience = static_cast<std::uint64_t>(kDrainSeconds * static_cast<double>(tsc_hz_));
  const auto count = [](const auto& all, auto value) {
    std::uint64_t sum = 0;
    for (const auto& one : all) sum += value(*one);
    return sum;
  };
  const std::uint64_t sent = count(senders_, [](const Sender& s) { return s.sent().packets; });
  std::uint64_t seen = 0;
  for (std::uint64_t since = rte_rdtsc(); rte_rdtsc() - since < patience;) {
    poll_sinks();
    const std::uint64_t now =
        count(arrivals_, [](const Arrivals& a) { return a.arrived().packets; });
    if (now == sent) return;
    if (now != seen) since = rte_rdtsc();
    seen = now;
  }
}

std::uint64_t Testbed::missed() const {
  return transmit_device_->missed() + (receive_device_ ? receive_device_->missed() : 0);
}

Trial Testbed::run(double packets_per_second, double seconds) {
  next_trial();
  const std::uint64_t missed_before = missed();
  std::atomic<bool> sending = true;
  struct Receiver {
    Testbed* testbed;
    std::atomic<bool>* sending;
  } receiver{this, &sending};
  const bool two = options_.cores.size() > 1;
  if (two) {
    const auto receive = [](void* argument) {
      const auto& self = *static_cast<Receiver*>(argument);
      while (self.sending->load(std::memory_order_relaxed)) self.testbed->poll_sinks();
      return 0;
    };
    rte_eal_remote_launch(receive, &receiver, 1);
  }
  const std::uint64_t start = rte_rdtsc();
  std::uint8_t direction = 0;
  for (auto& sender : senders_) {
    sender->start(trial_ | direction, packets_per_second, tsc_hz_, start);
    direction = Stamp::kReply;
  }
  send_until(start + static_cast<std::uint64_t>(seconds * static_cast<double>(tsc_hz_)));
  sending = false;
  if (two) rte_eal_wait_lcore(1);
  drain();

  Trial trial;
  trial.seconds = seconds;
  for (std::size_t i = 0; i < senders_.size(); ++i) {
    trial.directions.push_back({senders_[i]->sent(), arrivals_[i]->arrived()});
  }
  for (const auto& sink : sinks_) {
    trial.wrong_checksum += sink->others().wrong_checksum;
    trial.foreign += sink->others().foreign;
    trial.late += sink->others().late;
  }
  trial.missed = missed() - missed_before;
  return trial;
}

ConnectionsDone Testbed::run_connections(double per_second, double seconds) {
  next_trial();
  if (connections_ == nullptr) {
    Device& second = receive_device_ ? *receive_device_ : *transmit_device_;
    connections_ = std::make_unique<Connections>(
        Connections::End{*transmit_device_, *forward_maker_, *sinks_.back()},
        Connections::End{second, *reply_maker_, *sinks_.front()}, *transmit_pool_, options_.space,
        options_.traffic.flows, options_.traffic.largest_size() - kFcs);
  }
  return connections_->run(trial_, per_second, seconds);
}

double Testbed::link_bits_per_second() const {
  return transmit_device_->link_bits_per_second();
}

}  // namespace podwire::ports
