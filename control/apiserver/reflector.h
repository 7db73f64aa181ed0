// One kind of objects, kept as the API server has it: a list, then a watch from the list's version
// on, for ever. As client-go's reflector (tools/cache/reflector.go), which every other component of
// a cluster reads objects by. Control thread only.
//
//   list ──► compare ──► watch ──► ended: watch again from the last version
//     ▲                    ├─────► lost:  wait (back-off), watch again
//     └──── 410 Gone ──────┘
#pragma once

#include <array>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>

#include "control/apiserver/backoff.h"
#include "control/apiserver/collection.h"
#include "control/apiserver/failure.h"
#include "control/apiserver/json_stream.h"
#include "control/apiserver/transfers.h"

namespace podwire::control::apiserver {

// How long to wait for what may never come.
struct Limits {
  // A list is made before its first byte comes; the server itself gives up after 60 s.
  std::chrono::seconds list_silence{60};
  // A bookmark comes each 60 to 75 s (k8s.io/apiserver cacher.go, bookmarkFrequency).
  std::chrono::seconds watch_silence{90};
  std::chrono::seconds absent{60};  // after this at most a missing kind is looked for again
  Pulse pulse;                      // of all kinds together
};

class Reflector {
 public:
  // What all kinds share; outlives them.
  struct Shared {
    boost::asio::io_context& io;
    Transfers& transfers;
    Credentials& credentials;
    std::mt19937_64& random;
    ObjectSink& sink;
    Limits limits;
    std::function<void()> changed;  // trouble(), listed() or problems() may say something else
    std::function<void()> reached;  // the server has answered: others need not wait longer
  };

  Reflector(const Resource& resource, Shared& shared);
  void start() { list(ListFrom::cache); }
  void stop();
  // The server answers: what waits because it could not be reached tries again soon.
  void hurry();

  // A first whole list is in force, or the server has no such kind.
  [[nodiscard]] bool listed() const { return listed_; }
  // Why it cannot be read now. A single failure that may pass is none yet.
  [[nodiscard]] const Failure* trouble() const;
  [[nodiscard]] const Collection& collection() const { return collection_; }
  [[nodiscard]] KindReport report() const;

 private:
  // Where a list is taken from. The first comes out of the server's cache, since a whole cluster's
  // nodes may ask at once; later ones may not be older than what is in force; when the server
  // cannot say that, or has forgotten it, the newest that its store has.
  enum class ListFrom : std::uint8_t { cache, not_older, store };
  enum class Phase : std::uint8_t { idle, listing, watching, waiting, absent };

  using Then = void (Reflector::*)();

  void list(ListFrom from, bool whole = false);
  void ask_for_page();
  bool take_metadata(const std::string& key, const std::string& text);
  void page_done(const Outcome& outcome);
  void list_refused(const Outcome& outcome);
  void finish_list();
  bool try_next_place(long status);
  void absent();

  void watch();
  bool take_event(std::string& text);
  void watch_done(const Outcome& outcome);
  bool event_refused(Failure failure);
  [[nodiscard]] bool needs_list(const Failure& failure) const;

  void list_again() { list(resource_version_.empty() ? ListFrom::cache : ListFrom::not_older); }
  void list_newest() { list(ListFrom::store); }
  void fail(Failure failure, Then then);
  void wait(std::chrono::milliseconds time, Then then);
  void ask(const std::string& path, std::chrono::seconds silence,
           void (Reflector::*done)(const Outcome&), Then again);
  void answered();
  [[nodiscard]] bool is_older(const std::string& version) const;
  [[nodiscard]] Asked asked() const;
  [[nodiscard]] const Resource::Place& place() const { return resource_.places[place_]; }

  const Resource& resource_;
  Shared& shared_;
  Collection collection_;
  Backoff backoff_;
  boost::asio::steady_timer timer_;
  Then after_wait_ = nullptr;

  Phase phase_ = Phase::idle;
  std::size_t place_ = 0;
  bool listed_ = false;
  bool served_ = false;     // the server has such a kind
  bool paged_ = false;      // the server has cut a list into pages
  bool whole_ = false;      // this list is asked for without pages
  bool continued_ = false;  // this page is not its first
  ListFrom from_ = ListFrom::cache;
  std::string resource_version_;  // all up to it is in force
  std::string list_version_, continue_;
  bool metadata_seen_ = false;
  std::vector<std::string> held_;  // items that came before the list's metadata
  std::unique_ptr<JsonStream> stream_;
  std::optional<Failure> refusal_;  // what made us stop the transfer
  std::optional<Transfers::Id> transfer_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  Credential credential_;

  std::optional<Failure> failure_;
  unsigned failures_ = 0;  // in a row
  unsigned short_watches_ = 0;
  std::chrono::steady_clock::time_point since_{};
  std::uint64_t events_ = 0, lists_ = 0, watches_ = 0;
  std::array<std::uint64_t, kReasons> errors_{};
};

}  // namespace podwire::control::apiserver
