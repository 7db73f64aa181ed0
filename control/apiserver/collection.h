// The objects of one kind as the API server has told of them: what a list or an event says goes to
// the sink, what a whole list leaves out is removed, and a wrong object keeps its last good version
// with a line about it. Control thread only.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/apiserver/resource.h"
#include "control/kube/decode.h"
#include "control/object_source.h"

namespace podwire::control::apiserver {

struct WatchEvent {
  enum class Type : std::uint8_t { added, modified, deleted, bookmark, error, unknown };
  Type type = Type::unknown;
  std::string resource_version;  // the object's
  nlohmann::json object;
};
// `text` is pruned. Unknown: it is no event.
WatchEvent read_event(std::string& text);

class Collection {
 public:
  // Both outlive it.
  Collection(kube::Kind kind, ObjectSink& sink) : kind_(kind), sink_(sink) {}

  // A list: each of its items, then its end, which removes what was not among them. A list that
  // breaks off removes nothing.
  void begin_list();
  void take_item(std::string& text, const char* api_version);
  void take_oversized();
  void end_list();

  // Type added, modified or deleted.
  void apply(const WatchEvent& event);

  [[nodiscard]] std::size_t size() const { return known_.size(); }
  [[nodiscard]] std::vector<std::string> problems() const;
  // Counts up whenever problems() may have changed.
  [[nodiscard]] std::uint64_t problems_version() const { return problems_version_; }

 private:
  void take(const nlohmann::json& object);
  void refuse(const std::string& full_name, std::string sentence);
  void stand_in(const kube::DecodeError& error);
  void remove(const std::string& full_name);

  kube::Kind kind_;
  ObjectSink& sink_;
  std::unordered_map<std::string, std::uint32_t> known_;  // by full name: the last list it was in
  struct Refused {
    std::string sentence;
    std::uint32_t list = 0;
  };
  std::map<std::string, Refused> refused_;  // by full name
  std::set<std::string> stand_ins_;    // of those that were never right (DecodeError::stand_in)
  std::vector<std::string> nameless_;  // since the last list began
  std::uint32_t list_ = 0;
  std::uint64_t problems_version_ = 0;
};

}  // namespace podwire::control::apiserver
