// Where objects come from: a watched folder of manifests, or the Kubernetes API server. Sources are
// interchangeable. Control thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "control/kube/objects.h"

namespace podwire::control {

class ObjectClient;
class StoreWriter;

class ObjectSink {
 public:
  virtual ~ObjectSink() = default;

  // A new object, or a new version of one: always the whole of it.
  virtual void put(kube::Object object) = 0;
  virtual void remove(kube::Kind kind, const std::string& full_name) = 0;
  // Every kind's first complete set has been put. Said once.
  virtual void synced() = 0;
  // What was refused and still is, one line each, all of it; said when it changes.
  virtual void problems(std::vector<std::string> all) = 0;
  // Whether the source can be read now; said when it changes. What was put stays in force either
  // way. `sentence` says why it cannot, and what to do.
  virtual void health(bool healthy, const std::string& sentence) = 0;
};

// What a source that follows a server knows of one kind.
struct KindReport {
  kube::Kind kind = kube::Kind::node;
  std::size_t objects = 0;
  bool served = false;           // the server has this kind
  std::string resource_version;  // all up to it is in force; empty: none yet
  const char* phase = "";        // "watching", "listing", "waiting", "absent"
  std::optional<std::chrono::steady_clock::time_point> watching_since;
  std::uint64_t lists = 0, watches = 0, events = 0;           // since start
  std::vector<std::pair<const char*, std::uint64_t>> errors;  // by reason: every reason there is
};

class ObjectSource {
 public:
  virtual ~ObjectSource() = default;

  [[nodiscard]] virtual std::string name() const = 0;  // "manifests /etc/podwire/manifests"
  // From now on calls the sink, which outlives the source, on the control thread; also from within
  // start() itself.
  virtual void start(ObjectSink& sink) = 0;
  // Calls the sink no more. Idempotent.
  virtual void stop() = 0;
  // Before each build, with the changes since the last one still in the writer: a source that plays
  // a cluster's controllers adds and removes here what those would (EndpointSlices of selectors).
  virtual void complete(StoreWriter& /*store*/) {}
  // Writes objects to where they are read from; null where nobody can. Lives as long as the source.
  [[nodiscard]] virtual ObjectClient* client() const { return nullptr; }
  // By kind; none for a source without a server.
  [[nodiscard]] virtual std::vector<KindReport> report() const { return {}; }
};

}  // namespace podwire::control
