#include "control/apiserver/collection.h"

#include <utility>

#include "control/apiserver/json_member.h"
#include "control/apiserver/json_stream.h"

namespace podwire::control::apiserver {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxProblems = 1000;  // of those without a name

json parse_pruned(std::string& text) {
  return prune(text) ? json::parse(text, nullptr, false) : json(json::value_t::discarded);
}

WatchEvent::Type type_of(const std::string& name) {
  using Type = WatchEvent::Type;
  static const std::map<std::string, Type> types{{"ADDED", Type::added},
                                                 {"MODIFIED", Type::modified},
                                                 {"DELETED", Type::deleted},
                                                 {"BOOKMARK", Type::bookmark},
                                                 {"ERROR", Type::error}};
  const auto type = types.find(name);
  return type == types.end() ? Type::unknown : type->second;
}

}  // namespace

WatchEvent read_event(std::string& text) {
  WatchEvent event;
  json value = parse_pruned(text);
  if (find_member(value, "object") == nullptr) return event;
  event.type = type_of(text_member(value, "type"));
  event.object = std::move(value["object"]);
  if (const json* const metadata = find_member(event.object, "metadata")) {
    event.resource_version = text_member(*metadata, "resourceVersion");
  }
  return event;
}

void Collection::begin_list() {
  ++list_;
  if (!nameless_.empty()) ++problems_version_;
  nameless_.clear();
}

void Collection::take_item(std::string& text, const char* api_version) {
  json object = parse_pruned(text);
  if (object.is_object()) {
    // In a list the API server names kind and version once, for all.
    object.emplace("kind", kube::kind_name(kind_));
    object.emplace("apiVersion", api_version);
  }
  take(object);
}

void Collection::take_oversized() {
  refuse("", "an object of more than " + std::to_string(JsonStream::kMaxItem >> 20) +
                 " MiB is left out");
}

void Collection::take(const json& object) {
  if (object.is_discarded()) return refuse("", "an object that is not JSON is left out");
  auto decoded = kube::decode_object(object);
  if (!decoded) {
    const kube::DecodeError& error = decoded.error();
    if (error.kind == kind_) stand_in(error);
    return refuse(error.kind == kind_ ? error.full_name : "", error.to_string());
  }
  if (kube::kind(*decoded) != kind_) {
    return refuse("", kube::kind_and_name(*decoded) + ": is not a " + kube::kind_name(kind_));
  }
  const std::string name = kube::meta(*decoded).full_name();
  known_[name] = list_;
  stand_ins_.erase(name);
  if (refused_.erase(name) > 0) ++problems_version_;
  kube::meta(*decoded).origin = "API server";
  sink_.put(std::move(*decoded));
}

// Something is in force for a wrong policy that has no last good version.
void Collection::stand_in(const kube::DecodeError& error) {
  const std::string& name = error.full_name;
  if (error.stand_in == nullptr || (known_.contains(name) && !stand_ins_.contains(name))) return;
  kube::Object object = *error.stand_in;
  kube::meta(object).origin = "API server";
  known_[name] = list_;
  stand_ins_.insert(name);
  sink_.put(std::move(object));
}

// The object's last good version stays; without a name it may be any of them.
void Collection::refuse(const std::string& full_name, std::string sentence) {
  ++problems_version_;
  if (full_name.empty()) {
    if (nameless_.size() < kMaxProblems) nameless_.push_back(std::move(sentence));
    return;
  }
  if (const auto known = known_.find(full_name); known != known_.end()) known->second = list_;
  refused_[full_name] = {std::move(sentence), list_};
}

void Collection::remove(const std::string& full_name) {
  if (refused_.erase(full_name) > 0) ++problems_version_;
  stand_ins_.erase(full_name);
  if (known_.erase(full_name) > 0) sink_.remove(kind_, full_name);
}

void Collection::end_list() {
  // One of those that could not be read may be any that seems to be missing.
  if (!nameless_.empty()) return;
  for (auto known = known_.begin(); known != known_.end();) {
    if (known->second == list_) {
      ++known;
      continue;
    }
    const std::string name = known->first;
    ++known;
    remove(name);
  }
  const auto gone =
      std::erase_if(refused_, [&](const auto& entry) { return entry.second.list != list_; });
  if (gone > 0) ++problems_version_;
}

void Collection::apply(const WatchEvent& event) {
  if (event.type != WatchEvent::Type::deleted) return take(event.object);
  kube::Meta meta;
  if (const json* const metadata = find_member(event.object, "metadata")) {
    meta.ns = text_member(*metadata, "namespace");
    meta.name = text_member(*metadata, "name");
  }
  remove(meta.full_name());
}

std::vector<std::string> Collection::problems() const {
  std::vector<std::string> all = nameless_;
  for (const auto& [name, refused] : refused_) all.push_back(refused.sentence);
  return all;
}

}  // namespace podwire::control::apiserver
