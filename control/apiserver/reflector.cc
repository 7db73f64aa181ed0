#include "control/apiserver/reflector.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "control/apiserver/json_member.h"
#include "control/log.h"

namespace podwire::control::apiserver {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

constexpr unsigned kPage = 500;  // objects, as client-go's pager has it
constexpr unsigned kWatchSecondsLeast = 300, kWatchSecondsMost = 600;  // reflector.go
constexpr auto kShortWatch = 1s;
constexpr unsigned kShortWatches = 3;  // so many in a row pass for chance

std::optional<std::uint64_t> number(const std::string& version) {
  std::uint64_t value = 0;
  const char* const end = version.data() + version.size();
  const auto [stop, error] = std::from_chars(version.data(), end, value);
  if (error != std::errc{} || stop != end || version.empty()) return std::nullopt;
  return value;
}

}  // namespace

Reflector::Reflector(const Resource& resource, Shared& shared)
    : resource_(resource),
      shared_(shared),
      collection_(resource.kind, shared.sink),
      backoff_(shared.random),
      timer_(shared.io) {}

void Reflector::stop() {
  timer_.cancel();
  after_wait_ = nullptr;
  if (transfer_) shared_.transfers.cancel(*std::exchange(transfer_, std::nullopt));
  phase_ = Phase::idle;
}

void Reflector::hurry() {
  if (phase_ != Phase::waiting || !failure_ || failure_->persistent() || failure_->retry_after) {
    return;
  }
  wait(std::chrono::milliseconds(std::uniform_int_distribution<int>(0, 200)(shared_.random)),
       after_wait_);
}

const Failure* Reflector::trouble() const {
  if (!failure_) return nullptr;
  // Who has been silent so long is not met by chance.
  const bool at_once = failure_->persistent() || failure_->reason == Reason::silent;
  return at_once || failures_ >= 2 ? &*failure_ : nullptr;
}

// Versions are numbers that grow (KEP-5504). One that is no number is compared with nothing.
bool Reflector::is_older(const std::string& version) const {
  const auto known = number(resource_version_), given = number(version);
  return known && given && *given < *known;
}

Asked Reflector::asked() const {
  return {phase_ == Phase::watching ? "watch" : "list", resource_, place(), credential_};
}

// ---- lists

void Reflector::list(ListFrom from, bool whole) {
  from_ = from;
  whole_ = whole;
  continue_.clear();
  ++lists_;
  collection_.begin_list();
  ask_for_page();
}

void Reflector::ask_for_page() {
  phase_ = Phase::listing;
  metadata_seen_ = false;
  list_version_.clear();
  refusal_.reset();
  ListQuery query;
  query.continue_token = std::exchange(continue_, {});
  continued_ = !query.continue_token.empty();
  if (from_ == ListFrom::cache) query.resource_version = "0";
  if (from_ == ListFrom::not_older) query.resource_version = resource_version_;
  // A limit would send the server past its cache where it need not go (reflector.go).
  const bool by_page = from_ != ListFrom::not_older || paged_ || continued_;
  if (by_page && !whole_) query.limit = kPage;
  JsonStream::Out out;
  out.item = [this](std::string& text) {
    if (metadata_seen_) {
      collection_.take_item(text, place().api_version);
    } else {
      held_.push_back(text);
    }
    return true;
  };
  out.member = [this](const std::string& key, std::string& text) {
    return take_metadata(key, text);
  };
  out.oversized = [this] {
    collection_.take_oversized();
    return true;
  };
  held_.clear();
  stream_ = std::make_unique<JsonStream>(JsonStream::Shape::list, std::move(out));
  ask(list_path(place(), query), shared_.limits.list_silence, &Reflector::page_done,
      &Reflector::list_again);
}

// Before any item is taken: a list older than what is in force would roll it back.
bool Reflector::take_metadata(const std::string& key, const std::string& text) {
  if (key != "metadata") return true;
  const auto metadata = nlohmann::json::parse(text, nullptr, false);
  if (!metadata.is_object()) return true;  // page_done finds no version
  list_version_ = text_member(metadata, "resourceVersion");
  continue_ = text_member(metadata, "continue");
  if (from_ == ListFrom::not_older && is_older(list_version_)) {
    refusal_ = Failure{Reason::stale,
                       "gives a list of " + std::string(resource_.plural) +
                           " that is older than what is in force (version " + list_version_ +
                           " after " + resource_version_ + ")",
                       {}};
    return false;
  }
  metadata_seen_ = true;
  for (std::string& item : std::exchange(held_, {})) {
    collection_.take_item(item, place().api_version);
  }
  return true;
}

void Reflector::page_done(const Outcome& outcome) {
  const bool whole = outcome.end == Outcome::End::complete && outcome.status == 200;
  if (refusal_) return fail(*refusal_, &Reflector::list_newest);
  if (!stream_->problem().empty()) {
    return fail({Reason::malformed,
                 "gives a list of " + std::string(resource_.plural) + " that " + stream_->problem(),
                 {}},
                &Reflector::list_again);
  }
  if (!whole) return list_refused(outcome);
  if (!stream_->complete() || list_version_.empty()) {
    return fail({Reason::malformed,
                 "gives a list of " + std::string(resource_.plural) +
                     (list_version_.empty() ? " without a resourceVersion" : " that ends early"),
                 {}},
                &Reflector::list_again);
  }
  if (continue_.empty()) return finish_list();
  paged_ = true;
  ask_for_page();
}

void Reflector::list_refused(const Outcome& outcome) {
  if (outcome.status != 0 && try_next_place(outcome.status)) return;
  const bool answered_so = outcome.end == Outcome::End::complete;
  const Failure failure = explain(outcome, asked());
  const bool forgotten = answered_so && outcome.status == 410;
  if (forgotten && continued_) {
    // The next page is of a version that is gone: all of it at once then (client-go's pager).
    ++errors_[static_cast<std::size_t>(Reason::expired)];
    list(from_, true);
    return;
  }
  const bool behind = answered_so && read_status(outcome.body).version_too_large;
  fail(failure, forgotten || behind ? &Reflector::list_newest : &Reflector::list_again);
}

void Reflector::finish_list() {
  collection_.end_list();
  resource_version_ = list_version_;
  served_ = true;
  stream_.reset();
  if (!std::exchange(listed_, true)) shared_.changed();
  watch();
}

// Not served here, or not in this way.
bool Reflector::try_next_place(long status) {
  if (status != 404 && status != 400) return false;
  if (place_ + 1 < resource_.places.size()) {
    ++place_;
    resource_version_.clear();
    list(ListFrom::cache);
    return true;
  }
  if (!resource_.optional || status != 404) return false;
  absent();
  return true;
}

void Reflector::absent() {
  served_ = false;
  place_ = 0;
  resource_version_.clear();
  collection_.begin_list();
  collection_.end_list();
  answered();
  if (!std::exchange(listed_, true)) shared_.changed();
  wait(std::chrono::milliseconds(std::uniform_int_distribution<std::int64_t>(
           shared_.limits.absent / 2ms, shared_.limits.absent / 1ms)(shared_.random)),
       &Reflector::list_again);
  phase_ = Phase::absent;
}

// ---- watches

void Reflector::watch() {
  phase_ = Phase::watching;
  since_ = Clock::now();
  ++watches_;
  refusal_.reset();
  JsonStream::Out out;
  out.item = [this](std::string& text) { return take_event(text); };
  out.oversized = [this] {
    return event_refused({Reason::malformed, "sends an event of more than 16 MiB", {}});
  };
  stream_ = std::make_unique<JsonStream>(JsonStream::Shape::values, std::move(out));
  const unsigned seconds = std::uniform_int_distribution<unsigned>(
      kWatchSecondsLeast, kWatchSecondsMost)(shared_.random);
  ask(watch_path(place(), resource_version_, seconds), shared_.limits.watch_silence,
      &Reflector::watch_done, &Reflector::watch);
}

bool Reflector::event_refused(Failure failure) {
  refusal_ = std::move(failure);
  return false;
}

bool Reflector::take_event(std::string& text) {
  const WatchEvent event = read_event(text);
  switch (event.type) {
    case WatchEvent::Type::unknown:
      return event_refused(
          {Reason::malformed, "sends what is no event of " + std::string(resource_.plural), {}});
    case WatchEvent::Type::error:
      return event_refused(explain_status(read_status(event.object.dump()), asked()));
    default:
      break;
  }
  ++events_;
  // Told before: events of a watch go up.
  const bool bookmark = event.type == WatchEvent::Type::bookmark;
  const bool again = is_older(event.resource_version) ||
                     (!bookmark && event.resource_version == resource_version_);
  if (again) return true;
  if (!event.resource_version.empty()) resource_version_ = event.resource_version;
  if (bookmark) return true;
  const auto problems = collection_.problems_version();
  collection_.apply(event);
  if (problems != collection_.problems_version()) shared_.changed();
  return true;
}

// Where an event was lost, or cannot be had any more, only a list tells what it said. Also when the
// server refuses the watch again and again: the version may mean nothing to it.
bool Reflector::needs_list(const Failure& failure) const {
  switch (failure.reason) {
    case Reason::expired:
    case Reason::malformed:
    case Reason::not_found:
      return true;
    case Reason::refused:
    case Reason::server_error:
      return failures_ >= 2;
    default:
      return false;
  }
}

void Reflector::watch_done(const Outcome& outcome) {
  const std::string what = "watch of " + std::string(resource_.plural);
  if (refusal_) {
    const auto then = needs_list(*refusal_) ? &Reflector::list_again : &Reflector::watch;
    return fail(*std::exchange(refusal_, std::nullopt), then);
  }
  if (!stream_->problem().empty()) {
    return fail({Reason::malformed, "sends a " + what + " that " + stream_->problem(), {}},
                &Reflector::list_again);
  }
  if (outcome.end != Outcome::End::complete || outcome.status != 200) {
    const Failure failure = explain(outcome, asked());
    return fail(failure, needs_list(failure) ? &Reflector::list_again : &Reflector::watch);
  }
  if (!stream_->complete()) {
    return fail({Reason::cut, "ended a " + what + " amid an event", {}}, &Reflector::watch);
  }
  // The usual end: the server's own limit of time, or its restart.
  const bool short_one = Clock::now() - since_ < kShortWatch;
  short_watches_ = short_one ? short_watches_ + 1 : 0;
  if (!short_one) return watch();
  if (short_watches_ > kShortWatches) {
    return fail({Reason::cut, "ends each " + what + " at once", {}}, &Reflector::watch);
  }
  wait(backoff_.next(Clock::now()), &Reflector::watch);
}

// ---- both

void Reflector::ask(const std::string& path, std::chrono::seconds silence,
                    void (Reflector::*done)(const Outcome&), Then again) {
  auto credential = shared_.credentials.now();
  if (!credential) return fail({Reason::credentials, credential.error().message, {}}, again);
  credential_ = std::move(*credential);
  Request request;
  request.credential = credential_;
  request.path = path;
  request.silence = silence;
  request.begun = [this] { answered(); };
  request.data = [this](std::string_view bytes) { return stream_->feed(bytes); };
  request.done = [this, done](const Outcome& outcome) {
    transfer_.reset();
    (this->*done)(outcome);
  };
  transfer_ = shared_.transfers.start(std::move(request));
}

void Reflector::answered() {
  if (!failure_) return;
  failure_.reset();
  failures_ = 0;
  shared_.changed();
  shared_.reached();
}

void Reflector::fail(Failure failure, Then then) {
  ++errors_[static_cast<std::size_t>(failure.reason)];
  log(LogLevel::debug, std::string(resource_.plural) + ": " + failure.sentence);
  // A server that has just come back may refuse until it has read its own roles.
  if (failure.answered() && failure_ && !failure_->answered()) backoff_.begin_anew();
  auto time = backoff_.next(Clock::now());
  if (failure.retry_after) {
    time = std::max<std::chrono::milliseconds>(
        time, *failure.retry_after + std::chrono::milliseconds(std::uniform_int_distribution<int>(
                                         0, 1000)(shared_.random)));
  }
  // A version that is no more is an everyday answer, with an everyday remedy.
  if (failure.reason != Reason::expired) {
    failure_ = std::move(failure);
    ++failures_;
    shared_.changed();
  }
  wait(time, then);
}

void Reflector::wait(std::chrono::milliseconds time, Then then) {
  phase_ = Phase::waiting;
  after_wait_ = then;
  timer_.expires_after(time);
  timer_.async_wait([this, alive = std::weak_ptr(alive_)](const boost::system::error_code& error) {
    if (!error && !alive.expired() && after_wait_ != nullptr)
      (this->*std::exchange(after_wait_, nullptr))();
  });
}

KindReport Reflector::report() const {
  static constexpr std::array kPhases{"idle", "listing", "watching", "waiting", "absent"};
  KindReport report;
  report.kind = resource_.kind;
  report.objects = collection_.size();
  report.served = served_;
  report.resource_version = resource_version_;
  report.phase = kPhases[static_cast<std::size_t>(phase_)];
  if (phase_ == Phase::watching) report.watching_since = since_;
  report.lists = lists_;
  report.watches = watches_;
  report.events = events_;
  for (std::size_t i = 0; i < kReasons; ++i)
    report.errors.emplace_back(kReasonNames[i], errors_[i]);
  return report;
}

}  // namespace podwire::control::apiserver
