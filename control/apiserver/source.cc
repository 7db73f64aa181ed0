#include "control/apiserver/source.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <deque>
#include <random>
#include <set>
#include <utility>

#include "control/apiserver/client.h"
#include "control/apiserver/resource.h"

namespace podwire::control::apiserver {
namespace {

constexpr std::size_t kMaxSentences = 3;
// An outage meets one kind after the other: what they say is gathered for so long.
constexpr auto kGather = std::chrono::milliseconds(500);

}  // namespace

class ApiSource::Parts : public std::enable_shared_from_this<ApiSource::Parts> {
 public:
  Parts(boost::asio::io_context& io, Credentials::Load load, bool bgp, Limits limits)
      : io_(io),
        load_(load),
        credentials_(std::move(load)),
        bgp_(bgp),
        limits_(limits),
        transfers_(io, limits.pulse),
        client_(io, transfers_, credentials_),
        health_timer_(io) {}

  [[nodiscard]] std::string name() const;
  void start(ObjectSink& sink);
  void stop();
  [[nodiscard]] std::vector<KindReport> report() const;
  [[nodiscard]] Client& client() { return client_; }

 private:
  void changed();
  void tell();
  void tell_problems();
  void tell_health();
  void tell_trouble();
  [[nodiscard]] std::string trouble() const;

  boost::asio::io_context& io_;
  Credentials::Load load_;
  Credentials credentials_;
  const bool bgp_;
  Limits limits_;
  Transfers transfers_;
  Client client_;
  std::mt19937_64 random_{std::random_device{}()};
  ObjectSink* sink_ = nullptr;
  std::unique_ptr<Reflector::Shared> shared_;
  std::deque<Reflector> reflectors_;
  bool tell_due_ = false, synced_ = false, gathering_ = false;
  boost::asio::steady_timer health_timer_;
  std::uint64_t problems_version_ = 0;
  std::vector<std::string> problems_;
  std::optional<std::string> told_;  // the trouble that was told last; empty: none
};

std::string ApiSource::Parts::name() const {
  const auto access = load_();
  return access ? "API server " + access->server + " (" + access->place + ")" : "API server";
}

void ApiSource::Parts::start(ObjectSink& sink) {
  sink_ = &sink;
  shared_.reset(new Reflector::Shared{.io = io_,
                                      .transfers = transfers_,
                                      .credentials = credentials_,
                                      .random = random_,
                                      .sink = sink,
                                      .limits = limits_,
                                      .changed = [this] { changed(); },
                                      .reached =
                                          [this] {
                                            for (Reflector& r : reflectors_) r.hurry();
                                          }});
  for (const Resource& resource : resources()) {
    if (bgp_ || !resource.of_bgp) reflectors_.emplace_back(resource, *shared_);
  }
  for (Reflector& reflector : reflectors_) reflector.start();
}

void ApiSource::Parts::stop() {
  sink_ = nullptr;
  health_timer_.cancel();
  for (Reflector& reflector : reflectors_) reflector.stop();
}

// Many changes at once are told together, and never from within libcurl.
void ApiSource::Parts::changed() {
  if (std::exchange(tell_due_, true)) return;
  boost::asio::post(io_, [weak = weak_from_this()] {
    if (const auto alive = weak.lock(); alive && alive->sink_ != nullptr) alive->tell();
  });
}

void ApiSource::Parts::tell() {
  tell_due_ = false;
  tell_problems();
  tell_health();
  const auto listed = [](const Reflector& reflector) { return reflector.listed(); };
  if (synced_ || !std::ranges::all_of(reflectors_, listed)) return;
  synced_ = true;
  sink_->synced();
}

void ApiSource::Parts::tell_problems() {
  std::uint64_t version = 0;
  for (const Reflector& r : reflectors_) version += r.collection().problems_version();
  if (std::exchange(problems_version_, version) == version) return;
  std::vector<std::string> all;
  for (const Reflector& reflector : reflectors_) {
    for (auto& sentence : reflector.collection().problems()) all.push_back(std::move(sentence));
  }
  if (all == problems_) return;
  problems_ = all;
  sink_->problems(std::move(all));
}

// What several kinds say alike is said once.
std::string ApiSource::Parts::trouble() const {
  std::set<std::string> told;
  std::string all;
  std::size_t more = 0;
  for (const Reflector& reflector : reflectors_) {
    const Failure* const failure = reflector.trouble();
    if (failure == nullptr || !told.insert(failure->sentence).second) continue;
    if (told.size() > kMaxSentences) {
      ++more;
    } else {
      all += (all.empty() ? "" : "; ") + failure->sentence;
    }
  }
  return more == 0 ? all : all + "; and " + std::to_string(more) + " more";
}

void ApiSource::Parts::tell_health() {
  const std::string now = trouble();
  if (told_ == now) return;
  const bool any_listed =
      std::ranges::any_of(reflectors_, [](const Reflector& r) { return r.listed(); });
  if (now.empty() && !told_ && !any_listed) return;  // nothing has been read yet
  if (now.empty()) {
    health_timer_.cancel();
    gathering_ = false;
    told_ = now;
    return sink_->health(true, "");
  }
  if (std::exchange(gathering_, true)) return;
  health_timer_.expires_after(kGather);
  health_timer_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
    const auto alive = weak.lock();
    if (!error && alive && alive->sink_ != nullptr) alive->tell_trouble();
  });
}

void ApiSource::Parts::tell_trouble() {
  gathering_ = false;
  std::string now = trouble();
  if (now.empty() || told_ == now) return;
  sink_->health(false, name() + " " + now);
  told_ = std::move(now);
}

std::vector<KindReport> ApiSource::Parts::report() const {
  std::vector<KindReport> all;
  for (const Reflector& reflector : reflectors_) all.push_back(reflector.report());
  return all;
}

ApiSource::ApiSource(boost::asio::io_context& io, Credentials::Load load, bool bgp, Limits limits)
    : parts_(std::make_shared<Parts>(io, std::move(load), bgp, limits)) {}

ApiSource::~ApiSource() {
  stop();
}

std::string ApiSource::name() const {
  return parts_->name();
}

void ApiSource::start(ObjectSink& sink) {
  parts_->start(sink);
}

void ApiSource::stop() {
  parts_->stop();
}

ObjectClient* ApiSource::client() const {
  return &parts_->client();
}

std::vector<KindReport> ApiSource::report() const {
  return parts_->report();
}

}  // namespace podwire::control::apiserver
